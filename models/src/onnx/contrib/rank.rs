//! How many axes a tensor has, as far as the file and the nodes that made the tensor tell.

use crate::onnx::integers::nodes::{Attributes as _, to_integers};
use crate::onnx::integers::view::View;
use std::collections::HashMap;
use tract_onnx::pb::NodeProto;
use tract_onnx::pb::type_proto::Value as Type;

/// Nodes that are looked at, one behind the other.
const STEPS: usize = 200;

/// The axes of a tensor.
pub(super) fn rank(view: &View<'_>, name: &str) -> Option<usize> {
    Ranks { view, seen: HashMap::new() }.rank(name, STEPS)
}

struct Ranks<'a> {
    view: &'a View<'a>,
    /// What was looked at: a tensor may be reached on many ways.
    seen: HashMap<&'a str, Option<usize>>,
}

impl<'a> Ranks<'a> {
    fn rank(&mut self, name: &str, steps: usize) -> Option<usize> {
        if let Some(constant) = self.view.constant(name) {
            return Some(constant.dims.len());
        }
        if let Some(seen) = self.seen.get(name) {
            return *seen;
        }
        if let Some(declared) = self.declared(name) {
            return Some(declared);
        }
        let (_, maker) = self.view.maker(name)?;
        let rank = self.made(name, maker, steps.checked_sub(1)?);
        self.seen.extend(maker.output.iter().filter(|output| *output == name).map(|output| (output.as_str(), rank)));
        rank
    }

    /// As the file says.
    fn declared(&self, name: &str) -> Option<usize> {
        let graph = self.view.graph;
        let info = graph.input.iter().chain(&graph.value_info).find(|info| info.name == name)?;
        let Type::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
        tensor.shape.as_ref().map(|shape| shape.dim.len())
    }

    fn made(&mut self, name: &str, maker: &'a NodeProto, steps: usize) -> Option<usize> {
        let (given, axes) = (maker.ints("perm").map(<[i64]>::len), maker.ints("axes").map(<[i64]>::len));
        let input = |index: usize| maker.input.get(index).map(String::as_str);
        let mut of = |index: usize| self.rank(input(index)?, steps);
        match maker.op_type.as_str() {
            "Transpose" => given.or_else(|| of(0)),
            "Reshape" => self.length(input(1)?, steps),
            "ConstantOfShape" => self.length(input(0)?, steps),
            "Expand" => Some(of(0)?.max(self.length(input(1)?, steps)?)),
            "Flatten" => Some(2),
            "Gather" => (of(0)? + of(1)?).checked_sub(1),
            "Unsqueeze" => Some(of(0)? + axes.or_else(|| self.length(input(1)?, steps))?),
            "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceSum" if maker.int("keepdims") == Some(0) => {
                of(0)?.checked_sub(axes.or_else(|| self.length(input(1)?, steps))?)
            }
            "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceSum" => of(0),
            "Squeeze" => of(0)?.checked_sub(axes.or_else(|| self.length(input(1)?, steps))?),
            "EmbedLayerNormalization" | "QEmbedLayerNormalization" => Some(if maker.output[0] == name { 3 } else { 1 }),
            "Add" | "Sub" | "Mul" | "Div" | "MatMul" | "FusedMatMul" => Some(of(0)?.max(of(1)?)),
            "Where" => Some(of(0)?.max(of(1)?).max(of(2)?)),
            "QLinearAdd" | "QLinearMul" | "QLinearMatMul" => Some(of(0)?.max(of(3)?)),
            "QLinearConcat" => of(2),
            // Of one tensor another of as many axes.
            "Attention"
            | "AveragePool"
            | "BatchNormalization"
            | "BiasGelu"
            | "Cast"
            | "Clip"
            | "Concat"
            | "Conv"
            | "ConvInteger"
            | "DequantizeLinear"
            | "Dropout"
            | "DynamicQuantizeLinear"
            | "DynamicQuantizeMatMul"
            | "Erf"
            | "FastGelu"
            | "FusedConv"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "GlobalAveragePool"
            | "Identity"
            | "InstanceNormalization"
            | "LayerNormalization"
            | "LeakyRelu"
            | "MatMulInteger"
            | "MatMulIntegerToFloat"
            | "MatMulNBits"
            | "MaxPool"
            | "NhwcMaxPool"
            | "Pad"
            | "Pow"
            | "QAttention"
            | "QLinearAveragePool"
            | "QLinearConv"
            | "QLinearGlobalAveragePool"
            | "QLinearLeakyRelu"
            | "QLinearSigmoid"
            | "QLinearSoftmax"
            | "QuantizeLinear"
            | "QuickGelu"
            | "Relu"
            | "Resize"
            | "Sigmoid"
            | "SimplifiedLayerNormalization"
            | "SkipLayerNormalization"
            | "Slice"
            | "Softmax"
            | "Split"
            | "Sqrt"
            | "Tanh"
            | "Tile" => of(0),
            _ => None,
        }
    }

    /// How many numbers a list of them holds.
    fn length(&mut self, name: &str, steps: usize) -> Option<usize> {
        let view = self.view;
        if let Some(constant) = view.constant(name) {
            return usize::try_from(constant.dims.first().copied().unwrap_or(1)).ok();
        }
        let ((_, maker), steps) = (view.maker(name)?, steps.checked_sub(1)?);
        match maker.op_type.as_str() {
            "Shape" => self.rank(maker.input.first()?, steps),
            "Concat" => maker.input.iter().map(|part| self.length(part, steps)).sum(),
            "Unsqueeze" => Some(1),
            "Cast" | "Mul" | "Add" | "Sub" | "Div" => self.length(maker.input.first()?, steps),
            "Gather" => self.length(maker.input.get(1)?, steps),
            "Slice" => {
                let whole = self.length(maker.input.first()?, steps)? as i64;
                let numbers = |index: usize, attribute: &str| {
                    let given = view.input(maker, index).and_then(to_integers);
                    given.or_else(|| maker.ints(attribute).map(<[i64]>::to_vec))
                };
                let place = |index: usize, attribute: &str| match numbers(index, attribute).as_deref() {
                    Some(&[place]) => Some(if place < 0 { place + whole } else { place }.clamp(0, whole)),
                    _ => None,
                };
                let by_one = numbers(4, "steps").is_none_or(|steps| steps == [1]);
                let (start, end) = (place(1, "starts")?, place(2, "ends")?);
                by_one.then(|| usize::try_from(end - start).ok())?
            }
            _ => None,
        }
    }
}
