//! Elements on their way between the protocol's tensors (little-endian bytes) and tract's.

use bytes::{BufMut, Bytes, BytesMut};
use hearth_api::tensor::{Datatype, f32_to_half, half_to_f32};
use tract_onnx::prelude::*;

#[cfg(target_endian = "big")]
compile_error!("elements are copied as they lie in memory, little-endian as the protocol has them");

/// A tensor of tract's from the bytes of one or more requests, one after the other.
/// Half precision becomes f32 where the graph computes in f32.
pub(super) fn stack<'a>(
    datum_type: DatumType,
    shape: &[usize],
    datatype: Datatype,
    parts: impl Iterator<Item = &'a [u8]>,
) -> TractResult<tract_onnx::prelude::Tensor> {
    let mut tensor = tract_onnx::prelude::Tensor::zero_dt(datum_type, shape)?;
    let bytes = tensor.as_bytes_mut();
    let mut at = 0;
    for part in parts {
        match datatype {
            Datatype::Fp16 => {
                let end = at + part.len() * 2;
                for (to, from) in bytes[at..end].chunks_exact_mut(4).zip(part.chunks_exact(2)) {
                    to.copy_from_slice(&half_to_f32(u16::from_le_bytes([from[0], from[1]])).to_le_bytes());
                }
                at = end;
            }
            Datatype::Bool => {
                // A bool is 0 or 1 in memory; the protocol takes any byte.
                bytes[at..at + part.len()].iter_mut().zip(part).for_each(|(to, from)| *to = u8::from(*from != 0));
                at += part.len();
            }
            _ => {
                bytes[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        }
    }
    Ok(tensor)
}

/// The bytes of elements of tract's as `datatype`.
pub(super) fn unstack(bytes: &[u8], datatype: Datatype) -> Bytes {
    if datatype != Datatype::Fp16 {
        return Bytes::copy_from_slice(bytes);
    }
    let mut halves = BytesMut::with_capacity(bytes.len() / 2);
    for single in bytes.chunks_exact(4) {
        halves.put_u16_le(f32_to_half(f32::from_le_bytes([single[0], single[1], single[2], single[3]])));
    }
    halves.freeze()
}

/// The type that tract computes elements of this type in.
pub(super) fn datum_type(datatype: Datatype) -> Option<DatumType> {
    Some(match datatype {
        Datatype::Bool => DatumType::Bool,
        Datatype::Uint8 => DatumType::U8,
        Datatype::Uint16 => DatumType::U16,
        Datatype::Uint32 => DatumType::U32,
        Datatype::Uint64 => DatumType::U64,
        Datatype::Int8 => DatumType::I8,
        Datatype::Int16 => DatumType::I16,
        Datatype::Int32 => DatumType::I32,
        Datatype::Int64 => DatumType::I64,
        Datatype::Fp16 | Datatype::Fp32 => DatumType::F32,
        Datatype::Fp64 => DatumType::F64,
        Datatype::Bytes => return None,
    })
}

/// Whether every element is finite.
pub(super) fn finite(data: &[u8], datatype: Datatype) -> bool {
    match datatype {
        Datatype::Fp32 => every(data, |bytes| f32::from_le_bytes(bytes).is_finite()),
        Datatype::Fp64 => every(data, |bytes| f64::from_le_bytes(bytes).is_finite()),
        Datatype::Fp16 => every(data, |bytes| half_to_f32(u16::from_le_bytes(bytes)).is_finite()),
        _ => true,
    }
}

/// Whether every element, of `N` bytes, is as `test` says: in parts that are looked through to their end, for which there are vectors.
pub(super) fn every<const N: usize>(data: &[u8], test: impl Fn([u8; N]) -> bool) -> bool {
    let mut parts = data.as_chunks::<N>().0.chunks(256);
    parts.all(|part| part.iter().fold(true, |all, bytes| all & test(*bytes)))
}
