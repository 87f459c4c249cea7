//! Constants that DequantizeLinear makes real by blocks of an axis, as ONNX has 4-bit weights since opset 21: behind a product they become
//! a MatMulNBits, which is computed on them as they are, elsewhere floats.

use super::integers::nodes::{Attributes as _, constant, floats, node, replace, to_floats, to_integers};
use super::integers::view::View;
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Replaces every such node whose inputs are constant.
pub(super) fn resolve(graph: &mut GraphProto) {
    let view = View::new(graph);
    let (mut others, mut constants) = (HashMap::new(), Vec::new());
    for (index, old) in graph.node.iter().enumerate() {
        let Some(blocks) = Blocks::of(&view, old) else { continue };
        let Some(name) = old.output.first() else { continue };
        others.insert(index, Vec::new());
        let products: Vec<(usize, &NodeProto)> = view.takers(name).collect();
        let of_products = products
            .iter()
            .all(|(_, taker)| taker.op_type == "MatMul" && matches!(taker.input.as_slice(), [x, weights] if weights == name && x != name));
        if !of_products || view.is_kept(name) || !blocks.fit_products() {
            constants.push(floats(name, &blocks.shape(), &blocks.real()));
            continue;
        }
        let own = blocks.packed(name);
        for (index, product) in products {
            others.insert(index, vec![blocks.product(product, &own)]);
        }
        constants.extend(own);
    }
    drop(view);
    replace(graph, others);
    graph.initializer.extend(constants);
}

/// Integers with a scale and a zero point for each block of an axis.
struct Blocks<'a> {
    dims: Vec<usize>,
    axis: usize,
    block: usize,
    /// A byte each.
    integers: &'a [u8],
    signed: bool,
    scales: Vec<f32>,
    /// Empty, or one a scale.
    zero_points: Vec<i64>,
}

impl<'a> Blocks<'a> {
    fn of(view: &View<'a>, node: &NodeProto) -> Option<Blocks<'a>> {
        let block = node.int("block_size").and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0)?;
        if node.op_type != "DequantizeLinear" {
            return None;
        }
        let integers = view.input(node, 0)?;
        let signed = match DataType::try_from(integers.data_type).ok()? {
            DataType::Int8 => true,
            DataType::Uint8 => false,
            _ => return None,
        };
        let dims: Vec<usize> = integers.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
        let axis = node.int("axis").unwrap_or(1);
        let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok().filter(|axis| *axis < dims.len())?;
        let scales = to_floats(view.input(node, 1)?)?;
        let zero_points = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => to_integers(view.constant(name)?)?,
            None => Vec::new(),
        };
        let count: usize = dims.iter().enumerate().map(|(at, size)| if at == axis { size.div_ceil(block) } else { *size }).product();
        let whole = scales.len() == count && [0, count].contains(&zero_points.len());
        whole.then_some(Blocks { integers: &integers.raw_data, dims, axis, block, signed, scales, zero_points })
    }

    fn shape(&self) -> Vec<i64> {
        self.dims.iter().map(|size| *size as i64).collect()
    }

    fn integer(&self, index: usize) -> i64 {
        if self.signed { i64::from(self.integers[index] as i8) } else { i64::from(self.integers[index]) }
    }

    fn real(&self) -> Vec<f32> {
        let (size, inner) = (self.dims[self.axis], self.dims[self.axis + 1..].iter().product::<usize>());
        let value = |index: usize| {
            let (outer, at, rest) = (index / (size * inner), index / inner % size, index % inner);
            let place = (outer * size.div_ceil(self.block) + at / self.block) * inner + rest;
            (self.integer(index) - self.zero_points.get(place).unwrap_or(&0)) as f32 * self.scales[place]
        };
        (0..self.integers.len()).map(value).collect()
    }

    /// Whether they are weights that MatMulNBits may have.
    fn fit_products(&self) -> bool {
        self.dims.len() == 2 && self.axis == 0 && (16..=256).contains(&self.block) && self.block.is_power_of_two()
    }

    /// 4 if all are so small, else 8.
    fn bits(&self) -> u32 {
        let range = if self.signed { -8..8 } else { 0..16 };
        let mut all = (0..self.integers.len()).map(|index| self.integer(index)).chain(self.zero_points.iter().copied());
        if all.all(|integer| range.contains(&integer)) { 4 } else { 8 }
    }

    /// Weights, scales and zero points as MatMulNBits has them: of each output by itself, and unsigned.
    fn packed(&self, name: &str) -> [TensorProto; 3] {
        let (depth, outputs, bits) = (self.dims[0], self.dims[1], self.bits());
        let (blocks, per_byte, offset) = (depth.div_ceil(self.block), 8 / bits as usize, if self.signed { 1 << (bits - 1) } else { 0 });
        let pack = |values: &mut dyn Iterator<Item = i64>| -> Vec<u8> {
            let values: Vec<u8> = values.map(|value| (value + offset) as u8).collect();
            values.chunks(per_byte).map(|list| list.iter().enumerate().fold(0, |byte, (at, value)| byte | value << (4 * at))).collect()
        };
        let [mut weights, mut zero_points] = [Vec::new(), Vec::new()];
        for output in 0..outputs {
            let weight = |at: usize| if at < depth { self.integer(at * outputs + output) } else { 0 };
            weights.extend(pack(&mut (0..blocks * self.block).map(weight)));
            zero_points.extend(pack(&mut (0..blocks).map(|at| self.zero_points.get(at * outputs + output).copied().unwrap_or(0))));
        }
        let scales: Vec<f32> = (0..outputs)
            .flat_map(|output| (0..blocks).map(move |at| (at, output)))
            .map(|(at, output)| self.scales[at * outputs + output])
            .collect();
        let bytes = |what: &str, dims: &[usize], bytes: Vec<u8>| {
            let dims: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
            constant(&format!("{name}/{what}"), DataType::Uint8, &dims, bytes)
        };
        [
            bytes("weights", &[outputs, blocks, self.block / per_byte], weights),
            floats(&format!("{name}/scales"), &[scales.len() as i64], &scales),
            bytes("zero_points", &[zero_points.len()], zero_points),
        ]
    }

    fn product(&self, old: &NodeProto, [weights, scales, zero_points]: &[TensorProto; 3]) -> NodeProto {
        let new = node("MatMulNBits", &[&old.input[0], &weights.name, &scales.name, &zero_points.name], &[&old.output[0]]);
        let sizes = [("K", self.dims[0]), ("N", self.dims[1]), ("bits", self.bits() as usize), ("block_size", self.block)];
        let new = sizes.into_iter().fold(new, |new, (name, size)| new.with_int(name, size as i64));
        NodeProto { name: old.name.clone(), domain: "com.microsoft".into(), ..new }
    }
}

