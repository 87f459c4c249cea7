//! The weights of a decoder as they are kept for this daemon: beside the GGUF a file in which each matrix lies in one of the kernels'
//! few layouts, exactly as the format says, made once (`repack`), mapped, and never read whole. Norms and biases stay in the GGUF.
//!
//! The file is `HEARTHW1`, the length of a JSON head (8 bytes, little-endian), the head, and the matrices, each at a multiple of
//! [`ALIGNMENT`] bytes. It holds nothing that the GGUF does not, and is made anew where it is missing or another version's.

use super::families;
use super::spec::DecoderSpec;
use crate::error::LoadError;
use crate::gguf::groups::Groups;
use crate::gguf::{Format, Gguf, GgufError, TensorInfo};
use crate::text::Vocabulary;
use hearth_api::graph::{Graph, Operator};
use hearth_kernels::grouped::{Layout, Packer, Weights};
use hearth_kernels::mapping::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the file of repacked weights is called, after the GGUF's own name.
const ENDING: &str = ".packed";
const MAGIC: &[u8; 8] = b"HEARTHW1";
/// Matrices begin at multiples of so many bytes: a cache line.
const ALIGNMENT: usize = 64;
/// The longest head that is believed.
const MAX_HEAD: u64 = 64 << 20;

/// What the file says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    /// Bytes of the GGUF.
    source_bytes: usize,
    matrices: BTreeMap<String, Place>,
}

/// Where a matrix lies, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Place {
    /// Its format and bytes in the GGUF.
    format: String,
    source: Range<usize>,
    /// Rows and columns.
    outputs: usize,
    depth: usize,
    /// Its layout, by number.
    layout: u32,
    /// Its bytes, counted from the end of the head.
    bytes: Range<usize>,
}

/// A GGUF and its repacked weights, mapped.
pub struct Files {
    path: PathBuf,
    source: Bytes,
    gguf: Gguf,
    packed: Bytes,
    /// Where the matrices begin.
    data: usize,
    head: Head,
}

/// Opens a GGUF and its repacked weights. Where these are missing or not of this version they are made first, which takes a while.
pub fn open(path: &Path) -> Result<Files, LoadError> {
    let (source, gguf) = read(path)?;
    let wanted = plan(&gguf, source.len()).map_err(|e| invalid(path, e))?;
    let packed = packed_path(path);
    let opened = match open_packed(&packed, &wanted) {
        Some(opened) => opened,
        None => {
            repack(path, &mut |_, _| ())?;
            open_packed(&packed, &wanted).ok_or_else(|| {
                LoadError::invalid(&packed, "it is not what was just written", "look for a full or failing disk (journalctl -k)")
            })?
        }
    };
    Ok(Files { path: path.into(), source, gguf, packed: opened.0, data: opened.1, head: wanted })
}

fn invalid(path: &Path, error: GgufError) -> LoadError {
    LoadError::invalid(path, error.0, "give a whole GGUF file as llama.cpp's tools write it")
}

fn packed_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ENDING);
    path.with_file_name(name)
}

fn read(path: &Path) -> Result<(Bytes, Gguf), LoadError> {
    let file = File::open(path).map_err(|e| LoadError::read(path, e))?;
    let source = Bytes::map(&file).map_err(|e| LoadError::read(path, e))?;
    let gguf = Gguf::read(&source).map_err(|e| invalid(path, e))?;
    Ok((source, gguf))
}

/// The repacked weights of a file, if they are what is wanted.
fn open_packed(path: &Path, wanted: &Head) -> Option<(Bytes, usize)> {
    let packed = Bytes::map(&File::open(path).ok()?).ok()?;
    let length = u64::from_le_bytes(packed.get(8..16)?.try_into().ok()?);
    let end = 16 + usize::try_from(length).ok().filter(|_| length <= MAX_HEAD)?;
    let head: Head = serde_json::from_slice(packed.get(16..end)?).ok()?;
    let data = end.next_multiple_of(ALIGNMENT);
    let whole = wanted.matrices.values().map(|place| data + place.bytes.end).max().unwrap_or(data) <= packed.len();
    (packed[..8] == *MAGIC && head == *wanted && whole).then_some((packed, data))
}

/// Where each matrix is to lie.
fn plan(gguf: &Gguf, source_bytes: usize) -> Result<Head, GgufError> {
    let mut matrices = BTreeMap::new();
    let mut end = 0usize;
    for (name, tensor) in gguf.tensors.iter().filter(|(_, tensor)| tensor.dimensions.len() == 2) {
        let (outputs, depth) = (tensor.rows(), tensor.row());
        let layout = layout(tensor.format);
        let start = end.next_multiple_of(ALIGNMENT);
        let bytes = layout.bytes(outputs, depth).and_then(|bytes| start.checked_add(bytes));
        end = bytes.ok_or_else(|| GgufError(format!("its tensor {name} is larger than there can be")))?;
        let (source, format) = (tensor.bytes.clone(), tensor.format.to_string());
        matrices.insert(name.clone(), Place { format, source, outputs, depth, layout: layout.code(), bytes: start..end });
    }
    Ok(Head { source_bytes, matrices })
}

/// The layout of a format's weights.
fn layout(format: Format) -> Layout {
    use hearth_kernels::grouped::{Codes, Scales};
    const LINEAR: [i8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    todo!()
}

/// Writes the repacked weights of a GGUF beside it. `progress` is told bytes done and bytes in all.
pub fn repack(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), LoadError> {
    let (source, gguf) = read(path)?;
    let head = plan(&gguf, source.len()).map_err(|e| invalid(path, e))?;
    let target = packed_path(path);
    let fresh = target.with_extension("new");
    let write = || {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&fresh)?);
        let json = serde_json::to_vec(&head).map_err(io::Error::other)?;
        out.write_all(MAGIC)?;
        out.write_all(&(json.len() as u64).to_le_bytes())?;
        out.write_all(&json)?;
        let mut at = fill(&mut out, 16 + json.len())?;
        let begin = at;
        let total = head.matrices.values().map(|place| place.bytes.len() as u64).sum();
        let mut done = 0;
        for (name, place) in in_order(&head) {
            debug_assert_eq!(at - begin, place.bytes.start, "matrices lie in order");
            let tensor = &gguf.tensors[name];
            pack(tensor, &source[tensor.bytes.clone()], &mut |panel| {
                done += panel.len() as u64;
                progress(done, total);
                out.write_all(panel)
            })?;
            at = fill(&mut out, at + place.bytes.len())?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&fresh, &target)
    };
    write().map_err(|source| {
        // What is left there is of no use, and may be why the disk is full.
        let _ = std::fs::remove_file(&fresh);
        LoadError::Write { file: target.clone(), source }
    })
}

/// Zeros up to the next place where a matrix may begin.
fn fill(out: &mut impl Write, at: usize) -> io::Result<usize> {
    let end = at.next_multiple_of(ALIGNMENT);
    out.write_all(&[0; ALIGNMENT][..end - at])?;
    Ok(end)
}

/// The matrices in the order in which they lie.
fn in_order(head: &Head) -> Vec<(&String, &Place)> {
    let mut places: Vec<(&String, &Place)> = head.matrices.iter().collect();
    places.sort_by_key(|(_, place)| place.bytes.start);
    places
}
