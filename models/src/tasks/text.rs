//! Texts: cut to what a model takes, turned into tokens, padded to lengths that recur. No pooling, no vectors.

use super::{Decoded, tensors};
use crate::LoadError;
use crate::manifest::{self, TOKENS};
use hearth_api::tensor::{Datatype, Tensor, TensorMetadata, strings};
use hearth_api::{ContentType, Fault, FaultKind, Payload};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tokenizers::{ModelWrapper, PostProcessor, Tokenizer, TruncationDirection, TruncationParams};

/// Most bytes of a tokenizer's file: the largest published ones, with a quarter of a million words, have 35 MB.
const MAX_FILE: u64 = 64 << 20;
/// Tokens from which on a text is cut where nobody says otherwise.
const USUAL_TOKENS: usize = 512;
/// Bytes of a text that are read for each token it may have; the rest counts as cut off. A token of any language has 3 to 6; it
/// takes a text without words, or one that is mostly blank, to fill these with fewer tokens.
const BYTES_A_TOKEN: usize = 64;
/// The least bytes of a text that are read.
const LEAST_BYTES: usize = 4096;
/// Most bytes of a request's texts.
const MAX_BYTES: usize = 1 << 20;
/// Most texts of a request.
const MAX_TEXTS: usize = 64;
/// Most tokens of a request, padding included: its outputs have a state for each (64 MiB at a width of 1024).
const MAX_TOKENS: usize = 1 << 14;
/// Name of the tensor of strings in a v2 request.
const INPUT: &str = "text";
/// Memory that a tokenizer takes, as a multiple of its file, as measured with 30,000 to 120,000 words: text to number and back.
const MEMORY: u64 = 24;
/// The same of a unigram model, which holds its words as a trie too; with 250,000 words.
const TRIE_MEMORY: u64 = 66;

/// How texts become inputs.
pub(super) struct Text {
    tokenizer: Tokenizer,
    prefix: String,
    max_tokens: usize,
    /// Which end of a longer text is kept.
    keeps: TruncationDirection,
    /// The tokenizer adds none of its own to a text.
    bare: bool,
    /// The token that fills up.
    pad: u32,
    inputs: Vec<(Role, TensorMetadata)>,
    /// Tokens of every row, where the graph leaves no choice.
    fixed: Option<usize>,
    memory_bytes: u64,
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// How many tokens it has, those that the tokenizer adds included.
    pub count: u32,
    /// The model does not see all of it.
    pub truncated: bool,
}

/// What an input of a graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ids,
    Mask,
    Types,
    Positions,
}

/// The JSON form, beside that of the protocol.
#[derive(Deserialize)]
struct Asked {
    text: Option<OneOrMany>,
    inputs: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A text as tokens.
struct Row {
    ids: Vec<u32>,
    types: Vec<u32>,
    truncated: bool,
}

impl std::fmt::Debug for Text {
    // A vocabulary is no reading.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "texts of at most {} tokens", self.max_tokens)
    }
}

