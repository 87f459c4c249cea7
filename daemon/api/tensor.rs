//! Tensors of the Open Inference Protocol v2 (KServe, "open-inference-protocol"), and its requests and answers, in the
//! JSON form and in the form of the binary tensor data extension.

use crate::{Fault, RequestId};
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    /// Bytes an element takes; `None` for BYTES, whose elements carry their own length.
    pub fn size(self) -> Option<usize> {
        match self {
            Datatype::Bool | Datatype::Uint8 | Datatype::Int8 => Some(1),
            Datatype::Uint16 | Datatype::Int16 | Datatype::Fp16 => Some(2),
            Datatype::Uint32 | Datatype::Int32 | Datatype::Fp32 => Some(4),
            Datatype::Uint64 | Datatype::Int64 | Datatype::Fp64 => Some(8),
            Datatype::Bytes => None,
        }
    }
}

/// Name, type and shape of an input or output; -1 is a dimension that may vary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Its name in the model.
    pub name: String,
    /// Its element type.
    pub datatype: Datatype,
    /// Its shape, the batch first.
    pub shape: Vec<i64>,
}

/// A tensor with its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: Datatype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, little-endian, row-major; for BYTES each with its length as u32 before it.
    pub data: Bytes,
}

/// Number of elements of a shape; `None` where it overflows.
pub fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

impl Tensor {
    /// A tensor of f32 elements.
    pub fn from_f32(name: impl Into<String>, shape: Vec<usize>, elements: &[f32]) -> Tensor {
        assert_eq!(volume(&shape), Some(elements.len()), "shape and elements of a tensor agree");
        let mut data = BytesMut::with_capacity(elements.len() * 4);
        elements.iter().for_each(|x| data.put_f32_le(*x));
        Tensor { name: name.into(), datatype: Datatype::Fp32, shape, data: data.freeze() }
    }

    fn check(self) -> Result<Tensor, Fault> {
        let volume = volume(&self.shape)
            .ok_or_else(|| Fault::bad_request(format!("input {:?}: its shape has more elements than memory has bytes", self.name)))?;
        let have = match self.datatype.size() {
            Some(size) if self.data.len().is_multiple_of(size) => self.data.len() / size,
            Some(size) => {
                return Err(Fault::bad_request(format!(
                    "input {:?}: {} bytes are no whole number of {:?} elements of {size} bytes",
                    self.name,
                    self.data.len(),
                    self.datatype
                )));
            }
            None => {
                strings(&self.data).ok_or_else(|| Fault::bad_request(format!("input {:?}: a BYTES element is cut short", self.name)))?.len()
            }
        };
        if have != volume {
            return Err(Fault::bad_request(format!(
                "input {:?}: shape {:?} has {volume} elements, the data has {have}",
                self.name, self.shape
            )));
        }
        Ok(self)
    }

    /// The elements as JSON numbers, booleans or strings. Floats that JSON cannot hold become null.
    fn json_data(&self) -> Value {
        macro_rules! numbers {
            ($t:ty) => {
                self.data.chunks_exact(size_of::<$t>()).map(|b| json!(<$t>::from_le_bytes(b.try_into().expect("exact chunks")))).collect()
            };
        }
        match self.datatype {
            Datatype::Bool => self.data.iter().map(|b| json!(*b != 0)).collect(),
            Datatype::Uint8 => numbers!(u8),
            Datatype::Uint16 => numbers!(u16),
            Datatype::Uint32 => numbers!(u32),
            Datatype::Uint64 => numbers!(u64),
            Datatype::Int8 => numbers!(i8),
            Datatype::Int16 => numbers!(i16),
            Datatype::Int32 => numbers!(i32),
            Datatype::Int64 => numbers!(i64),
            Datatype::Fp32 => numbers!(f32),
            Datatype::Fp64 => numbers!(f64),
            Datatype::Fp16 => self.data.chunks_exact(2).map(|b| json!(half_to_f32(u16::from_le_bytes([b[0], b[1]])))).collect(),
            Datatype::Bytes => strings(&self.data).unwrap_or_default().into_iter().map(|s| json!(String::from_utf8_lossy(s))).collect(),
        }
    }
}

/// The elements of BYTES data; `None` where one is cut short.
pub fn strings(data: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = data;
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        elements.push(tail.get(..length)?);
        rest = &tail[length..];
    }
    Some(elements)
}

