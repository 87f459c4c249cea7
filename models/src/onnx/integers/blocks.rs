//! `com.microsoft` MatMulNBits, weights of 4 or 8 bits with a scale for each block of the depth: one operator with the bias after it,
//! or, where its kernels do not cover a form, and for the reference, a product with float weights.

use super::nodes::{Attributes as _, constant, floats, node, replace, to_floats};
use super::view::View;
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Constants of a MatMulNBits node.
struct Blocks<'a> {
    bits: u32,
    outputs: usize,
    depth: usize,
    block: usize,
    /// `[output][block][byte]`, two values of 4 bits a byte, the lower half first.
    weights: &'a TensorProto,
    /// `[output][block]`.
    scales: Vec<f32>,
    zero_points: ZeroPoints<'a>,
    bias: Option<&'a TensorProto>,
}

enum ZeroPoints<'a> {
    /// Half of the range.
    Middle,
    /// As the weights, each output beginning a byte.
    Packed(&'a TensorProto),
    Floats(Vec<f32>),
}

impl<'a> Blocks<'a> {
    fn of(view: &View<'a>, node: &NodeProto) -> Option<Blocks<'a>> {
        let size = |name: &str| node.int(name).and_then(|i| usize::try_from(i).ok()).filter(|size| *size > 0);
        let bits = u32::try_from(node.int("bits").unwrap_or(4)).ok().filter(|bits| [4, 8].contains(bits))?;
        let (outputs, depth, block) = (size("N")?, size("K")?, size("block_size")?);
        let optional = |index: usize| node.input.get(index).filter(|name| !name.is_empty());
        // Rows in the order of activations (g_idx) are not for such loops.
        if optional(4).is_some() {
            return None;
        }
        let given = |index: usize| optional(index).map(|name| view.constant(name)).map_or(Some(None), |found| found.map(Some));
        let (weights, blocks, bytes) = (view.input(node, 1)?, depth.div_ceil(block), |values: usize| values * bits as usize / 8);
        let scales = to_floats(view.input(node, 2)?).filter(|scales| scales.len() == outputs * blocks)?;
        let zero_points = match given(3)? {
            None => ZeroPoints::Middle,
            Some(packed) if packed.data_type == DataType::Uint8 as i32 => {
                let row = (blocks * bits as usize).div_ceil(8);
                (packed.raw_data.len() == outputs * row).then_some(ZeroPoints::Packed(packed))?
            }
            Some(other) => ZeroPoints::Floats(to_floats(other).filter(|list| list.len() == outputs * blocks)?),
        };
        let bias = given(5)?.filter(|bias| bias.dims.iter().product::<i64>() == outputs as i64);
        let whole = weights.raw_data.len() == outputs * blocks * bytes(block) && optional(5).is_some() == bias.is_some();
        whole.then_some(Blocks { bits, outputs, depth, block, weights, scales, zero_points, bias })
    }

    /// Whether the kernels cover it.
    fn fits_kernels(&self) -> bool {
        self.block.is_power_of_two() && (16..=256).contains(&self.block) && !matches!(self.zero_points, ZeroPoints::Floats(_))
    }

    /// `[depth][output]`.
    fn dequantized(&self) -> Vec<f32> {
        let blocks = self.depth.div_ceil(self.block);
        let value = |bytes: &[u8], index: usize| match self.bits {
            4 => f32::from(bytes[index / 2] >> (4 * (index % 2)) & 15),
            _ => f32::from(bytes[index]),
        };
        let per_row = |bytes: &TensorProto| bytes.raw_data.len() / self.outputs;
        let zero = |output: usize, block: usize| match &self.zero_points {
            ZeroPoints::Middle => (1 << (self.bits - 1)) as f32,
            ZeroPoints::Packed(packed) => value(&packed.raw_data[output * per_row(packed)..], block),
            ZeroPoints::Floats(list) => list[output * blocks + block],
        };
        let mut weights = vec![0.0; self.depth * self.outputs];
        for output in 0..self.outputs {
            let row = &self.weights.raw_data[output * per_row(self.weights)..];
            for index in 0..self.depth {
                let block = index / self.block;
                weights[index * self.outputs + output] = (value(row, index) - zero(output, block)) * self.scales[output * blocks + block];
            }
        }
        weights
    }
}

/// Turns every MatMulNBits that can be into a product with float weights: what the operator means.
pub(super) fn expand(graph: &mut GraphProto) {
    let view = View::new(graph);
    let (mut others, mut constants) = (HashMap::new(), Vec::new());
    for (index, old) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "MatMulNBits") {
        if let Some(blocks) = Blocks::of(&view, old) {
            let (weights, result) = (format!("{}/weights", old.output[0]), &old.output[0]);
            let product = if blocks.bias.is_some() { format!("{result}/product") } else { result.clone() };
            let mut nodes = vec![node("MatMul", &[&old.input[0], &weights], &[&product])];
            nodes.extend(blocks.bias.map(|_| node("Add", &[&product, &old.input[5]], &[result])));
            let dims = [blocks.depth as i64, blocks.outputs as i64];
            others.insert(index, nodes);
            constants.push(floats(&weights, &dims, &blocks.dequantized()));
        }
    }
    replace(graph, others);
    graph.initializer.extend(constants);
}

/// Turns every MatMulNBits that the kernels cover into our operator, and the others into products with float weights.
pub(super) fn settle(graph: &mut GraphProto) {
    let view = View::new(graph);
    let mut others = HashMap::new();
    for (index, old) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "MatMulNBits") {
        let Some(blocks) = Blocks::of(&view, old).filter(Blocks::fits_kernels) else { continue };
        let (mut bias, mut result) = (blocks.bias.and_then(to_floats), &old.output[0]);
        if let (None, Some((taker, other))) = (&bias, view.sum_with(result))
            && let Some(added) = view.constant(other).and_then(to_floats).filter(|list| list.len() == blocks.outputs)
        {
            others.insert(taker, Vec::new());
            (bias, result) = (Some(added), &graph.node[taker].output[0]);
        }
        let bytes = |tensor: &TensorProto| constant("", DataType::Uint8, &tensor.dims, tensor.raw_data.clone());
        let mut new = node("hearth.BlockLinear", &[&old.input[0]], &[result])
            .with_tensor("weights", bytes(blocks.weights))
            .with_tensor("scales", floats("", &[blocks.scales.len() as i64], &blocks.scales));
        if let ZeroPoints::Packed(packed) = blocks.zero_points {
            new = new.with_tensor("zero_points", bytes(packed));
        }
        if let Some(bias) = &bias {
            new = new.with_tensor("bias", floats("", &[bias.len() as i64], bias));
        }
        let sizes =
            [("bits", blocks.bits as i64), ("N", blocks.outputs as i64), ("K", blocks.depth as i64), ("block_size", blocks.block as i64)];
        others.insert(index, vec![sizes.iter().fold(new, |new, (name, size)| new.with_int(name, *size))]);
    }
    replace(graph, others);
    expand(graph);
}
