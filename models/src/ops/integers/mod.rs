//! The operators that `onnx::integers` brings graphs to, on integers and on floats. Each computes one output, with its weights in itself,
//! packed for this CPU; tract sees a node with shapes, and never the weights.

mod blocks;
mod convolution;
mod dynamic;
mod finish;
mod float_convolution;
mod float_linear;
mod layout;
mod linear;
mod matmul;
mod normalisation;
mod pairwise;
mod pooling;

use crate::onnx::integers::nodes::{Attributes as _, to_integers};
use hearth_kernels::pointwise::Lookup;
use std::cell::RefCell;
use std::fmt;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::*;

/// What such an operator does.
pub(super) trait Compute: fmt::Debug + Send + Sync + 'static {
    /// Its name in graphs.
    fn name(&self) -> &'static str;

    /// How many tensors it takes.
    fn inputs(&self) -> usize {
        1
    }

    /// Type and shape of the output, from those of the inputs.
    fn output(&self, datum_type: DatumType, shapes: &[&[TDim]]) -> TractResult<(DatumType, TVec<TDim>)>;

    /// Fills the output.
    fn run(&self, inputs: &[&Tensor], output: &mut Tensor) -> TractResult<()>;

    /// Memory that its weights take.
    fn bytes(&self) -> u64 {
        0
    }
}

/// An operator in a typed graph, its weights shared by all plans.
#[derive(Debug, Clone)]
pub(crate) struct Integers(Arc<dyn Compute>);

impl Integers {
    /// Where its weights are, and how many bytes they take.
    pub(crate) fn weights(&self) -> (usize, u64) {
        (Arc::as_ptr(&self.0).cast::<()>().addr(), self.0.bytes())
    }
}