impl Text {
    /// Reads the tokenizer of the model in `directory`, for a graph with these inputs.
    pub(super) fn load(directory: &Path, text: &manifest::Text, inputs: &[TensorMetadata]) -> Result<Text, LoadError> {
        let in_manifest = |wrong: String, mend: &str| LoadError::invalid(Path::new(manifest::FILE_NAME), wrong, mend);
        let roles = roles(inputs).map_err(|wrong| in_manifest(wrong, "take [text] out, and serve this model with tensors"))?;
        let fixed = roles[0].1.shape[1];
        let fixed = usize::try_from(fixed).ok();
        let (mut tokenizer, memory_bytes) = read(&directory.join(&text.tokenizer))?;
        let own = tokenizer.get_truncation().map(|t| (t.max_length, t.direction));
        let asked = text.max_tokens.or(own.map(|(length, _)| length)).unwrap_or(USUAL_TOKENS);
        let max_tokens = asked.min(fixed.unwrap_or(usize::MAX)).min(*TOKENS.end());
        let added = tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(false));
        if max_tokens <= added {
            let wrong = format!("texts of {max_tokens} tokens have no room beside the {added} that the tokenizer adds");
            return Err(in_manifest(wrong, "raise text.max_tokens"));
        }
        let named = |name: &&str| tokenizer.token_to_id(name);
        let pad = tokenizer.get_padding().map(|p| p.pad_id).or_else(|| ["[PAD]", "<pad>"].iter().find_map(named)).unwrap_or(0);
        let keeps = own.map_or(TruncationDirection::Right, |(_, direction)| direction);
        // Without tokens of its own to add, the tokenizer stops at the limit without a word whether there was more.
        let max_length = if added == 0 { max_tokens + 1 } else { max_tokens };
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { direction: keeps, max_length, ..TruncationParams::default() }))
            .map_err(|e| in_manifest(e.to_string(), "correct text.max_tokens"))?;
        Ok(Text { tokenizer, prefix: text.prefix.clone(), max_tokens, keeps, bare: added == 0, pad, inputs: roles, fixed, memory_bytes })
    }

    /// Memory that the tokenizer takes, about.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// A fault of the graph's, with what may be behind it: a tokenizer that is not the graph's own has words that it does not.
    pub(super) fn explain(&self, decoded: &Decoded, mut fault: Fault) -> Fault {
        let ids = decoded.inputs.iter().find(|input| input.name == self.inputs[0].1.name);
        let size = self.inputs[0].1.datatype.size().unwrap_or(1);
        let largest = ids.and_then(|ids| ids.data.chunks_exact(size).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])).max());
        if let (FaultKind::ModelFailed, Some(largest)) = (fault.kind, largest) {
            fault.message += &format!("; the largest token of the request is {largest}: does the graph have as many?");
        }
        fault
    }

    /// Reads text/plain, `{"text": ...}` or a v2 request with a tensor `text` of BYTES; none where a v2 request has tokens.
    pub(super) fn decode(&self, payload: &Payload) -> Result<Option<Decoded>, Fault> {
        match payload.content_type {
            ContentType::Text => self.rows(&[utf8(&payload.bytes, "the text")?], true).map(Some),
            ContentType::Json => {
                let asked: Asked = serde_json::from_slice(&payload.bytes).map_err(|e| {
                    Fault::bad_request(format!("the payload is neither {{\"text\": ...}} nor an Open Inference Protocol v2 request: {e}"))
                })?;
                match (asked.text, asked.inputs) {
                    (Some(OneOrMany::One(text)), None) => self.rows(&[&text], true).map(Some),
                    (Some(OneOrMany::Many(texts)), None) => {
                        self.rows(&texts.iter().map(String::as_str).collect::<Vec<_>>(), false).map(Some)
                    }
                    (Some(_), Some(_)) => Err(Fault::bad_request("the request has both \"text\" and \"inputs\"; send one of them")),
                    (None, Some(_)) => self.strings(payload),
                    (None, None) => Err(Fault::bad_request("the request has neither \"text\" nor \"inputs\"")),
                }
            }
            ContentType::Binary { header_length: Some(_) } => self.strings(payload),
            _ => Ok(None),
        }
    }

    /// The texts of a v2 request; none where it has none.
    fn strings(&self, payload: &Payload) -> Result<Option<Decoded>, Fault> {
        let request = tensors::request(payload, &[])?;
        let [Tensor { name, datatype: Datatype::Bytes, data, .. }] = request.inputs.as_slice() else { return Ok(None) };
        if name != INPUT {
            return Err(Fault::bad_request(format!("there is no input {name:?} of BYTES; the texts are called {INPUT:?}")));
        }
        if let Some(output) = request.outputs.first() {
            return Err(Fault::bad_request(format!("output {output:?} is asked for; texts are answered by the model's task alone")));
        }
        let elements = strings(data).unwrap_or_default();
        let texts = elements.iter().enumerate().map(|(i, text)| utf8(text, &format!("text {i}"))).collect::<Result<Vec<_>, _>>()?;
        self.rows(&texts, false).map(Some)
    }

    /// A row for each text, padded to one length.
    fn rows(&self, texts: &[&str], alone: bool) -> Result<Decoded, Fault> {
        if texts.is_empty() {
            return Err(Fault::bad_request("there is no text; send one or more"));
        }
        over("texts", "texts", texts.len(), MAX_TEXTS)?;
        over("bytes of text", "text_bytes", texts.iter().map(|t| t.len()).sum(), MAX_BYTES)?;
        let which = |index: usize| if alone { "the text".to_owned() } else { format!("text {index}") };
        let rows = texts.iter().enumerate().map(|(i, text)| self.row(text, &which(i))).collect::<Result<Vec<Row>, _>>()?;
        let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(1);
        let length = self.fixed.unwrap_or_else(|| padded(longest, self.max_tokens));
        over("tokens in all, as many for each text as for the longest", "text_tokens", length * rows.len(), MAX_TOKENS)?;
        let inputs = self.inputs.iter().map(|(role, input)| self.tensor(*role, input, &rows, length)).collect();
        let tokens = rows.iter().map(|row| Tokens { count: row.ids.len() as u32, truncated: row.truncated }).collect();
        Ok(Decoded { inputs, tokens, alone, ..Decoded::default() })
    }

    fn row(&self, text: &str, which: &str) -> Result<Row, Fault> {
        if text.trim().is_empty() {
            return Err(Fault::bad_request(format!("{which} is blank; send some words")));
        }
        let (part, cut) = self.part(text);
        let encoding = self
            .tokenizer
            .encode_fast(format!("{}{part}", self.prefix), true)
            .map_err(|e| Fault::bad_request(format!("the tokenizer does not take {which}: {e}")))?;
        let (mut ids, mut types) = (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec());
        let mut truncated = cut || !encoding.get_overflowing().is_empty();
        if self.bare && ids.len() > self.max_tokens {
            truncated = true;
            match self.keeps {
                TruncationDirection::Right => [&mut ids, &mut types].map(|all| all.truncate(self.max_tokens)),
                TruncationDirection::Left => [&mut ids, &mut types].map(|all| drop(all.drain(..all.len() - self.max_tokens))),
            };
        }
        if ids.is_empty() {
            return Err(Fault::bad_request(format!("the tokenizer leaves nothing of {which}; send some words")));
        }
        if ids.len() > self.max_tokens || types.len() != ids.len() {
            return Err(Fault::model_failed(format!(
                "the tokenizer made {} tokens of {which}; at most {} are right",
                ids.len(),
                self.max_tokens
            )));
        }
        Ok(Row { ids, types, truncated })
    }

    /// As much of a text as can matter, cut between words where there are any, and whether that is not all.
    fn part<'t>(&self, text: &'t str) -> (&'t str, bool) {
        let most = (self.max_tokens * BYTES_A_TOKEN).max(LEAST_BYTES);
        if text.len() <= most {
            return (text, false);
        }
        let part = match self.keeps {
            TruncationDirection::Right => {
                let part = &text[..text.floor_char_boundary(most)];
                let between = part.rfind(char::is_whitespace).filter(|at| *at > most / 2);
                &part[..between.unwrap_or(part.len())]
            }
            TruncationDirection::Left => {
                let part = &text[text.ceil_char_boundary(text.len() - most)..];
                &part[part.find(char::is_whitespace).filter(|at| *at < most / 2).unwrap_or(0)..]
            }
        };
        (part, true)
    }

    fn tensor(&self, role: Role, input: &TensorMetadata, rows: &[Row], length: usize) -> Tensor {
        let element = |row: &Row, at: usize| -> u32 {
            match role {
                Role::Ids => row.ids.get(at).copied().unwrap_or(self.pad),
                Role::Mask => u32::from(at < row.ids.len()),
                Role::Types => row.types.get(at).copied().unwrap_or(0),
                Role::Positions => at as u32,
            }
        };
        let elements = rows.iter().flat_map(|row| (0..length).map(move |at| element(row, at)));
        let data: Vec<u8> = match input.datatype {
            Datatype::Int32 => elements.flat_map(u32::to_le_bytes).collect(),
            _ => elements.flat_map(|e| u64::from(e).to_le_bytes()).collect(),
        };
        Tensor { name: input.name.clone(), datatype: input.datatype, shape: vec![rows.len(), length], data: data.into() }
    }
}

