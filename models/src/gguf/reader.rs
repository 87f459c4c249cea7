//! Reads the head of a GGUF file: every length is held against the bytes that are there before anything is made of it.

use super::{Format, GgufError, Metadata, TensorInfo, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Dimensions of a tensor, at most; ggml's own bound.
const DIMENSIONS: usize = 4;
/// Bytes to which data is aligned unless a file says otherwise.
const ALIGNMENT: usize = 32;

/// The head of a GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// What the file says of its model.
    pub metadata: Metadata,
    /// Its tensors, by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Reads the head of a file, given whole.
    ///
    /// # Errors
    /// If it is no GGUF of version 2 or 3 in little-endian order, ends early, names a tensor or key twice, or if a tensor has a format
    /// that is not known or lies, even in part, outside the file or on another.
    pub fn read(file: &[u8]) -> Result<Gguf, GgufError> {
        let mut cursor = Cursor { file, at: 0 };
        if cursor.take(4, "its first bytes")? != b"GGUF" {
            return wrong("it does not begin with `GGUF`: it is no GGUF file");
        }
        let version = cursor.u32("its version")?;
        match version {
            2 | 3 => {}
            1 => return wrong("it is GGUF version 1, of 2023; convert the model again with a current llama.cpp"),
            _ if matches!(version.swap_bytes(), 1..=3) => return wrong("its numbers are big-endian; little-endian files are read"),
            _ => return wrong(format!("it is GGUF version {version}; versions 2 and 3 are known")),
        }
        let tensors = cursor.count(24, "tensors")?;
        let entries = cursor.count(12, "metadata entries")?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let key = cursor.text("a key")?;
            let value = cursor.value(&key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return wrong(format!("its metadata has {key} twice"));
            }
        }
        let metadata = Metadata(metadata);
        let infos = (0..tensors).map(|_| cursor.tensor()).collect::<Result<Vec<_>, _>>()?;
        let alignment = metadata.count("general.alignment")?.unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return wrong(format!("its general.alignment is {alignment}, not a power of two up to a megabyte"));
        }
        let data = cursor.at.next_multiple_of(alignment);
        Ok(Gguf { metadata, tensors: placed(infos, data, file.len(), alignment)? })
    }

    /// A tensor that has to be there.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensors.get(name).ok_or_else(|| GgufError(format!("it has no tensor {name}")))
    }
}

/// Moves the tensors' bytes, counted from the data's begin, to where they lie in the file; refuses those that do not lie in it.
fn placed(infos: Vec<TensorInfo>, data: usize, length: usize, alignment: usize) -> Result<BTreeMap<String, TensorInfo>, GgufError> {
    let mut tensors = BTreeMap::new();
    let mut places = BTreeSet::new();
    for mut info in infos {
        let Range { start, end } = info.bytes;
        let (Some(start), Some(end)) = (start.checked_add(data), end.checked_add(data)) else {
            return wrong(format!("its tensor {} lies outside the file", info.name));
        };
        if end > length {
            return wrong(format!("its tensor {} ends at byte {end}, but the file has {length}: it was cut short, or lies", info.name));
        }
        if info.bytes.start % alignment != 0 {
            return wrong(format!("its tensor {} is not aligned to {alignment} bytes", info.name));
        }
        info.bytes = start..end;
        if start < end {
            places.insert((start, end));
        }
        let name = info.name.clone();
        if tensors.insert(name.clone(), info).is_some() {
            return wrong(format!("it has the tensor {name} twice"));
        }
    }
    let overlap = places.iter().zip(places.iter().skip(1)).find(|(one, next)| one.1 > next.0);
    if let Some((_, next)) = overlap {
        return wrong(format!("two of its tensors overlap at byte {}", next.0));
    }
    Ok(tensors)
}

fn wrong<T>(reason: impl Into<String>) -> Result<T, GgufError> {
    Err(GgufError(reason.into()))
}

