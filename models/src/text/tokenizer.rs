//! Text to token ids and ids to bytes: byte-level BPE with merges (`gpt2`) and SentencePiece's BPE ranked by scores (`llama`).
//!
//! Both are our own, on one loop of merges that takes n log n time on any text. Hugging Face's `tokenizers` has only the first of
//! them, and cuts words by an engine that backtracks.

use super::TextError;
use super::merge::{Merge, Merger, NONE};
use super::pretokenizer::Pretokenizer;
use super::vocabulary::{Kind, TokenType, Vocabulary, wrong};
use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::{BTreeSet, HashMap};

/// SentencePiece's space.
const SPACE: &str = "\u{2581}";
/// Tokens that end an answer by their text, whatever the file says of them (llama.cpp, `llama-vocab.cpp`: "end-of-generation").
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "[e~[",
    // Where a model goes on to another file, in code.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Whether the names of control tokens in a text are those tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// They are: for what a chat template has put together.
    Parse,
    /// They are text like any other: for what a person wrote.
    AsText,
}

/// Turns texts into tokens and back. Holds no state of a conversation: one serves all of a model's, from any thread.
pub struct Tokenizer {
    words: Words,
    /// Tokens that are found in a text before it is cut into words: all that are not plain text, and those of users alone.
    specials: Finder,
    user_defined: Finder,
    types: Vec<TokenType>,
    /// The bytes of all tokens, one after another, and where each begins.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    ends: BTreeSet<u32>,
    bos: Option<u32>,
    /// What stands for a byte that has no token. Without it such bytes leave no trace: Falcon has none for some control characters.
    unk: Option<u32>,
    add_bos: bool,
}

/// How the text between special tokens becomes tokens.
enum Words {
    ByteLevel {
        pretokenizer: Pretokenizer,
        /// The token of each byte, or `NONE`.
        bytes: Box<[u32; 256]>,
        /// Two tokens to the rank of their merge and the token that it makes.
        merges: HashMap<(u32, u32), (u32, u32)>,
        /// Where whole words do not go through the merges: the tokens by their bytes.
        whole: HashMap<Box<[u8]>, u32>,
    },
    Scored {
        /// Tokens by their text, with the rank of their score.
        tokens: HashMap<Box<[u8]>, (u32, u32)>,
        /// Bytes of the longest token.
        longest: usize,
        /// The token of each byte, or `NONE`.
        bytes: Box<[u32; 256]>,
        add_space: bool,
        /// No token has a space after something else, so that words merge by themselves.
        by_words: bool,
    },
}

/// Finds tokens in a text by their names: the leftmost, and the longest of those that begin there.
struct Finder {
    names: Option<AhoCorasick>,
    ids: Vec<u32>,
}

impl std::fmt::Debug for Tokenizer {
    // A vocabulary is no reading.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a tokenizer of {} tokens", self.len())
    }
}

impl Tokenizer {
    /// Makes a tokenizer of a vocabulary.
    ///
    /// # Errors
    /// [`TextError::Vocabulary`] where the vocabulary is of a kind that is not supported or contradicts itself.
    pub fn new(vocabulary: Vocabulary) -> Result<Tokenizer, TextError> {
        let vocabulary = vocabulary.checked()?;
        let kind = vocabulary.kind()?;
        let mut types = vocabulary.token_types()?;
        let ends = ends(&vocabulary);
        // Some files have the tokens that end an answer as plain text.
        for id in &ends {
            types[*id as usize] = TokenType::Control;
        }
        let (bytes, starts) = token_bytes(&vocabulary, kind, &types);
        let bytes_of = |id: usize| &bytes[starts[id] as usize..starts[id + 1] as usize];
        let (words, begins) = match kind {
            Kind::ByteLevel => byte_level(&vocabulary, &types, bytes_of)?,
            Kind::Scored => (scored(&vocabulary, &types, bytes_of)?, true),
        };
        let not_plain = |kind: TokenType| matches!(kind, TokenType::Control | TokenType::Unknown | TokenType::UserDefined);
        Ok(Tokenizer {
            words,
            specials: Finder::new(&vocabulary, &types, not_plain)?,
            user_defined: Finder::new(&vocabulary, &types, |kind| kind == TokenType::UserDefined)?,
            types,
            bytes,
            starts,
            ends,
            bos: vocabulary.bos,
            unk: vocabulary.unk,
            add_bos: vocabulary.add_bos.unwrap_or(begins) && vocabulary.bos.is_some(),
        })
    }

