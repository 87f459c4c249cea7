//! The constants of a graph: their shapes agree with their data, external data stays inside the model's folder, and all are
//! brought to `raw_data`, the one form that tract reads right (its typed forms of uint32 and uint64 look in the wrong field).

use crate::error::LoadError;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, TensorProto};

/// Checks and normalises every constant of the graph and of its bodies.
pub(super) fn normalise(file: &Path, graph: &mut GraphProto) -> Result<(), LoadError> {
    if !graph.sparse_initializer.is_empty() {
        return Err(LoadError::unsupported(file, "a sparse initializer", "export dense weights"));
    }
    let nodes = &graph.node;
    for tensor in &mut graph.initializer {
        let name = format!("initializer {:?}", tensor.name);
        let takers = nodes.iter().filter(|node| node.input.contains(&tensor.name));
        // Whoever else takes 4 bits may depend on there being no more.
        if is_half_a_byte(tensor.data_type) && takers.clone().any(|node| node.op_type != "DequantizeLinear") {
            let what = format!("{name} of {}", type_name(tensor.data_type));
            return Err(LoadError::unsupported(file, what, "4 bits are behind a DequantizeLinear"));
        }
        normalise_tensor(file, &name, tensor)?;
    }
    for node in &mut graph.node {
        let name = format!("a constant of node {:?} ({})", node.name, node.op_type);
        for attribute in &mut node.attribute {
            if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
                return Err(LoadError::unsupported(file, "a sparse constant", "export dense weights"));
            }
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                normalise_tensor(file, &name, tensor)?;
            }
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                normalise(file, body)?;
            }
        }
    }
    Ok(())
}

fn is_half_a_byte(data_type: i32) -> bool {
    [DataType::Int4 as i32, DataType::Uint4 as i32].contains(&data_type)
}

/// The name of an element type as the ONNX specification writes it.
pub(super) fn type_name(code: i32) -> String {
    DataType::try_from(code).map_or_else(|_| format!("element type {code}"), |t| t.as_str_name().to_owned())
}

fn normalise_tensor(file: &Path, name: &str, tensor: &mut TensorProto) -> Result<(), LoadError> {
    let invalid = |wrong: String, mend: &str| LoadError::invalid(file, format!("{name} {wrong}"), mend);
    let dims = &tensor.dims;
    let volume = dims.iter().try_fold(1usize, |volume, d| volume.checked_mul(usize::try_from(*d).ok()?));
    let element = DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined);
    if element == DataType::String {
        return if volume == Some(tensor.string_data.len()) {
            Ok(())
        } else {
            Err(invalid(format!("has shape {dims:?} and {} strings", tensor.string_data.len()), "export it again"))
        };
    }
    let size = match element {
        DataType::Int4 | DataType::Uint4 => 1,
        DataType::Bool | DataType::Uint8 | DataType::Int8 => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => 2,
        DataType::Uint32 | DataType::Int32 | DataType::Float => 4,
        DataType::Uint64 | DataType::Int64 | DataType::Double => 8,
        _ => {
            let what = format!("{name} of {}", type_name(tensor.data_type));
            return Err(LoadError::unsupported(file, what, "booleans, integers of 4 to 64 bits and floats of 16, 32 and 64 bits are"));
        }
    };
    let elements = if is_half_a_byte(tensor.data_type) { volume.map(|v| v.div_ceil(2)) } else { volume };
    let Some(bytes) = elements.and_then(|v| v.checked_mul(size)).filter(|b| isize::try_from(*b).is_ok()) else {
        return Err(invalid(format!("has the impossible shape {dims:?}"), "dimensions are not negative and their product is its size"));
    };
    if tensor.data_location == Some(DataLocation::External as i32) {
        tensor.raw_data = external(file, name, tensor, bytes)?;
        tensor.data_location = None;
        tensor.external_data.clear();
    } else if tensor.raw_data.is_empty() && bytes > 0 {
        tensor.raw_data = typed(tensor, element);
    }
    if tensor.raw_data.len() != bytes {
        let have = tensor.raw_data.len();
        return Err(invalid(format!("has shape {dims:?}, which takes {bytes} bytes, and {have} bytes of data"), "export or copy it again"));
    }
    if is_half_a_byte(tensor.data_type) {
        widen(tensor, element, volume.unwrap_or(0));
    }
    tensor.int32_data.clear();
    tensor.float_data.clear();
    tensor.int64_data.clear();
    tensor.uint64_data.clear();
    tensor.double_data.clear();
    Ok(())
}

