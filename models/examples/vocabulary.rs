//! Reads a vocabulary and texts as JSON from standard input, and writes the tokens of each text as a line of JSON. For
//! `tests/peers/llm/vocabularies.py`, which compares them with llama.cpp's.

use hearth_models::text::{Specials, Tokenizer, Vocabulary};
use serde::Deserialize;
use std::io::Read;
use std::time::Instant;

#[derive(Deserialize)]
struct Input {
    model: String,
    pre: Option<String>,
    tokens: Vec<String>,
    #[serde(default)]
    scores: Vec<f32>,
    #[serde(default)]
    types: Vec<i32>,
    #[serde(default)]
    merges: Vec<String>,
    bos: Option<u32>,
    eos: Option<u32>,
    unk: Option<u32>,
    add_space_prefix: Option<bool>,
    texts: Vec<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut json = String::new();
    std::io::stdin().read_to_string(&mut json)?;
    let Input { model, pre, tokens, scores, types, merges, bos, eos, unk, add_space_prefix, texts } = serde_json::from_str(&json)?;
    let vocabulary = Vocabulary { model, pre, tokens, scores, types, merges, bos, eos, unk, add_space_prefix, ..Vocabulary::default() };
    let start = Instant::now();
    let tokenizer = Tokenizer::new(vocabulary)?;
    eprintln!("{} tokens, made in {} ms", tokenizer.len(), start.elapsed().as_millis());
    for text in &texts {
        let start = Instant::now();
        let tokens = tokenizer.encode(text, Specials::AsText);
        if text.len() > 1 << 19 {
            let seconds = start.elapsed().as_secs_f64();
            eprintln!("{} bytes to {} tokens: {:.1} MB/s", text.len(), tokens.len(), text.len() as f64 / 1e6 / seconds);
        }
        println!("{}", serde_json::to_string(&tokens)?);
    }
    Ok(())
}
