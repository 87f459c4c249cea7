//! Plans: a graph optimised and ordered. One for all shapes, or one for each combination of input shapes, made when first used;
//! the least recently used leaves.

use super::weights::{Count, Held};
use crate::onnx::{MAX_ELEMENTS, Port, reason};
use crate::ops::{alike, gelu, strided};
use crate::panics::caught;
use hearth_api::tensor::TensorMetadata;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::infer::{Factoid, InferenceFact};

/// The most plans kept for one graph: one for each power of two up to [`MAX_ROWS`](super::cut::MAX_ROWS), and room for others.
const MAX_PLANS: usize = 8;

/// The plans of a graph.
#[derive(Clone)]
pub(super) enum Plans {
    /// One for every shape, and the shapes of its outputs.
    Symbolic(Arc<TypedRunnableModel>, Arc<[TVec<TDim>]>),
    /// One for each combination of input shapes.
    ByShape(Arc<ByShape>),
}

pub(super) struct ByShape {
    optimised: bool,
    made: Mutex<Made>,
}

struct Made {
    /// What plans are made of, with the file's weights; gone once every plan is made.
    model: Option<InferenceModel>,
    /// The most recently used last.
    plans: Vec<(Vec<TVec<usize>>, Arc<TypedRunnableModel>)>,
    /// Their constants: equal ones are held once.
    constants: Held,
}

impl Plans {
    /// One plan for every shape, or why there is none.
    pub(super) fn symbolic(model: &InferenceModel) -> Result<Plans, String> {
        let model = type_graph(model.clone())?;
        let facts = model.outputs.iter().filter_map(|outlet| model.outlet_fact(*outlet).ok());
        let shapes = facts.map(|fact| fact.shape.iter().cloned().collect()).collect();
        Ok(Plans::Symbolic(optimise(model, |_| Ok(()))?, shapes))
    }

    /// A plan for each combination of input shapes.
    pub(super) fn by_shape(model: InferenceModel) -> Plans {
        Plans::ByShape(Arc::new(ByShape::new(model, true)))
    }

    /// Plans that are neither decluttered nor optimised.
    pub(super) fn plain(model: InferenceModel) -> Plans {
        Plans::ByShape(Arc::new(ByShape::new(model, false)))
    }

    /// Keeps the plans whose input shapes are wanted, and what other plans would be made of only if `more` may be needed.
    pub(super) fn settle(&self, wanted: impl Fn(&[TVec<usize>]) -> bool, more: bool) {
        if let Plans::ByShape(by_shape) = self {
            let mut made = by_shape.lock();
            made.plans.retain(|(shapes, _)| wanted(shapes));
            made.constants.release();
            if !more {
                made.model = None;
            }
        }
    }

    /// Whether each new batch size costs much.
    pub(super) fn sizes_cost(&self) -> bool {
        matches!(self, Plans::ByShape(by_shape) if by_shape.optimised)
    }

    /// The outputs as the graph has them where it is symbolic, else as the file declares them; a trial fills in the rest.
    pub(super) fn declare(&self, ports: &[Port]) -> Vec<TensorMetadata> {
        let size = |size: Option<usize>| size.and_then(|s| i64::try_from(s).ok()).unwrap_or(-1);
        let describe = |(index, port): (usize, &Port)| {
            let shape = match (self, &port.shape) {
                (Plans::Symbolic(_, shapes), _) => shapes[index].iter().map(|d| d.to_usize().ok()).map(size).collect(),
                (Plans::ByShape(_), Some(dims)) => dims.iter().copied().map(size).collect(),
                (Plans::ByShape(_), None) => Vec::new(),
            };
            TensorMetadata { name: port.name.clone(), datatype: port.datatype, shape }
        };
        ports.iter().enumerate().map(describe).collect()
    }

    /// The plan for inputs of these shapes.
    pub(super) fn plan(&self, shapes: &[TVec<usize>]) -> Result<Arc<TypedRunnableModel>, String> {
        match self {
            Plans::Symbolic(plan, _) => Ok(plan.clone()),
            Plans::ByShape(by_shape) => by_shape.plan(shapes),
        }
    }

    /// Bytes of all constants, each counted once.
    pub(super) fn memory_bytes(&self) -> u64 {
        let mut count = Count::default();
        match self {
            Plans::Symbolic(plan, _) => count.add(plan.model()),
            Plans::ByShape(by_shape) => {
                let made = by_shape.lock();
                made.plans.iter().for_each(|(_, plan)| count.add(plan.model()));
                let source = made.model.iter().flat_map(|model| model.nodes());
                source.filter_map(|node| node.op_as::<Const>()).for_each(|c| count.add_tensor(c.val()));
            }
        }
        count.bytes
    }
}

impl ByShape {
    fn new(model: InferenceModel, optimised: bool) -> ByShape {
        let made = Made { model: Some(model), plans: Vec::new(), constants: Held::default() };
        ByShape { optimised, made: Mutex::new(made) }
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        // A plan that could not be made is not there: nothing is half done.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, shapes: &[TVec<usize>]) -> Result<Arc<TypedRunnableModel>, String> {
        // Held while a plan is made: others that need the same one wait for it.
        let mut made = self.lock();
        if let Some(at) = made.plans.iter().position(|(key, _)| key == shapes) {
            let entry = made.plans.remove(at);
            made.plans.push(entry);
            return Ok(made.plans.last().expect("just pushed").1.clone());
        }
        let model = made.model.as_ref().ok_or_else(|| format!("there is no plan for inputs of shapes {shapes:?}"))?;
        let model = type_graph(concretise(model, shapes).map_err(|e| reason(&e))?)?;
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
    let typed = caught(|| {
        let mut model = model.into_typed()?;
        strided::replace(&mut model).map(|()| model)
    });
    let model = typed?.map_err(|e| reason(&e))?;
    for node in model.nodes() {
        for output in &node.outputs {
            let ones = output.fact.shape.iter().flat_map(|d| d.symbols()).fold(SymbolValues::default(), |v, s| v.with(&s, 1));
            let volume = output.fact.shape.iter().try_fold(1u64, |volume, dim| {
                let dim = dim.eval(&ones).to_i64().ok().and_then(|d| u64::try_from(d).ok()).unwrap_or(1);
                volume.checked_mul(dim)
            });
            if volume.is_none_or(|v| v > MAX_ELEMENTS) {
                let shape = output.fact.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "node {:?} would make a tensor of shape [{shape}]; at most {MAX_ELEMENTS} elements are served",
                    node.name
                ));
            }
        }
    }
    Ok(model)
}

fn optimise(model: TypedModel, last: impl FnOnce(&mut TypedModel) -> TractResult<()>) -> Result<Arc<TypedRunnableModel>, String> {
    let optimised = caught(|| -> TractResult<_> {
        let mut model = model.into_optimized()?;
        alike::replace(&mut model);
        gelu::replace(&mut model);
        last(&mut model)?;
        TypedRunnableModel::new(model)
    });
    optimised?.map_err(|e| reason(&e))
}