    /// The tokens of a text, without one that begins it. Takes n log n time in the length of the text.
    pub fn encode(&self, text: &str, specials: Specials) -> Vec<u32> {
        let finder = match specials {
            Specials::Parse => &self.specials,
            Specials::AsText => &self.user_defined,
        };
        let mut tokens = Vec::with_capacity(text.len() / 4 + 1);
        let mut merger = Merger::default();
        let mut at = 0;
        for (id, found) in finder.find(text) {
            self.encode_between(&text[at..found.start], &mut merger, &mut tokens);
            tokens.push(id);
            at = found.end;
        }
        self.encode_between(&text[at..], &mut merger, &mut tokens);
        tokens
    }

    /// The tokens of a whole prompt: begun by `bos` where the model wants that, once even if a template has written it already.
    pub fn encode_prompt(&self, text: &str, specials: Specials) -> Vec<u32> {
        let mut tokens = self.encode(text, specials);
        if let Some(bos) = self.bos.filter(|bos| self.add_bos && tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        tokens
    }

    /// The bytes of a token: of text, those that it stands for; of a control token, its name. None are of a token that there is not.
    pub fn bytes_of(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match (self.starts.get(id), self.starts.get(id + 1)) {
            (Some(start), Some(end)) => &self.bytes[*start as usize..*end as usize],
            _ => &[],
        }
    }

    /// Whether a token steers the model and is no text: control tokens, the unknown one, and places that no token has.
    pub fn is_control(&self, id: u32) -> bool {
        !matches!(self.types.get(id as usize), Some(TokenType::Normal | TokenType::UserDefined | TokenType::Byte))
    }

    /// Whether an answer ends with this token.
    pub fn ends(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// All tokens with which an answer may end, in order.
    pub fn end_tokens(&self) -> impl Iterator<Item = u32> + '_ {
        self.ends.iter().copied()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Never: a vocabulary without a token is refused.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The tokens of a text that has no special ones.
    fn encode_between(&self, text: &str, merger: &mut Merger, tokens: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        match &self.words {
            Words::ByteLevel { pretokenizer, bytes, merges, whole } => pretokenizer.split(text, |word| {
                if let Some(id) = whole.get(word.as_bytes()) {
                    tokens.push(*id);
                    return;
                }
                merger.clear();
                word.bytes().for_each(|byte| merger.push(1, bytes[byte as usize]));
                merger.run(
                    |pair| merges.get(&(pair.left, pair.right)).map(|(rank, id)| Merge { rank: *rank, id: *id }),
                    |id, _| tokens.extend(Some(id).filter(|id| *id != NONE).or(self.unk)),
                );
            }),
            Words::Scored { tokens: known, longest, bytes, add_space, by_words } => {
                // What comes before is a special token or nothing, as in SentencePiece: the text begins a word.
                let space = if *add_space { " " } else { "" };
                let text = format!("{space}{text}").replace(' ', SPACE);
                let mut rest = text.as_str();
                while !rest.is_empty() {
                    let (word, after) = rest.split_at(if *by_words { word_length(rest) } else { rest.len() });
                    rest = after;
                    let find = |range: std::ops::Range<usize>| known.get(&word.as_bytes()[range]).copied();
                    merger.clear();
                    word.char_indices().for_each(|(at, c)| {
                        let length = c.len_utf8();
                        merger.push(length, find(at..at + length).map_or(NONE, |(id, _)| id));
                    });
                    merger.run(
                        |pair| {
                            let (id, rank) = if pair.bytes.len() <= *longest { find(pair.bytes) } else { None }?;
                            Some(Merge { rank, id })
                        },
                        |id, range| {
                            if id != NONE {
                                tokens.push(id);
                                return;
                            }
                            let fallback = word.as_bytes()[range].iter().map(|byte| bytes[*byte as usize]);
                            tokens.extend(fallback.filter_map(|id| Some(id).filter(|id| *id != NONE).or(self.unk)));
                        },
                    );
                }
            }
        }
    }
}

/// Bytes of the first word: spaces, then what is none.
fn word_length(text: &str) -> usize {
    let spaces = text.len() - text.trim_start_matches(SPACE).len();
    text[spaces..].find(SPACE).map_or(text.len(), |at| spaces + at)
}

impl Finder {
    fn new(vocabulary: &Vocabulary, types: &[TokenType], wanted: impl Fn(TokenType) -> bool) -> Result<Finder, TextError> {
        let wanted = |id: &usize| wanted(types[*id]) && !vocabulary.tokens[*id].is_empty();
        let ids: Vec<usize> = (0..types.len()).filter(wanted).collect();
        let names = (!ids.is_empty())
            .then(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(ids.iter().map(|id| &vocabulary.tokens[*id])))
            .transpose()
            .map_err(|e| wrong(format!("has special tokens that are too many or too long to be searched for: {e}")))?;
        Ok(Finder { names, ids: ids.into_iter().map(|id| id as u32).collect() })
    }

    fn find<'f>(&'f self, text: &'f str) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> + 'f {
        self.names.iter().flat_map(move |names| names.find_iter(text)).map(|found| (self.ids[found.pattern().as_usize()], found.range()))
    }
}

/// The tokens that end an answer: those that the file names, and those that are known by their text.
fn ends(vocabulary: &Vocabulary) -> BTreeSet<u32> {
    let mut ends: BTreeSet<u32> = [vocabulary.eos, vocabulary.eot, vocabulary.eom].into_iter().flatten().collect();
    let known = |text: &str| vocabulary.tokens.iter().position(|token| token == text).map(|id| id as u32);
    ends.extend(ENDS.iter().filter_map(|text| known(text)));
    // gpt-oss and its kin end an answer's parts with <|end|>, and the answer with one of these.
    let has = |text: &str| known(text).is_some();
    if (has("<|return|>") && has("<|call|>")) || (has("<|flush|>") && (has("<|call|>") || has("<|calls|>"))) {
        ends.retain(|id| vocabulary.tokens[*id as usize] != "<|end|>");
    }
    ends
}

/// The bytes that each token stands for, and where they begin; one start more than there are tokens.
fn token_bytes(vocabulary: &Vocabulary, kind: Kind, types: &[TokenType]) -> (Vec<u8>, Vec<u32>) {
    let alphabet = alphabet();
    let of_char: HashMap<char, u8> = alphabet.iter().zip(0..=255).map(|(c, byte)| (*c, byte)).collect();
    let mut bytes = Vec::with_capacity(vocabulary.tokens.iter().map(String::len).sum());
    let mut starts = vec![0];
    for (text, of_type) in vocabulary.tokens.iter().zip(types) {
        let before = bytes.len();
        match (kind, of_type) {
            (_, TokenType::Byte) if byte_of_name(text).is_some() => bytes.extend(byte_of_name(text)),
            (Kind::Scored, TokenType::Normal) => bytes.extend_from_slice(text.replace(SPACE, " ").as_bytes()),
            (Kind::ByteLevel, TokenType::Normal) => {
                bytes.extend(text.chars().map_while(|c| of_char.get(&c)));
                // A token with another character was added as plain text.
                if bytes.len() - before != text.chars().count() {
                    bytes.truncate(before);
                    bytes.extend_from_slice(text.as_bytes());
                }
            }
            _ => bytes.extend_from_slice(text.as_bytes()),
        }
        starts.push(bytes.len() as u32);
    }
    (bytes, starts)
}

/// The characters that stand for bytes in a byte-level vocabulary (GPT-2, `encoder.py`, `bytes_to_unicode`): printable ones of
/// Latin-1 for themselves, the others from U+0100 on.
fn alphabet() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| match byte as u32 {
        printable @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => char::from_u32(printable).expect("Latin-1"),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("Latin Extended-A")
        }
    })
}

