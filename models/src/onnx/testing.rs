//! Small ONNX files, written by tests.

use crate::Network;
use hearth_api::tensor::Tensor;
use hearth_kernels::Pool;
use prost::Message;
use std::path::PathBuf;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

/// A graph in the making. Dimensions below 0 are the symbol `N`.
#[derive(Default, Clone)]
pub(crate) struct Graph(pub(crate) GraphProto);

/// An attribute's value.
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
    Body(GraphProto),
}

/// A temporary folder with one ONNX file.
pub(crate) struct OnnxFile {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn tensor(name: &str, element: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), data_type: element as i32, dims: dims.to_vec(), raw_data, ..Default::default() }
}

pub(crate) fn floats(name: &str, dims: &[i64], elements: &[f32]) -> TensorProto {
    tensor(name, DataType::Float, dims, elements.iter().flat_map(|x| x.to_le_bytes()).collect())
}

pub(crate) fn ints(name: &str, dims: &[i64], elements: &[i64]) -> TensorProto {
    tensor(name, DataType::Int64, dims, elements.iter().flat_map(|x| x.to_le_bytes()).collect())
}

pub(crate) fn value_info(name: &str, element: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = |d: &i64| {
        let value = if *d < 0 { dimension::Value::DimParam("N".into()) } else { dimension::Value::DimValue(*d) };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: element as i32, shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
}

impl Graph {
    pub(crate) fn input(mut self, name: &str, element: DataType, dims: &[i64]) -> Graph {
        self.0.input.push(value_info(name, element, dims));
        self
    }

    pub(crate) fn output(mut self, name: &str, element: DataType, dims: &[i64]) -> Graph {
        self.0.output.push(value_info(name, element, dims));
        self
    }

    pub(crate) fn constant(mut self, tensor: TensorProto) -> Graph {
        self.0.initializer.push(tensor);
        self
    }

    /// `spec` is `Op in1 in2 -> out1 out2`, or `domain:Op` and so on; `_` is an input or output left out.
    pub(crate) fn node(self, spec: &str) -> Graph {
        self.node_with(spec, vec![])
    }

    pub(crate) fn node_with(mut self, spec: &str, attributes: Vec<(&str, Attribute)>) -> Graph {
        let (left, right) = spec.split_once("->").unwrap();
        let mut left = left.split_whitespace();
        let given = |name: &str| if name == "_" { String::new() } else { name.to_owned() };
        let operator = left.next().unwrap();
        let (domain, op_type) = operator.split_once(':').unwrap_or(("", operator));
        let attribute = attributes
            .into_iter()
            .map(|(name, value)| {
                let mut proto = AttributeProto { name: name.into(), ..Default::default() };
                proto.r#type = match value {
                    Attribute::Int(i) => {
                        proto.i = i;
                        AttributeType::Int
                    }
                    Attribute::Ints(ints) => {
                        proto.ints = ints;
                        AttributeType::Ints
                    }
                    Attribute::Float(f) => {
                        proto.f = f;
                        AttributeType::Float
                    }
                    Attribute::Text(text) => {
                        proto.s = text.into();
                        AttributeType::String
                    }
                    Attribute::Body(graph) => {
                        proto.g = Some(graph);
                        AttributeType::Graph
                    }
                } as i32;
                proto
            })
            .collect();
        self.0.node.push(NodeProto {
            name: format!("{op_type}_{}", self.0.node.len()),
            op_type: op_type.into(),
            domain: domain.into(),
            input: left.map(given).collect(),
            output: right.split_whitespace().map(given).collect(),
            attribute,
            ..Default::default()
        });
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
        let model = ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(self.0), ..Default::default() };
        model.encode_to_vec()
    }

    pub(crate) fn write(self) -> OnnxFile {
        write_bytes(&self.bytes())
    }
}

pub(crate) fn write_bytes(bytes: &[u8]) -> OnnxFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    OnnxFile { folder, path }
}

/// The first output of each request by a network and by its reference. The network's is the same alone and among others.
pub(crate) fn beside(network: &Network, reference: &Network, requests: Vec<Vec<Tensor>>) -> Vec<(Tensor, Tensor)> {
    let pool = Pool::new(1);
    let run = |network: &Network, requests: Vec<Vec<Tensor>>| -> Vec<Tensor> {
        network.run(requests, 1, &pool, &mut || ()).into_iter().map(|answer| answer.unwrap().remove(0)).collect()
    };
    let expected = run(reference, requests.clone());
    let together = run(network, requests.clone());
    let alone: Vec<Tensor> = requests.into_iter().flat_map(|request| run(network, vec![request])).collect();
    assert_eq!(together, alone);
    together.into_iter().zip(expected).collect()
}

/// A generator of test data: the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn float(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}
