//! The inputs of a network: their symbols in the graph, and the check that a request's tensors are what they take.

use super::elements::every;
use crate::error::LoadError;
use crate::onnx::Source;
use hearth_api::Fault;
use hearth_api::tensor::{Datatype, Tensor, TensorMetadata, half_to_f32, volume};
use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::{Factoid, GenericFactoid, InferenceFact};
use tract_onnx::tract_hir::internal::{DimLike, SymbolValues};

/// The inputs of a network.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    /// As callers see them.
    pub(super) inputs: Vec<TensorMetadata>,
    /// Their dimensions in the graph.
    dims: Vec<TVec<TDim>>,
    /// Their element types in the graph.
    pub(super) types: Vec<DatumType>,
    /// The symbol of the batch: first in every input.
    pub(super) batch: Option<Symbol>,
}

/// What open dimensions other than the batch are in a trial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// Those that the first input has.
    pub(super) first: usize,
    /// Those that only the others have, such as the states of a recurrent network.
    pub(super) others: usize,
}

impl Ports {
    /// Gives every open dimension of the inputs a symbol; the open first dimensions share one, the batch.
    pub(super) fn declare(model: &mut InferenceModel, source: &Source) -> Result<Ports, LoadError> {
        let fail = |reason: String| LoadError::Graph { file: source.file().into(), stage: "reading the inputs", reason };
        let symbols = model.symbols.clone();
        let facts: Vec<InferenceFact> = (0..source.inputs.len())
            .map(|i| model.input_fact(i).cloned())
            .try_collect()
            .map_err(|e: TractError| fail(crate::onnx::reason(&e)))?;
        let first = facts.iter().find_map(|fact| fact.shape.dim(0).and_then(|d| d.concretize()).filter(|d| matches!(d, TDim::Sym(_))));
        let batch = first.unwrap_or_else(|| symbols.new_with_prefix("batch").into());
        let mut ports = Ports { inputs: Vec::new(), dims: Vec::new(), types: Vec::new(), batch: None };
        for (index, (port, fact)) in source.inputs.iter().zip(facts).enumerate() {
            let datum_type = fact.datum_type.concretize().ok_or_else(|| fail(format!("input {:?} has no element type", port.name)))?;
            let declared = port.shape.as_deref().unwrap_or_default();
            let dims: TVec<TDim> = fact
                .shape
                .dims()
                .zip(declared)
                .enumerate()
                .map(|(axis, (dim, declared))| match dim {
                    GenericFactoid::Only(dim) if declared.is_some() || dim.to_i64().is_err() => dim.clone(),
                    _ if axis == 0 => batch.clone(),
                    _ => symbols.new_with_prefix("free").into(),
                })
                .collect();
            let fact = InferenceFact::dt_shape(datum_type, dims.iter().cloned().collect::<TVec<TDim>>());
            model.set_input_fact(index, fact).map_err(|e| fail(crate::onnx::reason(&e)))?;
            let shape = dims.iter().map(|d| d.to_i64().unwrap_or(-1)).collect();
            ports.inputs.push(TensorMetadata { name: port.name.clone(), datatype: port.datatype, shape });
            ports.dims.push(dims);
            ports.types.push(datum_type);
        }
        if ports.dims.iter().all(|dims| dims.first() == Some(&batch))
            && let TDim::Sym(symbol) = batch
        {
            ports.batch = Some(symbol);
        }
        Ok(ports)
    }

    /// The batch as a dimension.
    pub(super) fn batch_dim(&self) -> Option<TDim> {
        self.batch.clone().map(TDim::Sym)
    }

    /// Whether dimensions other than the batch are open.
    pub(super) fn has_free(&self) -> bool {
        let batch = self.batch_dim();
        self.dims.iter().flatten().any(|dim| dim.to_i64().is_err() && Some(dim) != batch.as_ref())
    }