/// The length to which texts of at most `longest` tokens are padded: the next multiple of 8 or, of longer ones, of an eighth of
/// the last power of two. So texts of about the same length make tensors of equal shapes, which share a batch.
fn padded(longest: usize, most: usize) -> usize {
    let step = ((1 << longest.max(1).ilog2()) / 8).max(8);
    longest.next_multiple_of(step).min(most).max(longest)
}

/// What the inputs of a graph are, the tokens first.
fn roles(inputs: &[TensorMetadata]) -> Result<Vec<(Role, TensorMetadata)>, String> {
    let role = |input: &TensorMetadata| match input.name.as_str() {
        "input_ids" => Ok((Role::Ids, input.clone())),
        "attention_mask" => Ok((Role::Mask, input.clone())),
        "token_type_ids" => Ok((Role::Types, input.clone())),
        "position_ids" => Ok((Role::Positions, input.clone())),
        other => Err(format!("the graph has an input {other:?}, which does not follow from a text")),
    };
    let mut roles = inputs.iter().map(role).collect::<Result<Vec<_>, _>>()?;
    roles.sort_by_key(|(role, _)| *role as u8);
    if !matches!(roles.as_slice(), [(Role::Ids, _), (Role::Mask, _), ..]) {
        return Err("the graph lacks an input \"input_ids\" or \"attention_mask\", without which texts cannot share a batch".into());
    }
    let length = roles[0].1.shape.get(1).copied();
    for (_, input) in &roles {
        if !matches!(input.datatype, Datatype::Int32 | Datatype::Int64) || input.shape.len() != 2 || input.shape.get(1).copied() != length {
            let (name, datatype, shape) = (&input.name, input.datatype, &input.shape);
            return Err(format!(
                "input {name:?} is {datatype:?} {shape:?}; tokens are INT64 or INT32 [batch, tokens], as many in every input"
            ));
        }
    }
    Ok(roles)
}

