//! What became of a graph: the operators of its file beside those that run, with the time that each kind takes.

use super::Network;
use super::cut::Part;
use super::weights::Count;
use crate::onnx::Source;
use crate::panics::caught;
use hearth_api::graph::{Graph, Operator, Running};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tract_onnx::prelude::TypedRunnableModel;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_core::plan::eval;

/// Runs that are measured; the shortest time of a node counts.
const RUNS: usize = 5;

impl Network {
    /// The file's operators and this network's, measured on seeded inputs; those have no answer in some graphs (the logarithm of a
    /// negative number, a word that is in no vocabulary), which are told without times then.
    pub(crate) fn describe(&self, source: &Source) -> Graph {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        source.operators(&mut |name| *counts.entry(name).or_default() += 1);
        let mut file: Vec<Operator> = counts.into_iter().map(|(name, count)| Operator { name, count }).collect();
        file.sort_by_key(|operator| std::cmp::Reverse(operator.count));
        Graph { file, runs: self.running().unwrap_or_default() }
    }

    fn running(&self) -> Result<Vec<Running>, String> {
        let request = self.seeded(1, 2)?.remove(0);
        let rows = request.first().and_then(|tensor| tensor.shape.first()).copied().unwrap_or(1);
        let inputs = self.stack_inputs(&[&request], &vec![Part { request: 0, rows: 0..rows }]).map_err(|e| e.to_string())?;
        let shapes: Vec<TVec<usize>> = inputs.iter().map(|t| t.shape().into()).collect();
        let plan = self.plans.plan(&shapes)?;
        let mut times = vec![Duration::ZERO; plan.model().nodes().len()];
        // Nodes that ran before one failed have their times.
        let _ = caught(|| measure(&plan, &inputs, &mut times))?;
        Ok(kinds(plan.model(), &times))
    }
}

/// Fills in the shortest time of each node that runs.
fn measure(plan: &Arc<TypedRunnableModel>, inputs: &TVec<TValue>, times: &mut [Duration]) -> TractResult<()> {
    for run in 0..RUNS {
        plan.spawn()?.run_plan_with_eval(inputs.clone(), |context, state, node, inputs| {
            let start = Instant::now();
            let result = eval(context, state, node, inputs);
            let time = start.elapsed();
            times[node.id] = if run == 0 { time } else { times[node.id].min(time) };
            result
        })?;
    }
    Ok(())
}

/// The nodes by kind, the dearest first.
fn kinds(model: &TypedModel, times: &[Duration]) -> Vec<Running> {
    let mut kinds: BTreeMap<(String, String, String), Running> = BTreeMap::new();
    let mut weights = Count::default();
    for node in model.nodes() {
        if node.op_is::<Const>() || node.op_is::<TypedSource>() {
            continue;
        }
        let type_of = |fact: Option<&TypedFact>| fact.map_or_else(String::new, |fact| format!("{:?}", fact.datum_type).to_lowercase());
        let takes = type_of(node.inputs.first().and_then(|outlet| model.outlet_fact(*outlet).ok()));
        let gives = type_of(node.outputs.first().map(|output| &output.fact));
        let name = node.op.name().into_owned();
        let kind = kinds.entry((name.clone(), takes.clone(), gives.clone())).or_insert_with(|| Running {
            name,
            takes,
            gives,
            count: 0,
            weight_bytes: 0,
            microseconds: 0.0,
        });
        let before = weights.bytes;
        weights.add_node(node);
        for constant in node.inputs.iter().filter_map(|outlet| model.node(outlet.node).op_as::<Const>()) {
            weights.add_tensor(constant.val());
        }
        kind.count += 1;
        kind.weight_bytes += weights.bytes - before;
        kind.microseconds += times[node.id].as_secs_f64() * 1e6;
    }
    let mut kinds: Vec<Running> = kinds.into_values().collect();
    kinds.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
    kinds
}