impl PartialEq for Integers {
    fn eq(&self, other: &Integers) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Integers {}

impl Op for Integers {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Integers {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shapes: TVec<TVec<TDim>> = inputs.iter().map(|input| input.shape().iter().map(|d| d.to_dim()).collect()).collect();
        let shapes: TVec<&[TDim]> = shapes.iter().map(|shape| shape.as_slice()).collect();
        let (datum_type, shape) = self.0.output(inputs[0].datum_type(), &shapes)?;
        let shape: TVec<usize> = shape.iter().map(|d| Ok(d.to_usize()?)).collect::<TractResult<_>>()?;
        let mut output = Tensor::zero_dt(datum_type, &shape)?;
        let inputs: TVec<&Tensor> = inputs.iter().map(|input| &**input).collect();
        self.0.run(&inputs, &mut output)?;
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Integers {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shapes: TVec<&[TDim]> = inputs.iter().map(|fact| fact.shape.dims()).collect();
        let (datum_type, shape) = self.0.output(inputs[0].datum_type, &shapes)?;
        Ok(tvec!(datum_type.fact(shape)))
    }
}

/// The same in a graph whose shapes are not known yet.
impl Expansion for Integers {
    fn name(&self) -> StaticName {
        self.0.name().into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(&'s self, s: &mut Solver<'r>, inputs: &'p [TensorProxy], outputs: &'p [TensorProxy]) -> InferenceResult {
        check_input_arity(inputs, self.0.inputs())?;
        check_output_arity(outputs, 1)?;
        s.given_all(inputs.iter().map(|input| &input.shape), move |s, shapes| {
            s.given(&inputs[0].datum_type, move |s, datum_type| {
                let shapes: TVec<&[TDim]> = shapes.iter().map(|shape| shape.as_slice()).collect();
                let (datum_type, shape) = self.0.output(datum_type, &shapes)?;
                s.equals(&outputs[0].datum_type, datum_type)?;
                s.equals(&outputs[0].shape, shape)
            })
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Lets tract read the nodes.
pub(super) fn register(onnx: &mut Onnx) {
    macro_rules! register {
        ($($operator:literal => $make:expr),* $(,)?) => {
            $(onnx.op_register.insert($operator, |_: &ParsingContext, node: &NodeProto| -> Built {
                let compute: Arc<dyn Compute> = Arc::new($make(node)?);
                Ok((expand(Integers(compute)), vec![]))
            });)*
        };
    }
    register! {
        "hearth.Conv" => convolution::Conv::new,
        "hearth.FloatConv" => float_convolution::FloatConv::new,
        "hearth.FloatLinear" => float_linear::FloatLinear::new,
        "hearth.Linear" => linear::Linear::new,
        "hearth.MatMul" => matmul::MatMul::new,
        "hearth.Softmax" => normalisation::Softmax::new,
        "hearth.LayerNorm" => normalisation::LayerNorm::new,
        "hearth.BlockLinear" => blocks::BlockLinear::new,
        "hearth.DynamicConv" => dynamic::DynamicConv::new,
        "hearth.DynamicLinear" => dynamic::DynamicLinear::new,
        "hearth.Sum" => pairwise::Pairwise::sum,
        "hearth.Product" => pairwise::Pairwise::product,
        "hearth.Lookup" => pairwise::Table::new,
        "hearth.MaxPool" => pooling::MaxPool::new,
        "hearth.AveragePool" => pooling::AveragePool::new,
        "hearth.FloatAveragePool" => pooling::FloatAveragePool::new,
        "hearth.Repeat" => layout::Repeat::new,
        "hearth.ChannelsLast" => |_: &NodeProto| TractResult::Ok(layout::ChannelsLast),
        "hearth.ChannelsFirst" => |_: &NodeProto| TractResult::Ok(layout::ChannelsFirst),
    }
}

/// The shape of rows of so many outputs, from that of the rows they are made of.
fn rows_of(shape: &[TDim], outputs: usize) -> TractResult<TVec<TDim>> {
    let (_, rows) = shape.split_last().context("a product of a single number")?;
    Ok(rows.iter().cloned().chain([outputs.to_dim()]).collect())
}

/// A required attribute: a whole number within a byte.
fn byte(node: &NodeProto, name: &str) -> TractResult<i8> {
    node.int(name).and_then(|i| i8::try_from(i).ok()).with_context(|| format!("{} without {name}", node.op_type))
}

/// A required attribute: a constant of bytes.
fn bytes(node: &NodeProto, name: &str) -> TractResult<Vec<i8>> {
    let tensor = node.get(name).and_then(|a| a.t.as_ref()).with_context(|| format!("{} without {name}", node.op_type))?;
    Ok(tensor.raw_data.iter().map(|b| *b as i8).collect())
}

/// A required attribute: a function of one byte.
fn table(node: &NodeProto) -> TractResult<Lookup> {
    let table: [i8; 256] = bytes(node, "table")?.try_into().ok().context("a table of other than 256 bytes")?;
    Ok(Lookup::new(|value| table[usize::from(value as u8)]))
}

/// The dimensions of a constant that is an attribute.
fn dims(node: &NodeProto, name: &str) -> Vec<usize> {
    let tensor = node.get(name).and_then(|a| a.t.as_ref());
    tensor.map(|t| t.dims.iter().filter_map(|d| usize::try_from(*d).ok()).collect()).unwrap_or_default()
}

/// The zero points of weights, empty where they are 0.
fn zero_points(node: &NodeProto) -> TractResult<Vec<i8>> {
    if node.get("weight_zero_points").is_some() { bytes(node, "weight_zero_points") } else { Ok(Vec::new()) }
}

/// A required attribute: a constant of words.
fn words(node: &NodeProto, name: &str) -> TractResult<Vec<i32>> {
    let tensor = node.get(name).and_then(|a| a.t.as_ref()).and_then(to_integers);
    let elements = tensor.with_context(|| format!("{} without {name}", node.op_type))?;
    Ok(elements.into_iter().map(|w| w as i32).collect())
}

/// The bounds between which an operator holds its results of `f32`.
fn float_limits(node: &NodeProto) -> [f32; 2] {
    [node.float("low").unwrap_or(f32::NEG_INFINITY), node.float("high").unwrap_or(f32::INFINITY)]
}

/// A list of sizes that is an attribute; empty without one.
fn sizes(node: &NodeProto, name: &str) -> TVec<usize> {
    node.ints(name).into_iter().flatten().map(|s| usize::try_from(*s).unwrap_or(0)).collect()
}

/// Memory that kernels use between their loops, one a thread.
#[derive(Default)]
struct Memory {
    scratch: hearth_kernels::linear::Scratch,
    floats: hearth_kernels::float::Scratch,
    blocks: (hearth_kernels::int4::QuantizedRows, hearth_kernels::int4::Scratch),
    padding: Vec<i8>,
    /// An item quantized as it comes, and what its grid makes of offsets and scales.
    item: Vec<i8>,
    offset: Vec<i32>,
    scale: Vec<f32>,
    /// Sums of products that are finished later.
    sums: Vec<i32>,
    /// Floats between two steps of a computation.
    values: Vec<f32>,
    results: Vec<f32>,
}

fn with_memory<T>(use_: impl FnOnce(&mut Memory) -> T) -> T {
    thread_local! {
        static MEMORY: RefCell<Memory> = RefCell::default();
    }
    MEMORY.with_borrow_mut(use_)
}

/// Height and width of pictures or sequences, channels last: `[batch, (height,) width, channels]`.
fn picture<T: Clone>(shape: &[T], one: T) -> TractResult<[T; 4]> {
    match shape {
        [n, w, c] => Ok([n.clone(), one, w.clone(), c.clone()]),
        [n, h, w, c] => Ok([n.clone(), h.clone(), w.clone(), c.clone()]),
        _ => bail!("pictures of rank {}", shape.len()),
    }
}

/// A pair of sizes, height first; a sequence has height 1.
fn pair(sizes: &[usize], height: usize) -> TractResult<[usize; 2]> {
    match *sizes {
        [w] => Ok([height, w]),
        [h, w] => Ok([h, w]),
        _ => bail!("{} sizes for one or two axes", sizes.len()),
    }
}