    /// The shapes of a request with `rows` rows. A first dimension that not all inputs have is 1: a batch that cannot be stacked.
    pub(super) fn shapes(&self, rows: usize, open: Open) -> Result<Vec<Vec<usize>>, String> {
        let leading: Vec<&TDim> = self.dims.iter().filter_map(|dims| dims.first()).collect();
        let of_first: Vec<&TDim> = self.dims.iter().take(1).flatten().collect();
        let has = |dims: &[&TDim], symbol: &Symbol| dims.iter().any(|dim| dim.symbols().contains(symbol));
        let mut values = SymbolValues::default();
        for symbol in self.dims.iter().flatten().flat_map(|dim| dim.symbols()) {
            let size = if Some(&symbol) == self.batch.as_ref() {
                rows
            } else if has(&leading, &symbol) {
                1
            } else if has(&of_first, &symbol) {
                open.first
            } else {
                open.others
            };
            values.set(&symbol, size as i64);
        }
        self.dims.iter().map(|dims| dims.iter().map(|dim| dim.eval(&values).to_usize().map_err(|e| e.to_string())).collect()).collect()
    }

    /// Puts a request's tensors in the order of the inputs, if each is what its input takes.
    pub(super) fn check(&self, mut tensors: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        let mut ordered = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let Some(at) = tensors.iter().position(|t| t.name == input.name) else {
                return Err(Fault::bad_request(format!("input {:?} is missing; the model takes {}", input.name, self.describe())));
            };
            ordered.push(tensors.swap_remove(at));
        }
        if let Some(extra) = tensors.first() {
            return Err(Fault::bad_request(format!(
                "{:?} is no input of the model, or is there twice; it takes {}",
                extra.name,
                self.describe()
            )));
        }
        let mut values = SymbolValues::default();
        for ((tensor, input), dims) in ordered.iter().zip(&self.inputs).zip(&self.dims) {
            let expected = format_args!("expected {:?} {:?}, -1 being open", input.datatype, input.shape);
            let wrong = |what: String| Fault::bad_request(format!("input {:?}: {what}; {expected}", input.name));
            if tensor.datatype != input.datatype {
                return Err(wrong(format!("got {:?}", tensor.datatype)));
            }
            let fits = |(have, want): (&usize, &i64)| *have > 0 && (*want < 0 || *have as i64 == *want);
            if tensor.shape.len() != input.shape.len() || !tensor.shape.iter().zip(&input.shape).all(fits) {
                return Err(wrong(format!("got shape {:?}", tensor.shape)));
            }
            let size = tensor.datatype.size().unwrap_or(0);
            if volume(&tensor.shape).and_then(|v| v.checked_mul(size)) != Some(tensor.data.len()) {
                return Err(wrong(format!("got {} bytes of data for shape {:?}", tensor.data.len(), tensor.shape)));
            }
            if has_nan(tensor) {
                return Err(Fault::bad_request(format!("input {:?} holds NaN; every element must be a number", input.name)));
            }
            for (dim, have) in dims.iter().zip(&tensor.shape) {
                match dim {
                    TDim::Sym(symbol) if values.get(symbol).is_none() => values.set(symbol, *have as i64),
                    _ => {}
                }
            }
        }
        for ((tensor, input), dims) in ordered.iter().zip(&self.inputs).zip(&self.dims) {
            for (axis, (dim, have)) in dims.iter().zip(&tensor.shape).enumerate() {
                if dim.eval(&values).to_usize().is_ok_and(|want| want != *have) {
                    let want = dim.eval(&values);
                    return Err(Fault::bad_request(format!(
                        "input {:?}: dimension {axis} is {have}, but the other inputs say {dim} = {want}",
                        input.name
                    )));
                }
            }
        }
        Ok(ordered)
    }

    fn describe(&self) -> String {
        self.inputs.iter().map(|i| format!("{:?} ({:?} {:?})", i.name, i.datatype, i.shape)).join(", ")
    }
}

fn has_nan(tensor: &Tensor) -> bool {
    match tensor.datatype {
        Datatype::Fp32 => !every(&tensor.data, |bytes| !f32::from_le_bytes(bytes).is_nan()),
        Datatype::Fp64 => !every(&tensor.data, |bytes| !f64::from_le_bytes(bytes).is_nan()),
        Datatype::Fp16 => !every(&tensor.data, |bytes| !half_to_f32(u16::from_le_bytes(bytes)).is_nan()),
        _ => false,
    }
}
