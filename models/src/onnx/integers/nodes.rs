//! Nodes and constants in the making: attributes by name, tensors from slices and back.

use std::collections::HashMap;
use std::mem;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// What the names of our own operators begin with; no file may use them.
pub(crate) const PREFIX: &str = "hearth.";

/// A node with these inputs and outputs, named after its first output.
pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        op_type: operator.into(),
        name: outputs.first().copied().unwrap_or_default().into(),
        input: list(inputs),
        output: list(outputs),
        ..NodeProto::default()
    }
}

/// `new` with the attributes of `old` that say how its windows move over so many axes; none if those are to be worked out (`auto_pad`).
pub(super) fn moving_as(old: &NodeProto, axes: usize, new: NodeProto) -> Option<NodeProto> {
    let list = |name: &str, count: usize, value: i64| match old.ints(name) {
        Some(given) if given.len() == count => given.to_vec(),
        _ => vec![value; count],
    };
    let given = matches!(old.text("auto_pad"), None | Some("" | "NOTSET" | "VALID"));
    given.then(|| {
        new.with_ints("strides", &list("strides", axes, 1))
            .with_ints("dilations", &list("dilations", axes, 1))
            .with_ints("pads", &list("pads", 2 * axes, 0))
    })
}

/// `new` with the windows of a pool; none if they are not over one or two axes, or if the places of the values are asked for.
pub(super) fn pooling_as(old: &NodeProto, new: NodeProto) -> Option<NodeProto> {
    let kernel = old.ints("kernel_shape").filter(|kernel| (1..=2).contains(&kernel.len()) && old.output.len() == 1)?;
    let new = new.with_ints("kernel_shape", kernel).with_int("ceil_mode", old.int("ceil_mode").unwrap_or(0));
    moving_as(old, kernel.len(), new)
}

/// Puts others in the place of some nodes of a graph, by their index; of an empty list the node goes.
pub(in crate::onnx) fn replace(graph: &mut GraphProto, mut others: HashMap<usize, Vec<NodeProto>>) {
    let old = mem::take(&mut graph.node).into_iter().enumerate();
    graph.node = old.flat_map(|(index, node)| others.remove(&index).unwrap_or_else(|| vec![node])).collect();
}

/// Attributes, read and set by name.
pub(crate) trait Attributes: Sized {
    fn set(self, attribute: AttributeProto) -> Self;
    fn get(&self, name: &str) -> Option<&AttributeProto>;

    fn with_int(self, name: &str, i: i64) -> Self {
        self.set(AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() })
    }

    fn with_ints(self, name: &str, ints: &[i64]) -> Self {
        self.set(AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints: ints.to_vec(), ..AttributeProto::default() })
    }

    fn with_float(self, name: &str, f: f32) -> Self {
        self.set(AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() })
    }

    fn with_floats(self, name: &str, floats: &[f32]) -> Self {
        let floats = floats.to_vec();
        self.set(AttributeProto { name: name.into(), r#type: AttributeType::Floats as i32, floats, ..AttributeProto::default() })
    }

    fn with_text(self, name: &str, text: &str) -> Self {
        self.set(AttributeProto { name: name.into(), r#type: AttributeType::String as i32, s: text.into(), ..AttributeProto::default() })
    }

    fn with_tensor(self, name: &str, tensor: TensorProto) -> Self {
        let t = Some(tensor);
        self.set(AttributeProto { name: name.into(), r#type: AttributeType::Tensor as i32, t, ..AttributeProto::default() })
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.get(name).map(|a| a.i)
    }

    fn ints(&self, name: &str) -> Option<&[i64]> {
        self.get(name).map(|a| a.ints.as_slice())
    }

    fn float(&self, name: &str) -> Option<f32> {
        self.get(name).map(|a| a.f)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|a| std::str::from_utf8(&a.s).ok())
    }
}

impl Attributes for NodeProto {
    fn set(mut self, attribute: AttributeProto) -> NodeProto {
        self.attribute.retain(|a| a.name != attribute.name);
        self.attribute.push(attribute);
        self
    }

    fn get(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|a| a.name == name)
    }
}

/// A constant of `i8`.
pub(crate) fn bytes(name: &str, dims: &[i64], elements: &[i8]) -> TensorProto {
    constant(name, DataType::Int8, dims, elements.iter().map(|e| *e as u8).collect())
}

/// A constant of `f32`.
pub(crate) fn floats(name: &str, dims: &[i64], elements: &[f32]) -> TensorProto {
    constant(name, DataType::Float, dims, elements.iter().flat_map(|e| e.to_le_bytes()).collect())
}

/// A constant of `i32`.
pub(super) fn words(name: &str, dims: &[i64], elements: &[i32]) -> TensorProto {
    constant(name, DataType::Int32, dims, elements.iter().flat_map(|e| e.to_le_bytes()).collect())
}

pub(crate) fn constant(name: &str, element: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), data_type: element as i32, dims: dims.to_vec(), raw_data, ..TensorProto::default() }
}

/// The elements of an `f32` constant.
pub(crate) fn to_floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    (tensor.data_type == DataType::Float as i32).then(|| tensor.raw_data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// The elements of an integer constant of 8, 32 or 64 bits that fit an `i64`.
pub(crate) fn to_integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    let raw = &tensor.raw_data;
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Uint8 => raw.iter().map(|b| i64::from(*b)).collect(),
        DataType::Int8 => raw.iter().map(|b| i64::from(*b as i8)).collect(),
        DataType::Int32 => raw.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect(),
        DataType::Int64 => raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        _ => return None,
    })
}