/// Reads a tokenizer that works on the thread that calls it; and about how much memory it takes.
fn read(file: &Path) -> Result<(Tokenizer, u64), LoadError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes));
    let length = read.map_err(|e| LoadError::read(file, e))? as u64;
    let mend = "take the tokenizer.json that was published with the model (Hugging Face tokenizers)";
    if length > MAX_FILE {
        return Err(LoadError::invalid(file, format!("it is longer than {MAX_FILE} bytes"), mend));
    }
    // Threads are the compute pool's: the crate would start as many of its own as there are cores.
    tokenizers::utils::parallelism::set_parallelism(false);
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|e| LoadError::invalid(file, format!("it is no tokenizer: {e}"), mend))?;
    if let ModelWrapper::BPE(bpe) = tokenizer.get_model() {
        if bpe.dropout.is_some_and(|share| share > 0.0) {
            let wrong = "its model has a dropout, so that one text gives different tokens each time";
            return Err(LoadError::invalid(file, wrong, "set its dropout to null, as after training"));
        }
        // Its cache is each thread's, and would keep words of requests after the model has gone.
        let mut bpe = bpe.clone();
        bpe.resize_cache(0);
        tokenizer.with_model(bpe);
    }
    let times = if matches!(tokenizer.get_model(), ModelWrapper::Unigram(_)) { TRIE_MEMORY } else { MEMORY };
    Ok((tokenizer, length * times))
}

fn utf8<'t>(bytes: &'t [u8], which: &str) -> Result<&'t str, Fault> {
    std::str::from_utf8(bytes).map_err(|e| Fault::bad_request(format!("{which} is not UTF-8 from byte {} on", e.valid_up_to())))
}

fn over(what: &str, limit: &str, have: usize, most: usize) -> Result<(), Fault> {
    if have <= most {
        return Ok(());
    }
    let message = format!("the request has {have} {what}; at most {most} are taken: send several requests, they share batches");
    Err(Fault::too_large(message).with_limit(limit, most as u64))
}

#[cfg(test)]
mod tests;
