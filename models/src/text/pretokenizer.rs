//! Cutting a text into the words within which BPE merges, by the name in `tokenizer.ggml.pre`. The names are llama.cpp's
//! (`llama-vocab.cpp`), the expressions those that the models were trained with (their `tokenizer.json`).
//!
//! Every expression is of the kind that a finite automaton matches, so that no text takes more than linear time. What is not,
//! the look-ahead in `\s+(?!\S)|\s+` with which most of them end, is done by [`Pretokenizer::split`].

use super::TextError;
use super::vocabulary::wrong;
use regex::Regex;
use std::ops::Range;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Letters that had a case in the Unicode of the model's time.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[",
    r"A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}",
    r"\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}",
    r"\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}",
    r"\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}",
    r"\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}",
    r"\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}",
    r"\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}",
    r"\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}",
    r"\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}",
    r"\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}",
    r"\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}",
    r"]+"
);
const DEEPSEEK3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
);
const KIMI: &str = concat!(
    r"\p{Han}+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+";
const SEED: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+";
const EXAONE_MOE: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+"
);
const BLOOM: &str = " ?[^(\\s|.,!?…。，、।۔،)]+";

/// The expressions of a pre-tokenizer, each of which cuts what the one before left.
struct Family {
    names: &'static [&'static str],
    expressions: &'static [&'static str],
    /// A word that is a token as it is does not go through the merges.
    whole_words: bool,
    /// A prompt begins with `bos` where the file does not say.
    begins: bool,
}

const fn family(names: &'static [&'static str], expressions: &'static [&'static str]) -> Family {
    Family { names, expressions, whole_words: false, begins: false }
}