/// Elements of 4 bits, of which a byte holds two, the first in its lower half, become bytes.
fn widen(tensor: &mut TensorProto, element: DataType, volume: usize) {
    let halves = tensor.raw_data.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(volume);
    let (wide, bytes): (DataType, Vec<u8>) = match element {
        DataType::Int4 => (DataType::Int8, halves.map(|half| (half << 4) as i8 >> 4).map(|value| value as u8).collect()),
        _ => (DataType::Uint8, halves.collect()),
    };
    (tensor.data_type, tensor.raw_data) = (wide as i32, bytes);
}

/// The elements from the typed field that ONNX prescribes for this type, as little-endian bytes.
fn typed(tensor: &TensorProto, element: DataType) -> Vec<u8> {
    match element {
        DataType::Bool | DataType::Uint8 | DataType::Int8 | DataType::Uint4 | DataType::Int4 => {
            tensor.int32_data.iter().map(|x| *x as u8).collect()
        }
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => {
            tensor.int32_data.iter().flat_map(|x| (*x as u16).to_le_bytes()).collect()
        }
        DataType::Int32 => tensor.int32_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DataType::Uint32 => tensor.uint64_data.iter().flat_map(|x| (*x as u32).to_le_bytes()).collect(),
        DataType::Uint64 => tensor.uint64_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DataType::Int64 => tensor.int64_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DataType::Float => tensor.float_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        DataType::Double => tensor.double_data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => Vec::new(),
    }
}

/// Reads external data. Its path must be relative, and stay inside the model's folder after every symlink is followed.
fn external(file: &Path, name: &str, tensor: &TensorProto, bytes: usize) -> Result<Vec<u8>, LoadError> {
    let invalid = |wrong: String, mend: &str| LoadError::invalid(file, format!("{name} {wrong}"), mend);
    let field = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let number = |key: &str| match field(key) {
        None => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| invalid(format!("has external data with {key} {text:?}"), "it is a number of bytes"))
        }
    };
    let location = field("location").ok_or_else(|| invalid("has external data without a location".into(), "export it again"))?;
    let inside = "external data lies in the model's own folder, by a relative path without \"..\"";
    if location.is_empty() || Path::new(location).components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(invalid(format!("has external data at {location:?}, outside the model's folder"), inside));
    }
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().map_err(|e| LoadError::read(folder, e))?;
    let data = folder.join(location);
    let path =
        data.canonicalize().map_err(|e| invalid(format!("has external data at {location:?}: {e}"), "install the file beside the model"))?;
    if !path.starts_with(&folder) {
        return Err(invalid(format!("has external data at {location:?}, a link out of the model's folder"), inside));
    }
    let mut handle = File::open(&path).map_err(|e| LoadError::read(&data, e))?;
    let held = handle.metadata().map_err(|e| LoadError::read(&data, e))?;
    if !held.is_file() {
        return Err(invalid(format!("has external data at {location:?}, which is no regular file"), inside));
    }
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(held.len().saturating_sub(offset));
    if length != bytes as u64 {
        let dims = &tensor.dims;
        return Err(invalid(
            format!("has shape {dims:?}, which takes {bytes} bytes, and external data of {length} bytes"),
            "export it again",
        ));
    }
    if offset.checked_add(length).is_none_or(|end| end > held.len()) {
        let wrong = format!("has external data at bytes {offset} and {length} on of {location:?}, which has {} bytes", held.len());
        return Err(invalid(wrong, "copy the file again"));
    }
    let mut content = vec![0; bytes];
    handle.seek(SeekFrom::Start(offset)).and_then(|_| handle.read_exact(&mut content)).map_err(|e| LoadError::read(&data, e))?;
    Ok(content)
}
