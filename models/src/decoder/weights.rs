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
use hearth_api::Size;
use hearth_api::graph::Operator;
use hearth_kernels::grouped::{Codes, Element, Layout, PANEL, Packer, Row, Scales, Weights};
use hearth_kernels::mapping::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

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
    /// Bytes of the GGUF, and when it was written, in nanoseconds of the Unix epoch: what is packed is of this very file.
    source_bytes: usize,
    source_written: u128,
    matrices: BTreeMap<String, Place>,
}

impl Head {
    /// Bytes of the matrices.
    fn bytes(&self) -> u64 {
        self.matrices.values().map(|place| place.bytes.len() as u64).sum()
    }
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

/// What a GGUF is a model of, and how large it is.
pub(crate) struct Outline {
    pub(crate) spec: DecoderSpec,
    pub(crate) size: Size,
}

/// Looks at a GGUF, without its weights.
pub(crate) fn outline(path: &Path) -> Result<Outline, LoadError> {
    let (source, gguf) = read(path)?;
    let spec = families::spec(&gguf).map_err(|e| invalid(path, e))?;
    let packed_bytes = plan(path, &gguf, source.len())?.bytes();
    let weights = gguf.tensors.values().map(|tensor| tensor.dimensions.iter().product::<usize>() as u64).sum::<u64>();
    let tensor_bytes = gguf.tensors.values().map(|tensor| tensor.bytes.len() as u64).sum::<u64>();
    let bits_per_weight = 8.0 * tensor_bytes as f64 / weights.max(1) as f64;
    let size = Size { file_bytes: source.len() as u64, packed_bytes, weights, bits_per_weight };
    Ok(Outline { spec, size })
}

/// Opens a GGUF and its repacked weights. Where these are missing or not of this version they are made first, which takes a while.
pub fn open(path: &Path) -> Result<Files, LoadError> {
    let (source, gguf) = read(path)?;
    let wanted = plan(path, &gguf, source.len())?;
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

/// What opening this file would map: nothing of one that is no GGUF.
pub(crate) fn mapped_bytes(path: &Path) -> u64 {
    let size = |path: &Path| path.metadata().map_or(0, |data| data.len());
    // The check opens them twice: as they are, and for comparison.
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) { 2 * (size(path) + size(&packed_path(path))) } else { 0 }
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
fn plan(path: &Path, gguf: &Gguf, source_bytes: usize) -> Result<Head, LoadError> {
    let written = path.metadata().and_then(|data| data.modified()).map_err(|e| LoadError::read(path, e))?;
    let source_written = written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let mut matrices = BTreeMap::new();
    let mut end = 0usize;
    for (name, tensor) in gguf.tensors.iter().filter(|(_, tensor)| tensor.dimensions.len() == 2) {
        let (outputs, depth) = (tensor.rows(), tensor.row());
        let layout = layout(tensor.format);
        let start = end.next_multiple_of(ALIGNMENT);
        let bytes = layout.bytes(outputs, depth).and_then(|bytes| start.checked_add(bytes));
        end = bytes.ok_or_else(|| invalid(path, GgufError(format!("its tensor {name} is larger than there can be"))))?;
        let (source, format) = (tensor.bytes.clone(), tensor.format.to_string());
        matrices.insert(name.clone(), Place { format, source, outputs, depth, layout: layout.number(), bytes: start..end });
    }
    Ok(Head { source_bytes, source_written, matrices })
}

/// The layout of a format's weights.
fn layout(format: Format) -> Layout {
    let grouped = |codes, group, scales, minima| Layout::Grouped { codes, group, scales, minima };
    match format {
        Format::F32 => Layout::Plain(Element::Single),
        Format::F16 => Layout::Plain(Element::Half),
        Format::BF16 => Layout::Plain(Element::Brain),
        Format::Q4_0 => grouped(Codes::Signed, 32, Scales::Halves, false),
        Format::Q4_1 => grouped(Codes::Unsigned, 32, Scales::Halves, true),
        Format::Q5_0 | Format::Q8_0 => grouped(Codes::Eight, 32, Scales::Halves, false),
        Format::Q5_1 => grouped(Codes::Eight, 32, Scales::Halves, true),
        Format::Q2_K => grouped(Codes::Eight, 16, Scales::Products, true),
        Format::Q3_K | Format::Q6_K => grouped(Codes::Eight, 16, Scales::Products, false),
        Format::Q4_K => grouped(Codes::Unsigned, 32, Scales::Products, true),
        Format::Q5_K => grouped(Codes::Eight, 32, Scales::Products, true),
        Format::IQ4_NL => grouped(Codes::Iq4, 32, Scales::Halves, false),
        Format::IQ4_XS => grouped(Codes::Iq4, 32, Scales::Products, false),
        Format::MXFP4 => grouped(Codes::Mxfp4, 32, Scales::Singles, false),
    }
}

/// Hands on the panels of a matrix, one after the other.
fn pack(tensor: &TensorInfo, bytes: &[u8], take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let (depth, format) = (tensor.row(), tensor.format);
    let row_bytes = depth / format.block() * format.block_bytes();
    let mut packer = Packer::new(layout(format), depth);
    let mut groups: Vec<Groups> = (0..PANEL).map(|_| Groups::default()).collect();
    for rows in bytes.chunks(PANEL * row_bytes.max(1)) {
        let rows: Vec<&[u8]> = rows.chunks_exact(row_bytes.max(1)).collect();
        if format.block() == 1 {
            let rows: Vec<Row<'_>> = rows.iter().map(|floats| Row { floats, ..Row::default() }).collect();
            take(packer.pack(&rows))?;
            continue;
        }
        groups.iter_mut().zip(&rows).for_each(|(groups, row)| groups.read(format, row));
        let rows: Vec<Row<'_>> = groups[..rows.len()].iter().map(row).collect();
        take(packer.pack(&rows))?;
    }
    Ok(())
}

fn row(groups: &Groups) -> Row<'_> {
    let Groups { codes, scales, factors, singles, minima, minimum_factors } = groups;
    Row { floats: &[], codes, scales, factors, singles, minima, minimum_factors }
}

/// Writes the repacked weights of a GGUF beside it. `progress` is told bytes done and bytes in all.
pub fn repack(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), LoadError> {
    let (source, gguf) = read(path)?;
    let head = plan(path, &gguf, source.len())?;
    let target = packed_path(path);
    let fresh = target.with_extension("new");
    let mut write = || {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&fresh)?);
        let json = serde_json::to_vec(&head).map_err(io::Error::other)?;
        out.write_all(MAGIC)?;
        out.write_all(&(json.len() as u64).to_le_bytes())?;
        out.write_all(&json)?;
        let mut at = fill(&mut out, 16 + json.len())?;
        let begin = at;
        let (mut done, total) = (0, head.bytes());
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

impl Files {
    /// What the file is a model of.
    pub fn spec(&self) -> Result<DecoderSpec, LoadError> {
        families::spec(&self.gguf).map_err(|e| invalid(&self.path, e))
    }

