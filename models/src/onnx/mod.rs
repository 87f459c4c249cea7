//! ONNX files on their way to tract: read, fenced (what tract would crash on, allocate without end or silently misread is refused
//! with the reason), brought to the forms that tract reads right, and parsed. Runs nothing.

mod aliases;
mod blocked;
mod contrib;
mod elements;
mod half;
pub(crate) mod integers;
mod names;
mod recurrent;
mod sizes;
#[cfg(test)]
pub(crate) mod testing;

use crate::error::LoadError;
use crate::panics::caught;
use hearth_api::tensor::Datatype;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use tract_onnx::prelude::*;
use tract_onnx::{Onnx, tract_core::internal::TractErrorContext as _};

/// The most nodes a graph may have, those of its bodies included: tract's passes take time with the square of it.
pub(crate) const MAX_NODES: usize = 10_000;
/// The most elements a tensor inside a graph may have: 512 MiB of f32.
pub(crate) const MAX_ELEMENTS: u64 = 1 << 27;

static FRAMEWORK: LazyLock<Onnx> = LazyLock::new(|| {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_types(true);
    crate::ops::register(&mut onnx);
    onnx
});

/// A fenced ONNX file.
pub(crate) struct Source {
    file: PathBuf,
    proto: ModelProto,
    /// Names and declared types of its inputs, in order.
    pub(crate) inputs: Vec<Port>,
    /// Names and declared types of its outputs, in order.
    pub(crate) outputs: Vec<Port>,
    /// Whether values computed from the whole batch scale its rows, so that rows must not ride together.
    pub(crate) mixes_rows: bool,
}

/// An input or output as the file declares it.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) name: String,
    /// What the caller sees; a half precision port is computed in f32.
    pub(crate) datatype: Datatype,
    /// Declared dimensions, where the file has any; `None` is one that may vary.
    pub(crate) shape: Option<Vec<Option<usize>>>,
}

impl Source {
    /// Reads and fences a file, and the external data it names.
    pub(crate) fn read(file: &Path) -> Result<Source, LoadError> {
        let mut proto = decode(file)?;
        let Some(graph) = &mut proto.graph else {
            return Err(LoadError::invalid(file, "it holds no graph, so it is no ONNX model", "give a file that an exporter wrote"));
        };
        // Exporters write it last, so a file cut short may lack only this.
        if !proto.opset_import.iter().any(|set| matches!(set.domain.as_str(), "" | "ai.onnx")) {
            return Err(LoadError::invalid(file, "it names no ONNX operator set, so it is cut short", "copy or export it again"));
        }
        elements::normalise(file, graph)?;
        names::check(file, graph, |node| {
            let op = node.op_type.as_str();
            integers::expands(op) || recurrent::expands(op) || contrib::expands(node) || (read_by_tract(node) && !integers::is_own(op))
        })?;
        if let Some(node) = contrib::not_understood(graph).into_iter().find(|node| contrib::misleads(node) || !read_by_tract(node)) {
            return Err(LoadError::unsupported(
                file,
                format!("operator {}.{} with the inputs and attributes of node {:?}", node.domain, node.op_type, node.name),
                "give the model as it was before it was optimised for one runtime",
            ));
        }
        sizes::check(file, graph)?;
        let initialised: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let inputs = graph.input.iter().filter(|i| !initialised.contains(i.name.as_str()));
        let inputs = inputs.map(|input| port(file, input)).collect::<Result<Vec<_>, _>>()?;
        let outputs = graph.output.iter().map(|output| port(file, output)).collect::<Result<Vec<_>, _>>()?;
        if inputs.is_empty() || outputs.is_empty() {
            return Err(LoadError::invalid(file, "the graph has no input or no output", "a model takes and gives at least one tensor"));
        }
        if let Some(open) = inputs.iter().find(|i| i.shape.is_none()) {
            return Err(LoadError::invalid(
                file,
                format!("input {:?} declares no shape", open.name),
                "export it with a shape (dimensions may be symbolic)",
            ));
        }
        names::distinguish(graph);
        half::widen(graph);
        aliases::resolve(graph);
        let mixes_rows = mixes_rows(graph);
        Ok(Source { file: file.into(), proto, inputs, outputs, mixes_rows })
    }