/// The byte of `<0x0A>`.
fn byte_of_name(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

/// Byte-level BPE, and whether its prompts begin with `bos` unless the file says otherwise.
fn byte_level<'b>(vocabulary: &Vocabulary, types: &[TokenType], bytes_of: impl Fn(usize) -> &'b [u8]) -> Result<(Words, bool), TextError> {
    let pretokenizer = Pretokenizer::named(vocabulary.pre.as_deref())?;
    let ids = by_text(vocabulary)?;
    let mut bytes = Box::new([NONE; 256]);
    for (byte, c) in alphabet().iter().enumerate() {
        bytes[byte] = ids.get(c.to_string().as_str()).copied().unwrap_or(NONE);
    }
    let mut merges = HashMap::with_capacity(vocabulary.merges.len());
    for (rank, merge) in vocabulary.merges.iter().enumerate() {
        // The first character is part of the first token, even if it is a space.
        let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let Some((left, right)) = space.map(|at| (&merge[..at], &merge[at + 1..])) else {
            return Err(wrong(format!("has {merge:?} as merge {rank}; two tokens with a space between are right")));
        };
        let find = |text: &str| {
            ids.get(text).copied().ok_or_else(|| wrong(format!("merges {left:?} and {right:?} (merge {rank}), but has no token {text:?}")))
        };
        let (pair, merged) = ((find(left)?, find(right)?), find(&format!("{left}{right}"))?);
        merges.entry(pair).or_insert((rank as u32, merged));
    }
    let plain = |id: &usize| types[*id] == TokenType::Normal;
    let whole = if pretokenizer.whole_words {
        (0..types.len()).filter(plain).map(|id| (bytes_of(id).into(), id as u32)).collect()
    } else {
        HashMap::new()
    };
    let begins = pretokenizer.begins;
    Ok((Words::ByteLevel { pretokenizer, bytes, merges, whole }, begins))
}