const FAMILIES: &[Family] = &[
    Family {
        whole_words: true,
        begins: true,
        ..family(&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"], &[LLAMA3])
    },
    family(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    Family { whole_words: true, ..family(&["glm4", "glm5"], &[LLAMA3]) },
    family(&["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"], &[QWEN2]),
    family(&["qwen35"], &[QWEN35]),
    family(&["deepseek-llm"], &["[\r\n]", DEEPSEEK_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+", r"\p{N}+"]),
    family(&["deepseek-coder"], &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"]),
    family(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3]),
    family(&["gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"], &[GPT2]),
    family(&["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"], &[r"\p{N}", GPT2]),
    family(&["falcon"], &[r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"]),
    family(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    Family { whole_words: true, begins: true, ..family(&["tekken"], &[TEKKEN]) },
    family(&["kimi-k2"], &[KIMI]),
    family(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    family(&["seed-coder"], &[SEED]),
    family(&["exaone-moe"], &[EXAONE_MOE]),
    family(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    family(&["viking"], &[BLOOM, r"\p{N}"]),
    family(&["default"], &[r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
];

/// What follows a run of blanks that an expression ended on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blanks {
    /// Nothing: the expression does not end in `\s+`.
    Whole,
    /// Before something that is not blank, the last blank is left for it: `\s+(?!\S)|\s+`.
    LeaveOne,
    /// The same, but runs that end on a line's end are whole: `\s*[\r\n]+` stands before.
    LeaveOneInLine,
}

/// Cuts texts into words.
#[derive(Debug)]
pub(super) struct Pretokenizer {
    stages: Vec<(Regex, Blanks)>,
    /// A word that is a token as it is does not go through the merges.
    pub(super) whole_words: bool,
    /// A prompt begins with `bos` where the file does not say.
    pub(super) begins: bool,
}

impl Pretokenizer {
    /// The one of this name. A file without a name is of the time before there were any: `default`.
    pub(super) fn named(name: Option<&str>) -> Result<Pretokenizer, TextError> {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
        let family = FAMILIES.iter().find(|family| family.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.names).copied().collect();
            wrong(format!("cuts words in a way called {name:?} (tokenizer.ggml.pre), which is not known; known are {}", known.join(", ")))
        })?;
        let stage = |expression: &&str| {
            let blanks = match (expression.ends_with(r"|\s+"), expression.contains(r"|\s*[\r\n]")) {
                (false, _) => Blanks::Whole,
                (true, false) => Blanks::LeaveOne,
                (true, true) => Blanks::LeaveOneInLine,
            };
            (Regex::new(expression).expect("the expressions are constants that a test compiles"), blanks)
        };
        let stages = family.expressions.iter().map(stage).collect();
        Ok(Pretokenizer { stages, whole_words: family.whole_words, begins: family.begins })
    }

    /// Hands each word of the text to `take`, in order and without a gap.
    pub(super) fn split(&self, text: &str, mut take: impl FnMut(&str)) {
        let mut words: Vec<Range<usize>> = std::iter::once(0..text.len()).collect();
        for (regex, blanks) in &self.stages {
            let mut cut = Vec::with_capacity(words.len());
            for word in words {
                stage(regex, *blanks, &text[word.clone()], |part| cut.push(word.start + part.start..word.start + part.end));
            }
            words = cut;
        }
        words.into_iter().for_each(|word| take(&text[word]));
    }
}

/// Cuts one text by one expression: what it matches and what lies between are words.
fn stage(regex: &Regex, blanks: Blanks, text: &str, mut take: impl FnMut(Range<usize>)) {
    let mut at = 0;
    while at < text.len() {
        let Some(found) = regex.find_at(text, at) else { break };
        if found.start() > at {
            take(at..found.start());
        }
        let end = found.end() - left_over(blanks, found.as_str(), found.end() == text.len());
        take(found.start()..end);
        at = end;
    }
    if at < text.len() {
        take(at..text.len());
    }
}

/// Bytes at the end of a match that belong to the next word.
fn left_over(blanks: Blanks, matched: &str, last: bool) -> usize {
    // What ends in a blank is blank throughout, or has line ends after punctuation, which stay.
    let Some(blank) = matched.chars().next_back().filter(|c| c.is_whitespace()) else { return 0 };
    let line_end = matches!(blank, '\r' | '\n');
    if last || blanks == Blanks::Whole || (blanks == Blanks::LeaveOneInLine && line_end) || matched.len() == blank.len_utf8() {
        return 0;
    }
    blank.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        Pretokenizer::named(Some(name)).unwrap().split(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn every_known_name_compiles_and_loses_no_byte() {
        let text = "I'VE got 12345 apples,\r\n\n  \t x\u{a0}\u{3000}y 你好 ありがとう A1-b2 ǅungla \u{1f600}!!\n ";
        for name in FAMILIES.iter().flat_map(|family| family.names) {
            assert_eq!(words(name, text).concat(), text, "{name}");
            assert!(words(name, text).iter().all(|word| !word.is_empty()), "{name}");
        }
    }

    #[test]
    fn the_last_blank_belongs_to_the_word_after_it() {
        assert_eq!(words("gpt-2", "a   b  "), ["a", "  ", " b", "  "]);
        assert_eq!(words("gpt-2", "a \n\nb"), ["a", " \n", "\n", "b"]);
        assert_eq!(words("llama-bpe", "a \n\n  b"), ["a", " \n\n", " ", " b"]);
        assert_eq!(words("llama-bpe", "a\n 1"), ["a", "\n", " ", "1"]);
        assert_eq!(words("llama-bpe", "?!\n\nb"), ["?!\n\n", "b"]);
        assert_eq!(words("bailingmoe", "a\n\n\nb"), ["a", "\n\n\n", "b"]);
    }

    #[test]
    fn digits_are_cut_as_the_model_was_trained() {
        assert_eq!(words("llama-bpe", "12345"), ["123", "45"]);
        assert_eq!(words("qwen2", "123"), ["1", "2", "3"]);
        assert_eq!(words("gpt-2", "12345"), ["12345"]);
        assert_eq!(words("falcon", "12345"), ["123", "45"]);
        assert_eq!(words("kimi-k2", "你好abc 1234"), ["你好", "abc", " ", "123", "4"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_are_known() {
        let message = Pretokenizer::named(Some("klingon")).unwrap_err().to_string();
        assert!(message.contains("\"klingon\"") && message.contains("llama-bpe") && message.contains("qwen2"), "{message}");
    }
}