/// Reads forward, and never beyond the end.
struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize, what: &str) -> Result<&'a [u8], GgufError> {
        let rest = &self.file[self.at..];
        let Some(taken) = rest.get(..bytes) else {
            return wrong(format!("it ends within {what}: {bytes} bytes were to come at byte {}, {} are there", self.at, rest.len()));
        };
        self.at += bytes;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        Ok(self.take(N, what)?.try_into().expect("as many bytes as were asked for"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A count of things that take at least so many bytes each, all of which must still fit into the file.
    fn count(&mut self, least: usize, what: &str) -> Result<usize, GgufError> {
        let count = u64::from_le_bytes(self.array(what)?);
        let room = (self.file.len() - self.at) / least;
        match usize::try_from(count) {
            Ok(count) if count <= room => Ok(count),
            _ => wrong(format!("it claims {count} {what}, more than its {} bytes can hold", self.file.len())),
        }
    }

    fn text(&mut self, what: &str) -> Result<String, GgufError> {
        let length = self.count(1, "bytes of a text")?;
        let bytes = self.take(length, what)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| GgufError(format!("{what} in its metadata is no UTF-8")))
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let kind = self.u32(key)?;
        if kind != 9 {
            return self.scalar(kind, key);
        }
        let kind = self.u32(key)?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return wrong(format!("its metadata {key} is a list of lists")),
            _ => return wrong(format!("its metadata {key} is of kind {kind}, which is not known")),
        };
        let count = self.count(least, key)?;
        let mut list = match kind {
            6 | 12 => Value::Floats(Vec::with_capacity(count)),
            8 => Value::Texts(Vec::with_capacity(count)),
            _ => Value::Integers(Vec::with_capacity(count)),
        };
        for _ in 0..count {
            match (&mut list, self.scalar(kind, key)?) {
                (Value::Floats(list), Value::Float(float)) => list.push(float as f32),
                (Value::Texts(list), Value::Text(text)) => list.push(text),
                (Value::Integers(list), Value::Bool(bool)) => list.push(bool.into()),
                (Value::Integers(list), Value::Integer(integer)) => match i64::try_from(integer) {
                    Ok(integer) => list.push(integer),
                    Err(_) => return wrong(format!("its metadata {key} has {integer}, which is beyond 2^63")),
                },
                _ => unreachable!("each kind has its list"),
            }
        }
        Ok(list)
    }

    fn scalar(&mut self, kind: u32, key: &str) -> Result<Value, GgufError> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.array(key)?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array(key)?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array(key)?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array(key)?).into()),
            4 => Value::Integer(u32::from_le_bytes(self.array(key)?).into()),
            5 => Value::Integer(i32::from_le_bytes(self.array(key)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(key)?).into()),
            7 => match self.array(key)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [byte] => return wrong(format!("its metadata {key} is neither true nor false but {byte}")),
            },
            8 => Value::Text(self.text(key)?),
            10 => Value::Integer(u64::from_le_bytes(self.array(key)?).into()),
            11 => Value::Integer(i64::from_le_bytes(self.array(key)?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array(key)?)),
            _ => return wrong(format!("its metadata {key} is of kind {kind}, which is not known")),
        })
    }

    /// The entry of a tensor; its bytes are counted from where the data begins.
    fn tensor(&mut self) -> Result<TensorInfo, GgufError> {
        let name = self.text("the name of a tensor")?;
        let count = self.u32(&name)? as usize;
        if count > DIMENSIONS {
            return wrong(format!("its tensor {name} has {count} dimensions, {DIMENSIONS} are allowed"));
        }
        let mut dimensions = Vec::with_capacity(count);
        for _ in 0..count {
            let dimension = u64::from_le_bytes(self.array(&name)?);
            dimensions.push(usize::try_from(dimension).map_err(|_| GgufError(format!("its tensor {name} has a dimension {dimension}")))?);
        }
        let number = self.u32(&name)?;
        let offset = u64::from_le_bytes(self.array(&name)?);
        let Some(format) = Format::from_number(number) else {
            return wrong(format!("its tensor {name} is of ggml type {number}; known are {}", Format::names()));
        };
        let row = dimensions.first().copied().unwrap_or(1);
        if row % format.block() != 0 {
            return wrong(format!("its tensor {name} has rows of {row}, but {format} comes in blocks of {}", format.block()));
        }
        let elements = dimensions.iter().try_fold(1usize, |product, dimension| product.checked_mul(*dimension));
        let bytes = elements.and_then(|elements| (elements / format.block()).checked_mul(format.block_bytes()));
        let range = bytes.zip(usize::try_from(offset).ok()).and_then(|(bytes, start)| Some(start..start.checked_add(bytes)?));
        let Some(bytes) = range else {
            return wrong(format!("its tensor {name} claims {dimensions:?} values at {offset}, more than there can be"));
        };
        Ok(TensorInfo { name, dimensions, format, bytes })
    }
}
