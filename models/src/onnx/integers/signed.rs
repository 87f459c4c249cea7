//! `u8` becomes `i8`: 128 less, integer and zero point alike, so that the kernels know one type. Tensors that operators which only
//! move values tie together change together, or, where the graph's caller sees one of them, not at all.

use super::fuse::moves;
use super::nodes::{Attributes as _, constant, to_integers};
use super::view::{UNSIGNED, View};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

/// Where a node has the zero point of a grid of `u8`.
const ZERO_POINT: usize = 2;

/// Shifts what can be shifted.
pub(super) fn shift(graph: &mut GraphProto) {
    let changes = Changes::of(&View::new(graph));
    for tensor in &mut graph.initializer {
        if changes.constants.contains(&tensor.name) {
            shift_constant(tensor);
        }
    }
    for (node, zero_point) in changes.grids {
        let fresh = format!("{}/zero_point", graph.node[node].output[0]);
        let shifted = TensorProto { name: fresh.clone(), ..zero_point };
        graph.initializer.push(shifted);
        graph.node[node] = std::mem::take(&mut graph.node[node]).with_int(UNSIGNED, 1);
        let inputs = &mut graph.node[node].input;
        inputs.resize(inputs.len().max(ZERO_POINT + 1), String::new());
        inputs[ZERO_POINT] = fresh;
    }
}

#[derive(Default)]
struct Changes {
    /// Q and DQ nodes, and their shifted zero points.
    grids: Vec<(usize, TensorProto)>,
    /// Constants to shift.
    constants: HashSet<String>,
}

impl Changes {
    fn of(view: &View<'_>) -> Changes {
        // Groups of tensors tied together, each found by any of its members.
        let mut groups: Vec<Vec<&str>> = Vec::new();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let ends = view.graph.node.iter().filter_map(|node| match node.op_type.as_str() {
            "QuantizeLinear" => node.output.first(),
            "DequantizeLinear" => node.input.first(),
            _ => None,
        });
        for end in ends {
            if seen.contains_key(end.as_str()) {
                continue;
            }
            let (mut members, mut open) = (Vec::new(), vec![end.as_str()]);
            while let Some(name) = open.pop() {
                if seen.insert(name, groups.len()).is_some() {
                    continue;
                }
                members.push(name);
                if let Some((_, maker)) = view.maker(name).filter(|(_, maker)| moves(maker).is_some()) {
                    open.extend(moved(maker));
                }
                let takers = view.takers(name).filter(|(_, taker)| moved(taker).any(|input| input == name));
                open.extend(takers.flat_map(|(_, taker)| taker.output.iter().map(String::as_str)));
            }
            groups.push(members);
        }
        let mut changes = Changes::default();
        groups.iter().for_each(|group| changes.add(view, group));
        changes
    }

    /// Takes a group in, if all of it is of `u8` and can be shifted.
    fn add(&mut self, view: &View<'_>, group: &[&str]) {
        let (mut grids, mut constants) = (Vec::new(), HashSet::new());
        for name in group {
            if let Some(constant) = view.constant(name) {
                if constant.data_type != DataType::Uint8 as i32 || view.maker(name).is_some() {
                    return;
                }
                constants.insert((*name).to_owned());
            }
            let Some(all) = ends_of(view, name) else { return };
            for node in all {
                let Some(zero_point) = shifted_zero_point(view, node) else { return };
                grids.push((node, zero_point));
            }
        }
        self.grids.extend(grids);
        self.constants.extend(constants);
    }
}

/// The tensors that a node moves.
fn moved(node: &tract_onnx::pb::NodeProto) -> impl Iterator<Item = &str> {
    let count = moves(node).unwrap_or(0).min(node.input.len());
    node.input[..count].iter().map(String::as_str)
}

/// The Q and DQ nodes around a tensor; none if anybody else deals with its integers.
fn ends_of(view: &View<'_>, name: &str) -> Option<Vec<usize>> {
    if view.is_kept(name) || (view.maker(name).is_none() && view.constant(name).is_none()) {
        return None;
    }
    let mut ends = Vec::new();
    if let Some((index, maker)) = view.maker(name) {
        match maker.op_type.as_str() {
            "QuantizeLinear" => ends.push(index),
            _ if moves(maker).is_some() => {}
            _ => return None,
        }
    }
    for (index, taker) in view.takers(name) {
        match taker.op_type.as_str() {
            "DequantizeLinear" if taker.input[0] == name => ends.push(index),
            _ if moved(taker).any(|input| input == name) => {}
            _ => return None,
        }
    }
    Some(ends)
}

/// The zero point of a Q or DQ node of `u8` as one of `i8`.
fn shifted_zero_point(view: &View<'_>, node: usize) -> Option<TensorProto> {
    let node = &view.graph.node[node];
    let scale = view.input(node, 1)?;
    if node.int("output_dtype").unwrap_or(0) != 0 {
        return None;
    }
    let Some(given) = node.input.get(ZERO_POINT).filter(|name| !name.is_empty()) else {
        // Without one it is 0, of u8.
        let count: i64 = scale.dims.iter().product();
        return Some(constant("", DataType::Int8, &scale.dims, vec![0x80; usize::try_from(count).ok()?]));
    };
    let given = view.constant(given).filter(|t| t.data_type == DataType::Uint8 as i32)?;
    to_integers(given)?;
    let mut shifted = given.clone();
    shift_constant(&mut shifted);
    Some(shifted)
}

fn shift_constant(tensor: &mut TensorProto) {
    tensor.data_type = DataType::Int8 as i32;
    tensor.raw_data.iter_mut().for_each(|byte| *byte ^= 0x80);
}
