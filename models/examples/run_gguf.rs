//! Runs the decoder of a GGUF file alone, for comparisons with other programs (`tests/peers/llm`).
//!
//! `run_gguf logits FILE [--kv f32|f16] [--threads N]`: tokens as a JSON list on standard input; on standard output the logits after
//! each of them, as little-endian `f32`.
//! `run_gguf greedy FILE COUNT [--kv f32|f16] [--threads N]`: the same tokens; prints the next ones, always the likeliest, as a JSON list.
//! `run_gguf speed FILE [--threads N] [--prefill N] [--decode N] [--batch N]`: prints what was measured, as a JSON object.

use anyhow::{Context, bail};
use hearth_kernels::Pool;
use hearth_models::decoder::{Decoder, Element, Logits, Options, PAGE, Page, Piece, weights};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let mut plain = Vec::new();
    let mut options = HashMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            Some(name) => drop(options.insert(name.to_owned(), arguments.next().with_context(|| format!("--{name} without a value"))?)),
            None => plain.push(argument),
        }
    }
    let number = |name: &str, usual: usize| options.get(name).map_or(Ok(usual), |value| value.parse());
    let element = match options.get("kv").map(String::as_str) {
        Some("f32") => Element::Single,
        None | Some("f16") => Element::Half,
        Some(other) => bail!("--kv {other}: f32 and f16 are known"),
    };
    let threads = number("threads", 1)?;
    match plain.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["logits", file] => logits(file, element, threads),
        ["greedy", file, count] => greedy(file, element, threads, count.parse()?),
        ["speed", file] => speed(file, threads, number("prefill", 512)?, number("decode", 128)?, number("batch", 1)?),
        _ => bail!("usage: run_gguf logits|greedy|speed FILE ...; the head of this program says more"),
    }
}

/// A decoder, and who computes it.
struct Runner {
    decoder: Decoder,
    /// Of each sequence.
    pages: Vec<Arc<Vec<Page>>>,
    pool: Arc<Pool>,
    threads: usize,
}

impl Runner {
    fn open(file: &str, element: Element, threads: usize, sequences: usize, tokens: usize) -> anyhow::Result<Runner> {
        let files = weights::open(Path::new(file))?;
        let spec = files.spec()?;
        let own = tokens.div_ceil(PAGE);
        let decoder = Decoder::new(&mut files.weights(), &spec, own * sequences * PAGE, Options { element, ..Options::default() })
            .map_err(anyhow::Error::msg)?;
        let mut pages = decoder.take_pages().into_iter();
        let pages = (0..sequences).map(|_| Arc::new(pages.by_ref().take(own).collect())).collect();
        Ok(Runner { pages, decoder, pool: Arc::new(Pool::new(threads)), threads })
    }

    fn run(&self, pieces: &[Piece<'_>]) -> anyhow::Result<Vec<f32>> {
        self.decoder.run(pieces, self.threads, &self.pool, &mut || ()).map_err(anyhow::Error::msg)
    }
}

fn tokens() -> anyhow::Result<Vec<u32>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn logits(file: &str, element: Element, threads: usize) -> anyhow::Result<()> {
    let tokens = tokens()?;
    let runner = Runner::open(file, element, threads, 1, tokens.len())?;
    let logits = runner.run(&[Piece { tokens: &tokens, start: 0, pages: &runner.pages[0], logits: Logits::Each }])?;
    let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    Ok(std::io::stdout().write_all(&bytes)?)
}

fn likeliest(logits: &[f32]) -> u32 {
    logits.iter().enumerate().max_by(|(i, a), (j, b)| a.total_cmp(b).then(j.cmp(i))).map_or(0, |(token, _)| token as u32)
}

fn greedy(file: &str, element: Element, threads: usize, count: usize) -> anyhow::Result<()> {
    let mut all = tokens()?;
    let prompt = all.len();
    let runner = Runner::open(file, element, threads, 1, prompt + count)?;
    let mut start = 0;
    while all.len() < prompt + count {
        let logits = runner.run(&[Piece { tokens: &all[start..], start, pages: &runner.pages[0], logits: Logits::Last }])?;
        start = all.len();
        all.push(likeliest(&logits));
    }
    println!("{}", serde_json::to_string(&all[prompt..])?);
    Ok(())
}

/// CPU time of the threads there are.
fn cpu_seconds() -> anyhow::Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).context("schedstat begins with a number")?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

fn speed(file: &str, threads: usize, prefill: usize, decode: usize, batch: usize) -> anyhow::Result<()> {
    let runner = Runner::open(file, Element::Half, threads, batch, prefill.max(decode))?;
    let own = |sequence: usize| &runner.pages[sequence];
    let vocabulary = runner.decoder.vocabulary();
    let prompt: Vec<u32> = (0..prefill as u32).map(|at| (at * 7919 + 13) % vocabulary as u32).collect();
    // The first tokens read the weights in.
    runner.run(&[Piece { tokens: &prompt[..prefill.min(8)], start: 0, pages: own(0), logits: Logits::Last }])?;
    let begun = Instant::now();
    for sequence in 0..batch {
        runner.run(&[Piece { tokens: &prompt, start: 0, pages: own(sequence), logits: Logits::Last }])?;
    }
    let prefill_seconds = begun.elapsed().as_secs_f64();
    // As llama-bench does it, from the first position on.
    let mut next = vec![prompt[prefill - 1]; batch];
    let cpu = cpu_seconds()?;
    let begun = Instant::now();
    for step in 0..decode {
        let pieces: Vec<Piece<'_>> = next
            .iter()
            .enumerate()
            .map(|(sequence, token)| Piece { tokens: std::slice::from_ref(token), start: step, pages: own(sequence), logits: Logits::Last })
            .collect();
        let logits = runner.run(&pieces)?;
        next = logits.chunks_exact(vocabulary).map(likeliest).collect();
    }
    let decode_seconds = begun.elapsed().as_secs_f64();
    let decode_cpu_seconds = cpu_seconds()? - cpu;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0);
    println!(
        "{}",
        serde_json::json!({
            "prefill_tokens_per_s": (prefill * batch) as f64 / prefill_seconds,
            "decode_tokens_per_s": (decode * batch) as f64 / decode_seconds,
            "decode_cpu_s_per_token": decode_cpu_seconds / (decode * batch) as f64,
            "peak_rss_bytes": peak * 1024,
        })
    );
    Ok(())
}