/// SentencePiece's BPE.
fn scored<'b>(vocabulary: &Vocabulary, types: &[TokenType], bytes_of: impl Fn(usize) -> &'b [u8]) -> Result<Words, TextError> {
    let ids = by_text(vocabulary)?;
    let mut bytes = Box::new([NONE; 256]);
    for (id, of_type) in types.iter().enumerate() {
        if let (TokenType::Byte, [byte]) = (of_type, bytes_of(id)) {
            bytes[*byte as usize] = id as u32;
        }
    }
    if vocabulary.unk.is_none() && bytes.contains(&NONE) {
        return Err(wrong("has neither a token for each byte (<0x00> to <0xFF>) nor one for what is unknown"));
    }
    // Equal scores are equal ranks: the leftmost pair merges first.
    let mut order: Vec<usize> = (0..types.len()).collect();
    order.sort_by(|a, b| vocabulary.scores[*b].total_cmp(&vocabulary.scores[*a]));
    let mut tokens: HashMap<Box<[u8]>, (u32, u32)> = HashMap::with_capacity(ids.len());
    let mut rank = 0;
    for (at, id) in order.iter().enumerate() {
        if at > 0 && vocabulary.scores[order[at - 1]] != vocabulary.scores[*id] {
            rank += 1;
        }
        // The names of other tokens are no text: what a person writes never becomes one of them.
        if matches!(types[*id], TokenType::Normal | TokenType::UserDefined) {
            tokens.insert(vocabulary.tokens[*id].as_bytes().into(), (*id as u32, rank));
        }
    }
    let longest = vocabulary.tokens.iter().map(String::len).max().unwrap_or(0);
    let crosses = |token: &[u8]| std::str::from_utf8(token).is_ok_and(|token| word_length(token) < token.len());
    let by_words = !tokens.keys().any(|token| crosses(token));
    Ok(Words::Scored { tokens, longest, bytes, add_space: vocabulary.add_space_prefix.unwrap_or(true), by_words })
}

/// Tokens by their text, each of which must be another.
fn by_text(vocabulary: &Vocabulary) -> Result<HashMap<&str, u32>, TextError> {
    let mut ids = HashMap::with_capacity(vocabulary.tokens.len());
    for (id, text) in vocabulary.tokens.iter().enumerate() {
        if let Some(first) = ids.insert(text.as_str(), id as u32).filter(|_| !text.is_empty()) {
            return Err(wrong(format!("has {text:?} twice, as tokens {first} and {id}; each text has one token")));
        }
    }
    Ok(ids)
}

#[cfg(test)]
pub(in crate::text) mod tests;
