//! Tokens of small vocabularies that are made here, with every kind of entry that real ones have.

use super::*;

/// A byte-level vocabulary: the 256 bytes, some merges, and special tokens after them.
pub(in crate::text) fn byte_level_vocabulary(pre: &str, merges: &[&str]) -> Vocabulary {
    let mut tokens: Vec<String> = alphabet().iter().map(char::to_string).collect();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    for (text, number) in [("<|im_start|>", 3), ("<|im_end|>", 3), ("<|endoftext|>", 3), ("<think>", 4), ("<|odd|>", 3)] {
        tokens.push(text.into());
        types.push(number);
    }
    let merges: Vec<String> = merges.iter().map(|merge| (*merge).to_owned()).collect();
    let end = tokens.len() as u32 - 4;
    Vocabulary { model: "gpt2".into(), pre: Some(pre.into()), tokens, types, merges, eos: Some(end), ..Vocabulary::default() }
}

/// A vocabulary as SentencePiece makes them: `<unk>`, `<s>`, `</s>`, the bytes, then pieces from the likeliest on.
fn scored_vocabulary() -> Vocabulary {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    let mut types = vec![2, 3, 3];
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    types.resize(tokens.len(), 6);
    let pieces = ["▁t", "he", "▁the", "▁▁", "▁▁▁▁", "in", "▁", "t", "h", "e", "i", "n", "é"];
    tokens.extend(pieces.map(String::from));
    types.resize(tokens.len(), 1);
    tokens.push("<|user|>".into());
    types.push(4);
    let scores = (0..tokens.len()).map(|id| if id < 259 { 0.0 } else { -(id as f32) }).collect();
    Vocabulary { model: "llama".into(), tokens, types, scores, ..Vocabulary::default() }
}

fn texts(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<String> {
    tokens.iter().map(|id| String::from_utf8_lossy(tokenizer.bytes_of(*id)).into_owned()).collect()
}

fn bytes(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|id| tokenizer.bytes_of(*id)).copied().collect()
}

const MERGES: &[&str] = &["Ġ t", "h e", "Ġt he", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "1 2", "12 3", "Ã ©"];
/// Digits, blanks, letters of one to four bytes, joined emoji, line ends.
const HARD: &[&str] = &[
    "",
    " ",
    "    the  the\n\n\nthe",
    "1 12 123 1234 12345",
    "é e\u{301} 漢字 \u{1f469}\u{200d}\u{1f680} \u{1f600}",
    "I'll DON'T we'Ve",
    "\t\r\n \u{a0}\u{3000}x",
    "<|im_start|> <s> <0x41> <unk>",
];

#[test]
fn merges_come_by_rank_and_then_from_the_left() {
    let tokenizer = Tokenizer::new(byte_level_vocabulary("gpt-2", MERGES)).unwrap();
    let parts = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Specials::AsText));
    assert_eq!(parts(" the the"), [" the", " the"]);
    assert_eq!(parts("thehe"), ["t", "he", "he"]);
    assert_eq!(parts("     x"), ["    ", " ", "x"]);
    assert_eq!(parts("1234"), ["123", "4"]);
    assert_eq!(parts("é"), ["é"]);
}

#[test]
fn every_text_comes_back_byte_for_byte() {
    for pre in ["gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder", "gpt-4o", "tekken", "default"] {
        let tokenizer = Tokenizer::new(byte_level_vocabulary(pre, MERGES)).unwrap();
        for text in HARD {
            for specials in [Specials::AsText, Specials::Parse] {
                assert_eq!(bytes(&tokenizer, &tokenizer.encode(text, specials)), text.as_bytes(), "{pre}");
            }
        }
    }
    let tokenizer = Tokenizer::new(Vocabulary { add_space_prefix: Some(false), ..scored_vocabulary() }).unwrap();
    for text in HARD {
        assert_eq!(bytes(&tokenizer, &tokenizer.encode(text, Specials::AsText)), text.as_bytes());
    }
}

#[test]
fn names_of_control_tokens_are_text_unless_they_are_parsed() {
    let tokenizer = Tokenizer::new(byte_level_vocabulary("qwen2", MERGES)).unwrap();
    let text = "a<|im_end|>b";
    let parsed = tokenizer.encode(text, Specials::Parse);
    assert_eq!(texts(&tokenizer, &parsed), ["a", "<|im_end|>", "b"]);
    assert!(tokenizer.ends(parsed[1]) && tokenizer.is_control(parsed[1]) && !tokenizer.is_control(parsed[0]));
    let as_text = tokenizer.encode(text, Specials::AsText);
    assert!(as_text.iter().all(|id| !tokenizer.is_control(*id)) && as_text.len() == text.len());
    // What users define is one token either way.
    assert_eq!(texts(&tokenizer, &tokenizer.encode("x<think>y", Specials::AsText)), ["x", "<think>", "y"]);
    let scored = Tokenizer::new(scored_vocabulary()).unwrap();
    assert!(scored.encode("<s></s><0x41>", Specials::AsText).iter().all(|id| !scored.is_control(*id)));
}

#[test]
fn whole_words_skip_the_merges_where_the_model_was_trained_so() {
    let mut vocabulary = byte_level_vocabulary("llama-bpe", MERGES);
    // A token that no merges lead to.
    let id = vocabulary.tokens.iter().position(|token| token == "<|odd|>").unwrap();
    (vocabulary.tokens[id], vocabulary.types[id]) = ("hello".into(), 1);
    let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
    assert_eq!(tokenizer.encode("hello", Specials::AsText), [id as u32]);
    vocabulary.pre = Some("dbrx".into());
    assert_eq!(Tokenizer::new(vocabulary).unwrap().encode("hello", Specials::AsText).len(), 4);
}