    /// The file it was read from.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Tells each operator by its name, those of bodies included, with the domain where it is not ONNX's own.
    pub(crate) fn operators(&self, tell: &mut dyn FnMut(String)) {
        let mut each = |node: &NodeProto| {
            let own = matches!(node.domain.as_str(), "" | "ai.onnx");
            tell(if own { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) });
            false
        };
        self.proto.graph.iter().for_each(|graph| _ = any_node(graph, &mut each));
    }

    /// tract's graph of it, before any analysis: as the file has it, but for what tract does not know or misreads.
    pub(crate) fn parse(&self) -> Result<InferenceModel, LoadError> {
        let mut proto = self.proto.clone();
        proto.graph.iter_mut().for_each(|graph| {
            settle(graph);
            recurrent::complete(graph);
            integers::expand(graph);
        });
        self.parse_proto(&proto)
    }

    /// The same with what we compute in floats faster than tract as operators of our own; none where it holds nothing of the kind.
    pub(crate) fn parse_floats(&self) -> Option<Result<InferenceModel, LoadError>> {
        let opset = opset(&self.proto);
        let proto = self.rewritten(|graph| {
            let layers = recurrent::rewrite(graph, recurrent::Products::Floats);
            integers::expand(graph);
            (integers::rewrite_floats(graph, opset) || layers).then_some(())
        })?;
        Some(self.parse_proto(&proto))
    }

    /// The same with all that is quantized computed on integers, too, and whether rows of a batch still mix; none where nothing is.
    pub(crate) fn parse_integers(&self) -> Option<Result<(InferenceModel, bool), LoadError>> {
        let opset = opset(&self.proto);
        let proto = self.rewritten(|graph| {
            let layers = recurrent::is_quantized(graph);
            recurrent::rewrite(graph, recurrent::Products::Integers);
            let rewritten = integers::rewrite(graph, opset);
            tracing::debug!(file = %self.file.display(), ?rewritten, "computed on integers");
            (layers || rewritten.is_some()).then_some(())
        })?;
        let mixes_rows = proto.graph.as_ref().is_some_and(mixes_rows);
        Some(self.parse_proto(&proto).map(|model| (model, mixes_rows)))
    }

    /// The file's graph after passes; none where they have nothing to do. A file that confuses them is served as it is.
    fn rewritten(&self, passes: impl FnOnce(&mut GraphProto) -> Option<()>) -> Option<ModelProto> {
        let mut proto = self.proto.clone();
        let passes = |graph: &mut GraphProto| {
            settle(graph);
            passes(graph)
        };
        let done = caught(|| proto.graph.as_mut().and_then(passes)).unwrap_or_else(|panic| {
            tracing::warn!(file = %self.file.display(), panic, "the passes failed");
            None
        });
        done.map(|()| proto)
    }

    fn parse_proto(&self, proto: &ModelProto) -> Result<InferenceModel, LoadError> {
        let fail = |reason: String| LoadError::Graph { file: self.file.clone(), stage: "reading the graph", reason };
        let parsed = caught(|| FRAMEWORK.parse(proto, None)).map_err(fail)?.map_err(|e| fail(reason(&e)))?;
        match parsed.unresolved_inputs.as_slice() {
            [] => Ok(parsed.model),
            names => Err(fail(format!("nothing makes {}", names.join(", ")))),
        }
    }
}

/// Brings forms of which there are two to one, for whatever follows.
fn settle(graph: &mut GraphProto) {
    contrib::expand(graph);
    blocked::resolve(graph);
}

/// Whether tract reads an operator of this name.
fn read_by_tract(node: &NodeProto) -> bool {
    FRAMEWORK.op_register.0.contains_key(node.op_type.as_str())
}

/// The version of ONNX's own operators.
fn opset(proto: &ModelProto) -> i64 {
    let own = proto.opset_import.iter().find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    own.map_or(0, |set| set.version)
}

/// tract's error, its causes in one line.
pub(crate) fn reason(error: &TractError) -> String {
    let text = format!("{error:#}");
    // Some of tract's messages hold whole tensors.
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}

fn decode(file: &Path) -> Result<ModelProto, LoadError> {
    let length = std::fs::metadata(file).map_err(|e| LoadError::read(file, e))?.len();
    if length == 0 {
        return Err(LoadError::invalid(file, "it is empty", "give a file that an exporter wrote"));
    }
    let decoded = FRAMEWORK.proto_model_for_path(file).with_context(|| "decoding");
    decoded.map_err(|e| match e.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(kind) => LoadError::read(file, kind.into()),
        None => LoadError::invalid(
            file,
            format!("it is no whole ONNX file ({})", e.root_cause()),
            "copy it again, and compare its size and checksum with the original",
        ),
    })
}

fn port(file: &Path, info: &ValueInfoProto) -> Result<Port, LoadError> {
    let Some(Type::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err(LoadError::unsupported(file, format!("{:?}, which is no tensor,", info.name), "inputs and outputs are tensors"));
    };
    let datatype = DataType::try_from(tensor.elem_type).ok().and_then(datatype).ok_or_else(|| {
        LoadError::unsupported(
            file,
            format!("{:?} of {}", info.name, elements::type_name(tensor.elem_type)),
            "booleans, integers, and floats of 16, 32 and 64 bits go in and out",
        )
    })?;
    let shape = tensor.shape.as_ref().map(|shape| {
        // Exporters write 0 and -1 where they mean "unknown".
        let size = |value: &Option<Dimension>| match value {
            Some(Dimension::DimValue(v)) => usize::try_from(*v).ok().filter(|v| *v > 0),
            _ => None,
        };
        shape.dim.iter().map(|d| size(&d.value)).collect()
    });
    Ok(Port { name: info.name.clone(), datatype, shape })
}

fn datatype(element: DataType) -> Option<Datatype> {
    Some(match element {
        DataType::Bool => Datatype::Bool,
        DataType::Uint8 => Datatype::Uint8,
        DataType::Uint16 => Datatype::Uint16,
        DataType::Uint32 => Datatype::Uint32,
        DataType::Uint64 => Datatype::Uint64,
        DataType::Int8 => Datatype::Int8,
        DataType::Int16 => Datatype::Int16,
        DataType::Int32 => Datatype::Int32,
        DataType::Int64 => Datatype::Int64,
        DataType::Float16 => Datatype::Fp16,
        DataType::Float => Datatype::Fp32,
        DataType::Double => Datatype::Fp64,
        _ => return None,
    })
}

/// Whether a graph computes a grid from all of a batch.
fn mixes_rows(graph: &GraphProto) -> bool {
    any_node(graph, &mut |node| matches!(node.op_type.as_str(), "DynamicQuantizeLinear" | "DynamicQuantizeMatMul"))
}

/// The bodies (of If, Loop, Scan) that a node carries.
fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

fn any_node(graph: &GraphProto, test: &mut dyn FnMut(&NodeProto) -> bool) -> bool {
    graph.node.iter().any(|node| test(node) || bodies(node).any(|body| any_node(body, test)))
}

#[cfg(test)]
mod tests;