    /// How texts become its tokens.
    pub(crate) fn vocabulary(&self) -> Result<Vocabulary, LoadError> {
        self.gguf.metadata.vocabulary().map_err(|e| invalid(&self.path, e))
    }

    /// Bytes of its repacked matrices.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.head.bytes()
    }

    /// Its weights, to make a decoder of.
    pub fn weights(&self) -> Model<'_> {
        Model { files: self, used: BTreeSet::new() }
    }

    /// Its formats, the most frequent first.
    pub(crate) fn formats(&self) -> Vec<Operator> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        self.gguf.tensors.values().for_each(|tensor| *counts.entry(tensor.format.name()).or_default() += 1);
        let mut formats: Vec<Operator> = counts.into_iter().map(|(name, count)| Operator { name: name.into(), count }).collect();
        formats.sort_by_key(|format| std::cmp::Reverse(format.count));
        formats
    }
}

/// The weights of a decoder, asked for by their names.
pub struct Model<'a> {
    files: &'a Files,
    used: BTreeSet<String>,
}

impl Model<'_> {
    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.gguf.tensors.contains_key(name)
    }

    /// A matrix, `[outputs][depth]`.
    pub(super) fn matrix(&mut self, name: &str, outputs: usize, depth: usize) -> Result<Weights, GgufError> {
        self.look(name, &[depth, outputs])?;
        let place = self.files.head.matrices.get(name);
        let place = place.ok_or_else(|| GgufError(format!("its tensor {name} is no matrix")))?;
        let layout = Layout::from_number(place.layout).ok_or_else(|| GgufError(format!("its tensor {name} is in an unknown layout")))?;
        let bytes = self.files.packed.slice(self.files.data + place.bytes.start..self.files.data + place.bytes.end);
        Ok(Weights::new(layout, outputs, depth, bytes))
    }

    /// A vector of floats, all of them finite.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, GgufError> {
        self.look(name, &[length])?;
        let tensor = self.files.gguf.tensor(name)?;
        let mut values = vec![0.0; length];
        tensor.format.dequantize(&self.files.source[tensor.bytes.clone()], &mut values);
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(GgufError(format!("its tensor {name} holds values that are no finite numbers"))),
        }
    }

    /// A tensor has to be there, of these dimensions.
    fn look(&mut self, name: &str, wanted: &[usize]) -> Result<(), GgufError> {
        let found = &self.files.gguf.tensor(name)?.dimensions;
        let trimmed = |dimensions: &[usize]| {
            let end = dimensions.iter().rposition(|d| *d != 1).map_or(0, |last| last + 1);
            dimensions[..end].to_vec()
        };
        if trimmed(found) != trimmed(wanted) {
            return Err(GgufError(format!("its tensor {name} is {found:?}, but its metadata says that it is {wanted:?}")));
        }
        self.used.insert(name.into());
        Ok(())
    }

    /// Nothing is left that the family's code does not know: it would compute something else than was trained.
    pub(super) fn all_used(&self) -> Result<(), GgufError> {
        let left: Vec<&str> =
            self.files.gguf.tensors.keys().map(String::as_str).filter(|name| !self.used.contains(*name)).take(4).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(GgufError(format!("it has tensors that its architecture does not know: {}; it may be of a newer kind", left.join(", "))))
    }
}