#[test]
fn scores_decide_merges_and_bytes_stand_for_what_has_no_piece() {
    let tokenizer = Tokenizer::new(scored_vocabulary()).unwrap();
    let parts = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Specials::AsText));
    assert_eq!(parts("the the"), [" the", " the"]);
    assert_eq!(parts("in"), [" ", "in"]);
    assert_eq!(parts("é"), [" ", "é"]);
    let tokens = tokenizer.encode("漢", Specials::AsText);
    assert_eq!(tokens[1..], "漢".bytes().map(|byte| u32::from(byte) + 3).collect::<Vec<u32>>());
    // After a special token a word begins anew.
    assert_eq!(parts("t<|user|>t"), [" t", "<|user|>", " t"]);
    assert_eq!(parts("    "), ["    ", " "]);
}

#[test]
fn a_prompt_begins_once() {
    let tokenizer = Tokenizer::new(scored_vocabulary()).unwrap();
    assert_eq!(tokenizer.encode_prompt("t", Specials::Parse)[0], 1);
    assert_eq!(tokenizer.encode_prompt("<s>t", Specials::Parse).iter().filter(|id| **id == 1).count(), 1);
    assert_eq!(tokenizer.encode_prompt("", Specials::Parse), [1]);
    let without = Tokenizer::new(Vocabulary { add_bos: Some(false), ..scored_vocabulary() }).unwrap();
    assert_ne!(without.encode_prompt("t", Specials::Parse)[0], 1);
}

#[test]
fn an_answer_ends_with_the_files_tokens_and_with_those_known_by_name() {
    let vocabulary = byte_level_vocabulary("qwen2", MERGES);
    let id = |text: &str| vocabulary.id_of(text).unwrap();
    let tokenizer = Tokenizer::new(vocabulary.clone()).unwrap();
    assert!(tokenizer.ends(id("<|im_end|>")) && tokenizer.ends(id("<|endoftext|>")));
    assert!(!tokenizer.ends(id("<|im_start|>")) && !tokenizer.ends(u32::MAX));
    assert_eq!(tokenizer.end_tokens().count(), 2);
    // gpt-oss: <|end|> ends a part of an answer alone.
    let mut oss = vocabulary.clone();
    for (old, new) in [("<|im_start|>", "<|return|>"), ("<|im_end|>", "<|end|>"), ("<|odd|>", "<|call|>")] {
        oss.tokens[id(old) as usize] = new.into();
    }
    oss.eos = Some(id("<|im_start|>"));
    let tokenizer = Tokenizer::new(oss).unwrap();
    assert!(!tokenizer.ends(id("<|im_end|>")) && tokenizer.ends(id("<|im_start|>")) && tokenizer.ends(id("<|odd|>")));
}

#[test]
fn a_token_that_there_is_not_has_no_bytes() {
    let tokenizer = Tokenizer::new(scored_vocabulary()).unwrap();
    assert_eq!(tokenizer.bytes_of(tokenizer.len() as u32), b"");
    assert!(tokenizer.is_control(u32::MAX));
}

#[test]
fn a_long_text_of_anything_takes_no_more_than_seconds() {
    // What else the machine does is no matter.
    let cpu_seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
    let started = cpu_seconds();
    let length = 1 << 19;
    let blank = " ".repeat(length);
    let wide = ["a".repeat(length), blank.clone(), blank + "x", "\n \t".repeat(length / 3), "the \u{e9}\u{6f22}1 ".repeat(length / 11)];
    for vocabulary in [byte_level_vocabulary("llama-bpe", MERGES), byte_level_vocabulary("deepseek-llm", MERGES), scored_vocabulary()] {
        let tokenizer = Tokenizer::new(vocabulary).unwrap();
        for text in &wide {
            assert!(!tokenizer.encode(text, Specials::Parse).is_empty());
        }
    }
    // A quadratic step would take minutes.
    assert!(cpu_seconds() - started < 30);
}

#[test]
fn a_vocabulary_that_contradicts_itself_is_refused_with_what_would_be_right() {
    let good = || byte_level_vocabulary("qwen2", MERGES);
    type Spoil = fn(&mut Vocabulary);
    let cases: &[(Spoil, &str)] = &[
        (|v| v.tokens.clear(), "0 tokens"),
        (|v| v.model = "bert".into(), "\"bert\""),
        (|v| v.pre = Some("elvish".into()), "\"elvish\""),
        (|v| v.types.truncate(7), "7 entries in tokenizer.ggml.token_type"),
        (|v| v.types[0] = 9, "9 as the type of token 0"),
        (|v| v.eos = Some(1_000_000), "1000000 as tokenizer.ggml.eos_token_id"),
        (|v| v.add_bos = Some(true), "names none as bos_token_id"),
        (|v| v.merges.clear(), "no tokenizer.ggml.merges"),
        (|v| v.merges[1] = "he".into(), "\"he\" as merge 1"),
        (|v| v.merges[1] = "q q".into(), "has no token \"qq\""),
        (|v| v.merges[1] = "zz q".into(), "has no token \"zz\""),
        (|v| v.tokens[65] = "b".into(), "twice"),
        (|v| v.tokens[0] = "a".repeat(5000), "5000 bytes"),
    ];
    for (spoil, expected) in cases {
        let mut vocabulary = good();
        spoil(&mut vocabulary);
        let message = Tokenizer::new(vocabulary).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}: {expected}");
    }
    let message = Tokenizer::new(Vocabulary { scores: Vec::new(), ..scored_vocabulary() }).unwrap_err().to_string();
    assert!(message.contains("tokenizer.ggml.scores"), "{message}");
}