#[cfg(test)]
mod tests {
    use crate::Network;
    use crate::onnx::Source;
    use crate::onnx::testing::{Attribute, Graph, Random, floats, tensor};
    use hearth_api::tensor::Tensor;
    use hearth_kernels::Pool;
    use tract_onnx::pb::tensor_proto::DataType;

    /// `x` of `[N, 40]` times weights of `[40, 3]` in blocks of 16; the table `t` is taken from by a Gather.
    fn graph(element: DataType, with_zero_points: bool) -> Graph {
        let nibbles = |name: &str, dims: &[i64], seed| {
            let count = dims.iter().product::<i64>() as usize;
            tensor(name, element, dims, Random(seed).bytes(count.div_ceil(2)).into_iter().map(|b| b & 0x77).collect())
        };
        let scales: Vec<f32> = (0..9).map(|at| 0.01 + 0.003 * at as f32).collect();
        let graph = Graph::default().input("x", DataType::Float, &[-1, 40]).output("y", DataType::Float, &[-1]);
        let graph = graph.constant(nibbles("w", &[40, 3], 1)).constant(floats("s", &[3, 3], &scales)).constant(nibbles("z", &[3, 3], 2));
        let attributes = || vec![("axis", Attribute::Int(0)), ("block_size", Attribute::Int(16))];
        let zero = if with_zero_points { "z" } else { "_" };
        graph.node_with(&format!("DequantizeLinear w s {zero} -> r"), attributes())
    }

    fn answer(graph: Graph) -> Vec<f32> {
        let file = graph.write();
        let network = Network::load(&file.path).unwrap();
        let x = Tensor::from_f32("x", vec![1, 40], &Random(3).floats(40));
        let y = network.run(vec![vec![x]], 1, &Pool::new(1), &mut || ()).remove(0).unwrap().remove(0);
        y.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    #[test]
    fn weights_of_4_bits_are_multiplied_as_they_are_or_made_floats() {
        for element in [DataType::Int4, DataType::Uint4] {
            for with_zero_points in [false, true] {
                let product = graph(element, with_zero_points).node("MatMul x r -> y");
                let file = product.clone().write();
                let (model, _) = Source::read(&file.path).unwrap().parse_integers().unwrap().unwrap();
                assert!(model.nodes().iter().any(|node| node.op.name() == "BlockLinear"));
                // Behind something else than a product they are floats.
                let floats = graph(element, with_zero_points).node("Neg r -> n").node("Neg n -> m").node("MatMul x m -> y");
                let (found, expected) = (answer(product), answer(floats));
                let size = expected.iter().map(|value| value.abs()).fold(0.0, f32::max);
                assert!(size > 0.1 && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.02 * size), "{found:?} {expected:?}");
            }
        }
    }

    #[test]
    fn blocks_of_any_size_and_products_of_any_form_do_no_harm() {
        for (block, after) in
            [(1i64 << 40, "MatMul x r -> y"), (i64::MAX, "MatMul x r -> y"), (16, "MatMul r -> y"), (16, "MatMul x r x -> y")]
        {
            let mut graph = graph(DataType::Int4, false).node(after);
            graph.0.node[0].attribute.iter_mut().filter(|a| a.name == "block_size").for_each(|a| a.i = block);
            _ = Network::load(&graph.write().path);
        }
    }

    #[test]
    fn four_bits_elsewhere_are_refused() {
        let graph = graph(DataType::Int4, true).node("Cast w -> y");
        let told = Source::read(&graph.write().path).err().unwrap().to_string();
        assert!(told.contains("INT4") && told.contains("DequantizeLinear"), "{told}");
    }
}