/// IEEE 754 binary16 to binary32; exact.
pub fn half_to_f32(half: u16) -> f32 {
    let (sign, exponent, fraction) = (u32::from(half >> 15) << 31, u32::from(half >> 10 & 31), u32::from(half & 1023));
    match (exponent, fraction) {
        (0, _) => {
            let magnitude = fraction as f32 / 16_777_216.0;
            f32::from_bits(sign | magnitude.to_bits())
        }
        (31, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// IEEE 754 binary32 to binary16, rounded to nearest, ties to even.
pub fn f32_to_half(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    let half = if magnitude < 0x3880_0000 {
        // Subnormal: the sum rounds at the right place.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0x3f00_0000
    } else {
        let odd = magnitude >> 13 & 1;
        (magnitude - 0x3800_0000 + 0xfff + odd) >> 13
    };
    sign | half as u16
}

impl Serialize for Tensor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({"name": self.name, "datatype": self.datatype, "shape": self.shape, "data": self.json_data()}).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tensor, D::Error> {
        let described = Described::deserialize(deserializer)?;
        described.with_json_data().map_err(|fault| D::Error::custom(fault.message))
    }
}

/// A tensor as JSON describes it, its data beside it or in the binary part.
#[derive(Deserialize)]
struct Described {
    name: String,
    datatype: Datatype,
    shape: Vec<usize>,
    #[serde(default)]
    parameters: Map<String, Value>,
    data: Option<Value>,
}

impl Described {
    fn with_json_data(self) -> Result<Tensor, Fault> {
        let Some(value) = self.data else {
            return Err(Fault::bad_request(format!("input {:?} has no data", self.name)));
        };
        let mut data = BytesMut::new();
        put_elements(&value, self.datatype, &mut data).map_err(|why| Fault::bad_request(format!("input {:?}: {why}", self.name)))?;
        Tensor { name: self.name, datatype: self.datatype, shape: self.shape, data: data.freeze() }.check()
    }
}

/// Appends the elements of a flat or nested array.
fn put_elements(value: &Value, datatype: Datatype, out: &mut BytesMut) -> Result<(), String> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| put_elements(item, datatype, out));
    }
    let wrong = || {
        let shown: String = value.to_string().chars().take(32).collect();
        format!("{shown} is no {} element", json!(datatype).as_str().unwrap_or_default())
    };
    macro_rules! put_integer {
        ($t:ty) => {{
            let n = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from)).ok_or_else(wrong)?;
            out.put_slice(&<$t>::try_from(n).map_err(|_| wrong())?.to_le_bytes());
        }};
    }
    match datatype {
        Datatype::Bool => out.put_u8(u8::from(value.as_bool().ok_or_else(wrong)?)),
        Datatype::Uint8 => put_integer!(u8),
        Datatype::Uint16 => put_integer!(u16),
        Datatype::Uint32 => put_integer!(u32),
        Datatype::Uint64 => put_integer!(u64),
        Datatype::Int8 => put_integer!(i8),
        Datatype::Int16 => put_integer!(i16),
        Datatype::Int32 => put_integer!(i32),
        Datatype::Int64 => put_integer!(i64),
        Datatype::Fp16 => out.put_u16_le(f32_to_half(value.as_f64().ok_or_else(wrong)? as f32)),
        Datatype::Fp32 => out.put_f32_le(value.as_f64().ok_or_else(wrong)? as f32),
        Datatype::Fp64 => out.put_f64_le(value.as_f64().ok_or_else(wrong)?),
        Datatype::Bytes => {
            let text = value.as_str().ok_or_else(wrong)?;
            out.put_u32_le(u32::try_from(text.len()).map_err(|_| wrong())?);
            out.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// An inference request of the protocol.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// The id it carries.
    pub id: Option<RequestId>,
    /// What to work on.
    pub inputs: Vec<Tensor>,
    /// Names of the outputs asked for; empty for all.
    pub outputs: Vec<String>,
}

#[derive(Deserialize)]
struct Envelope {
    id: Option<RequestId>,
    #[serde(default)]
    inputs: Vec<Described>,
    #[serde(default)]
    outputs: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn parse_envelope(json: &[u8]) -> Result<Envelope, Fault> {
    let envelope: Envelope = serde_json::from_slice(json)
        .map_err(|e| Fault::bad_request(format!("the payload is no Open Inference Protocol v2 request: {e}")))?;
    if envelope.inputs.is_empty() {
        return Err(Fault::bad_request("the request has no \"inputs\""));
    }
    Ok(envelope)
}

impl InferRequest {
    /// Reads the JSON form.
    pub fn from_json(payload: &[u8]) -> Result<InferRequest, Fault> {
        let envelope = parse_envelope(payload)?;
        Ok(InferRequest {
            id: envelope.id,
            inputs: envelope.inputs.into_iter().map(Described::with_json_data).collect::<Result<_, _>>()?,
            outputs: envelope.outputs.into_iter().map(|o| o.name).collect(),
        })
    }

    /// Reads the binary form: `header_length` bytes of JSON, then the data of each input that has a
    /// `binary_data_size` parameter, in order.
    pub fn from_binary(payload: &Bytes, header_length: usize) -> Result<InferRequest, Fault> {
        let header = payload.get(..header_length).ok_or_else(|| {
            Fault::bad_request(format!("the header length {header_length} is over the payload's {} bytes", payload.len()))
        })?;
        let envelope = parse_envelope(header)?;
        let mut at = header_length;
        let mut inputs = Vec::with_capacity(envelope.inputs.len());
        for input in envelope.inputs {
            let Some(size) = input.parameters.get("binary_data_size") else {
                inputs.push(input.with_json_data()?);
                continue;
            };
            let end =
                size.as_u64().and_then(|s| usize::try_from(s).ok()).and_then(|s| at.checked_add(s)).filter(|end| *end <= payload.len());
            let Some(end) = end else {
                return Err(Fault::bad_request(format!(
                    "input {:?}: binary_data_size {size} is over the {} bytes left in the payload",
                    input.name,
                    payload.len() - at
                )));
            };
            let tensor = Tensor { name: input.name, datatype: input.datatype, shape: input.shape, data: payload.slice(at..end) };
            inputs.push(tensor.check()?);
            at = end;
        }
        if at != payload.len() {
            return Err(Fault::bad_request(format!("{} bytes follow the last input's data", payload.len() - at)));
        }
        Ok(InferRequest { id: envelope.id, inputs, outputs: envelope.outputs.into_iter().map(|o| o.name).collect() })
    }
}

/// The binary form of a v2 answer: JSON (`head` with `outputs` that have `binary_data_size`), then the tensors' data.
/// Returns the payload and the length of its JSON part.
pub fn to_binary(mut head: Map<String, Value>, outputs: &[Tensor]) -> (Bytes, usize) {
    let described: Vec<Value> = outputs
        .iter()
        .map(|t| json!({"name": t.name, "datatype": t.datatype, "shape": t.shape, "parameters": {"binary_data_size": t.data.len()}}))
        .collect();
    head.insert("outputs".into(), Value::Array(described));
    let json = serde_json::to_vec(&head).expect("a JSON value is plain data");
    let mut payload = BytesMut::with_capacity(json.len() + outputs.iter().map(|t| t.data.len()).sum::<usize>());
    payload.put_slice(&json);
    outputs.iter().for_each(|t| payload.put_slice(&t.data));
    (payload.freeze(), json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_flat_data_are_the_same_tensor() {
        let flat = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[1,2,3,4]}]}"#;
        let nested = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,2],[3,4]]}]}"#;
        let (a, b) = (InferRequest::from_json(flat).unwrap(), InferRequest::from_json(nested).unwrap());
        assert_eq!(a.inputs, b.inputs);
        assert_eq!(a.inputs[0], Tensor::from_f32("x", vec![2, 2], &[1., 2., 3., 4.]));
        assert_eq!(serde_json::from_value::<Tensor>(serde_json::to_value(&a.inputs[0]).unwrap()).unwrap(), a.inputs[0]);
    }

    #[test]
    fn what_is_wrong_with_a_tensor_is_said() {
        for (bad, says) in [
            (r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[1,2]}]}"#, "3 elements"),
            (r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":[256]}]}"#, "256 is no UINT8"),
            (r#"{"inputs":[{"name":"x","datatype":"FP33","shape":[1],"data":[1]}]}"#, "FP33"),
            (r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[NaN]}]}"#, "line 1"),
            (r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[4294967296,4294967296,4294967296],"data":[]}]}"#, "more elements"),
            (r#"{"inputs":[]}"#, "no \"inputs\""),
            ("", "EOF"),
            (&"[".repeat(10_000), "v2 request"),
        ] {
            let fault = InferRequest::from_json(bad.as_bytes()).unwrap_err();
            assert!(fault.message.contains(says), "{}", fault.message);
        }
    }

    #[test]
    fn binary_data_follows_its_header() {
        let header = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}"#;
        let mut payload = header.to_vec();
        payload.extend(1.5f32.to_le_bytes());
        let request = InferRequest::from_binary(&payload.clone().into(), header.len()).unwrap();
        assert_eq!(request.inputs[0], Tensor::from_f32("x", vec![1], &[1.5]));
        assert!(InferRequest::from_binary(&payload.clone().into(), payload.len() + 1).is_err());
        payload.push(0);
        assert!(InferRequest::from_binary(&payload.into(), header.len()).unwrap_err().message.contains("1 bytes follow"));
    }

    #[test]
    fn half_precision_goes_there_and_back() {
        for half in 0..=u16::MAX {
            let x = half_to_f32(half);
            if x.is_nan() {
                assert!(half_to_f32(f32_to_half(x)).is_nan());
            } else {
                assert_eq!(f32_to_half(x), half, "{x}");
            }
        }
        assert_eq!(f32_to_half(65520.0), 0x7c00);
        assert_eq!(f32_to_half(65519.9), 0x7bff);
    }
}
