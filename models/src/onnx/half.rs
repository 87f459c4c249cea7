//! Half precision graphs are computed in f32: tract mixes f32 constants into some f16 operators, and boards below ARMv8.2 have no
//! f16 arithmetic at all. Weights, casts and ports are widened in the file's graph; callers still send and get FP16.

use hearth_api::tensor::half_to_f32;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{GraphProto, TensorProto, ValueInfoProto};

const HALF: i32 = DataType::Float16 as i32;
const SINGLE: i32 = DataType::Float as i32;

/// Widens every half precision constant, cast and port of the graph and of its bodies.
pub(super) fn widen(graph: &mut GraphProto) {
    graph.initializer.iter_mut().for_each(widen_tensor);
    graph.input.iter_mut().chain(&mut graph.output).for_each(widen_port);
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).for_each(widen_tensor);
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(widen);
        if matches!(attribute.name.as_str(), "to" | "dtype" | "output_dtype") && attribute.i == i64::from(HALF) {
            attribute.i = i64::from(SINGLE);
        }
    }
}

fn widen_tensor(tensor: &mut TensorProto) {
    if tensor.data_type == HALF {
        let halves = tensor.raw_data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        tensor.raw_data = halves.flat_map(|half| half_to_f32(half).to_le_bytes()).collect();
        tensor.data_type = SINGLE;
    }
}

fn widen_port(port: &mut ValueInfoProto) {
    if let Some(Type::TensorType(tensor)) = port.r#type.as_mut().and_then(|t| t.value.as_mut())
        && tensor.elem_type == HALF
    {
        tensor.elem_type = SINGLE;
    }
}
