//! Plans: a graph optimised and ordered. One for all shapes where tract can, else one for each combination of input shapes,
//! made when first used; the least recently used leaves.

use super::weights::{Count, Held};
use crate::onnx::{MAX_ELEMENTS, reason};
use crate::panics::caught;
use std::sync::{Mutex, PoisonError};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact};

/// The most plans kept for one graph: powers of two up to 32 rows, and some room for other open dimensions.
const MAX_PLANS: usize = 8;

/// The plans of a graph.
#[derive(Clone)]
pub(super) enum Plans {
    /// One for every shape.
    Symbolic(Arc<TypedRunnableModel>),
    /// One for each combination of input shapes.
    ByShape(Arc<ByShape>),
}

pub(super) struct ByShape {
    model: InferenceModel,
    optimised: bool,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    /// The most recently used last.
    plans: Vec<(Vec<TVec<usize>>, Arc<TypedRunnableModel>)>,
    /// Their constants: equal ones are held once.
    constants: Held,
}

impl Plans {
    /// One plan for every shape, and the symbolic shapes of the outputs; or why there is none.
    pub(super) fn symbolic(model: &InferenceModel) -> Result<(Plans, Vec<TVec<TDim>>), String> {
        let model = type_graph(model.clone())?;
        let facts = model.outputs.iter().filter_map(|outlet| model.outlet_fact(*outlet).ok());
        let facts = facts.map(|fact| fact.shape.iter().cloned().collect()).collect();
        let plan = optimise(model, |_| Ok(()))?;
        Ok((Plans::Symbolic(plan), facts))
    }

    /// A plan for each combination of input shapes.
    pub(super) fn by_shape(model: InferenceModel) -> Plans {
        Plans::ByShape(Arc::new(ByShape { model, optimised: true, made: Mutex::default() }))
    }

    /// Plans that are neither decluttered nor optimised.
    pub(super) fn plain(model: InferenceModel) -> Plans {
        Plans::ByShape(Arc::new(ByShape { model, optimised: false, made: Mutex::default() }))
    }

    /// Whether each new batch size costs much.
    pub(super) fn sizes_cost(&self) -> bool {
        matches!(self, Plans::ByShape(by_shape) if by_shape.optimised)
    }

    /// The plan for inputs of these shapes.
    pub(super) fn plan(&self, shapes: &[TVec<usize>]) -> Result<Arc<TypedRunnableModel>, String> {
        match self {
            Plans::Symbolic(plan) => Ok(plan.clone()),
            Plans::ByShape(by_shape) => by_shape.plan(shapes),
        }
    }

    /// Bytes of all constants, each counted once.
    pub(super) fn memory_bytes(&self) -> u64 {
        let mut count = Count::default();
        match self {
            Plans::Symbolic(plan) => count.add(plan.model()),
            Plans::ByShape(by_shape) => {
                let made = by_shape.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.plans.iter().for_each(|(_, plan)| count.add(plan.model()));
                by_shape.model.nodes().iter().filter_map(|node| node.op_as::<Const>()).for_each(|c| count.add_tensor(c.val()));
            }
        }
        count.bytes
    }
}

impl ByShape {
    fn plan(&self, shapes: &[TVec<usize>]) -> Result<Arc<TypedRunnableModel>, String> {
        // Held while a plan is made: others that need the same one wait for it.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = made.plans.iter().position(|(key, _)| key == shapes) {
            let entry = made.plans.remove(at);
            made.plans.push(entry);
            return Ok(made.plans.last().expect("just pushed").1.clone());
        }
        let model = type_graph(self.at(shapes)?)?;
        let plan = if self.optimised {
            optimise(model, |model| made.constants.share(model))?
        } else {
            caught(|| TypedRunnableModel::new(model))?.map_err(|e| reason(&e))?
        };
        if made.plans.len() == MAX_PLANS {
            made.plans.remove(0);
        }
        made.plans.push((shapes.to_vec(), plan.clone()));
        made.constants.release();
        Ok(plan)
    }

    /// The graph with these input shapes.
    fn at(&self, shapes: &[TVec<usize>]) -> Result<InferenceModel, String> {
        concretise(&self.model, shapes).map_err(|e| reason(&e))
    }
}

/// A graph with concrete input shapes.
fn concretise(model: &InferenceModel, shapes: &[TVec<usize>]) -> TractResult<InferenceModel> {
    let mut model = model.clone();
    for (index, shape) in shapes.iter().enumerate() {
        let datum_type = model.input_fact(index)?.datum_type.concretize().context("an input without an element type")?;
        model.set_input_fact(index, InferenceFact::dt_shape(datum_type, shape))?;
    }
    Ok(model)
}

/// Works out the types and shapes of a graph, and refuses one whose tensors would be absurd with one row.
fn type_graph(model: InferenceModel) -> Result<TypedModel, String> {
    let model = caught(|| model.into_typed())?.map_err(|e| reason(&e))?;
    for node in model.nodes() {
        for output in &node.outputs {
            let ones = output.fact.shape.iter().flat_map(|d| d.symbols()).fold(SymbolValues::default(), |v, s| v.with(&s, 1));
            let volume = output.fact.shape.iter().try_fold(1u64, |volume, dim| {
                let dim = dim.eval(&ones).to_i64().ok().and_then(|d| u64::try_from(d).ok()).unwrap_or(1);
                volume.checked_mul(dim)
            });
            if volume.is_none_or(|v| v > MAX_ELEMENTS) {
                let shape = output.fact.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return Err(format!("node {:?} would make a tensor of shape [{shape}]; at most {MAX_ELEMENTS} elements are served", node.name));
            }
        }
    }
    Ok(model)
}

fn optimise(model: TypedModel, last: impl FnOnce(&mut TypedModel) -> TractResult<()>) -> Result<Arc<TypedRunnableModel>, String> {
    let optimised = caught(|| -> TractResult<_> {
        let mut model = model.into_optimized()?;
        last(&mut model)?;
        TypedRunnableModel::new(model)
    });
    optimised?.map_err(|e| reason(&e))
}
