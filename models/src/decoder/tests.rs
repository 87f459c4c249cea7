use super::weights::{self, Files};
use super::{Decoder, Element, Logits, Options, PAGE, Piece};
use crate::gguf::testing::{Writer, blocks};
use crate::gguf::{Format, Gguf};
use hearth_kernels::{InstructionSet, Pool};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A copy of a fixture, in a folder that may be written to.
fn fixture(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/llm/fixtures").join(name);
    let to = folder.path().join(name);
    std::fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    (folder, to)
}

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn decoder(files: &Files, options: Options) -> Result<Decoder, String> {
    Decoder::new(&mut files.weights(), &files.spec().map_err(|e| e.to_string())?, 8 * PAGE, options)
}

fn prompt(length: u32) -> Vec<u32> {
    (0..length).map(|at| (at * 37 + 5) % 290).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn each_format_is_repacked_exactly() {
    for &format in Format::ALL {
        let (outputs, depth) = (21, 768);
        let bytes = blocks(format, outputs * depth, 9);
        let numbers = (0..64).find(|number| Format::from_number(*number) == Some(format)).unwrap();
        let gguf = Writer::default().tensor("w", &[depth as u64, outputs as u64], numbers, bytes.clone()).finish();
        let (_folder, path) = file(&gguf);
        let files = weights::open(&path).unwrap();
        let weights = files.weights().matrix("w", outputs, depth).unwrap();
        let row_bytes = bytes.len() / outputs;
        let (mut row, mut wanted) = (vec![0.0; depth], vec![0.0; depth]);
        for output in 0..outputs {
            weights.row(output, &mut row);
            format.dequantize(&bytes[output * row_bytes..][..row_bytes], &mut wanted);
            assert_eq!(bits(&row), bits(&wanted), "{format}, row {output}");
        }
    }
}

#[test]
fn repacked_weights_are_made_once_and_again_when_the_file_is_another() {
    let (_folder, path) = fixture("llama3-Q8_0.gguf");
    weights::open(&path).unwrap();
    let packed = path.with_file_name("llama3-Q8_0.gguf.packed");
    let made = packed.metadata().unwrap().modified().unwrap();
    weights::open(&path).unwrap();
    assert_eq!(packed.metadata().unwrap().modified().unwrap(), made);
    std::fs::write(&packed, b"HEARTHW1 and nonsense").unwrap();
    let row = |path: &Path| {
        let mut row = vec![0.0; 64];
        weights::open(path).unwrap().weights().matrix("token_embd.weight", 304, 64).unwrap().row(7, &mut row);
        row
    };
    let before = row(&path);
    // As large, of the same tensors, with other numbers in them.
    let mut bytes = std::fs::read(&path).unwrap();
    let embedding = Gguf::read(&bytes).unwrap().tensor("token_embd.weight").unwrap().bytes.clone();
    bytes[embedding].iter_mut().for_each(|byte| *byte ^= 1);
    std::fs::write(&path, bytes).unwrap();
    assert_ne!(row(&path), before);
}

/// Of a family: the tokens of its prompt, and the logits of all positions that transformers found.
fn expected(name: &str) -> (Vec<u32>, Vec<f32>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/llm/fixtures");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
    let tokens = json["prompt"].as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect();
    let logits = std::fs::read(folder.join(format!("{name}.logits"))).unwrap();
    (tokens, logits.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[test]
fn each_family_computes_what_transformers_does() {
    for family in ["llama3", "llama3-tied", "qwen2.5", "qwen3", "olmo2"] {
        let (_folder, path) = fixture(&format!("{family}.gguf"));
        let (tokens, wanted) = expected(family);
        let decoder = decoder(&weights::open(&path).unwrap(), Options { element: Element::Single, ..Options::default() }).unwrap();
        let pages = Arc::new(decoder.take_pages());
        let piece = Piece { tokens: &tokens, start: 0, pages: &pages, logits: Logits::Each };
        let logits = decoder.run(&[piece], 1, &Arc::new(Pool::new(1)), &mut || ()).unwrap();
        assert_eq!(logits.len(), wanted.len());
        let largest = wanted.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let worst = logits.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst / largest < 1e-3, "{family}: {worst} of {largest}");
    }
}

#[test]
fn neither_neighbours_nor_cuts_nor_threads_change_a_bit() {
    for name in ["llama3-Q8_0.gguf", "qwen2.5-wide-mixed.gguf", "olmo2-Q8_0.gguf"] {
        let (_folder, path) = fixture(name);
        let decoder = decoder(&weights::open(&path).unwrap(), Options::default()).unwrap();
        let mut pages = decoder.take_pages().into_iter();
        let pages: [Arc<Vec<_>>; 3] = std::array::from_fn(|_| Arc::new(pages.by_ref().take(2).collect()));
        let tokens = prompt(45);
        let alone = |threads: usize| {
            let piece = Piece { tokens: &tokens, start: 0, pages: &pages[0], logits: Logits::Each };
            decoder.run(&[piece], threads, &Arc::new(Pool::new(threads)), &mut || ()).unwrap()
        };
        let wanted = alone(1);
        for threads in [2, 4] {
            assert_eq!(bits(&alone(threads)), bits(&wanted), "{name}, {threads} threads");
        }
        let pool = Arc::new(Pool::new(2));
        let mut cut = Vec::new();
        let (first, second) = (prompt(40), prompt(33));
        for (at, start) in (0..45).step_by(7).enumerate() {
            let end = 45.min(start + 7);
            let own = Piece { tokens: &tokens[start..end], start, pages: &pages[0], logits: Logits::Each };
            let before = Piece { tokens: &first[at..at + 1], start: at, pages: &pages[1], logits: Logits::None };
            let after = Piece { tokens: &second[4 * at..4 * at + 4], start: 4 * at, pages: &pages[2], logits: Logits::Last };
            let logits = decoder.run(&[before, own, after], 2, &pool, &mut || ()).unwrap();
            cut.extend_from_slice(&logits[..(end - start) * decoder.vocabulary()]);
        }
        assert_eq!(bits(&cut), bits(&wanted), "{name}, cut and among others");
    }
}

#[test]
fn the_kernels_agree_with_plain_loops() {
    let (_folder, path) = fixture("llama3-wide-mixed.gguf");
    let files = weights::open(&path).unwrap();
    let logits = |set: InstructionSet| {
        let decoder = decoder(&files, Options { set, ..Options::default() }).unwrap();
        let piece = Piece { tokens: &prompt(9), start: 0, pages: &Arc::new(decoder.take_pages()), logits: Logits::Last };
        decoder.run(&[piece], 1, &Arc::new(Pool::new(1)), &mut || ()).unwrap()
    };
    let plain = logits(InstructionSet::SCALAR);
    let largest = plain.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for set in InstructionSet::available() {
        let worst = logits(set).iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-2 * largest, "{set}: {worst} of {largest}");
    }
}

/// A Llama of one layer that is 32 wide and has 8 tokens; `change` makes it a liar.
fn tiny(change: impl Fn(&str, &mut Vec<u64>)) -> Vec<u8> {
    let mut writer = Writer::default()
        .text("general.architecture", "llama")
        .count("llama.context_length", 64)
        .count("llama.embedding_length", 32)
        .count("llama.block_count", 1)
        .count("llama.feed_forward_length", 64)
        .count("llama.attention.head_count", 2);
    let matrices = [
        ("attn_q", 32, 32),
        ("attn_k", 32, 32),
        ("attn_v", 32, 32),
        ("attn_output", 32, 32),
        ("ffn_gate", 32, 64),
        ("ffn_up", 32, 64),
        ("ffn_down", 64, 32),
    ];
    let matrices = matrices.map(|(name, depth, outputs)| (format!("blk.0.{name}.weight"), vec![depth, outputs]));
    let vectors = ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"].map(|name| (name.to_owned(), vec![32]));
    for (name, mut dimensions) in [("token_embd.weight".to_owned(), vec![32, 8])].into_iter().chain(matrices).chain(vectors) {
        change(&name, &mut dimensions);
        if !dimensions.is_empty() {
            let count = dimensions.iter().product::<u64>() as usize;
            writer = writer.floats(&name, &dimensions, &(0..count).map(|at| (at % 13) as f32 / 50.0 - 0.1).collect::<Vec<_>>());
        }
    }
    writer.finish()
}

fn refused(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    match weights::open(&path) {
        Ok(files) => decoder(&files, Options::default()).map(|_| ()).unwrap_err(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_that_lies_about_its_tensors_is_refused() {
    let (_folder, path) = file(&tiny(|_, _| ()));
    decoder(&weights::open(&path).unwrap(), Options::default()).unwrap();
    let missing = tiny(|name, dimensions| {
        if name == "blk.0.attn_k.weight" {
            dimensions.clear()
        }
    });
    assert!(refused(&missing).contains("it has no tensor blk.0.attn_k.weight"), "{}", refused(&missing));
    let narrow = tiny(|name, dimensions| {
        if name == "blk.0.ffn_up.weight" {
            dimensions[1] = 48
        }
    });
    assert!(refused(&narrow).contains("ffn_up.weight is [32, 48], but its metadata says that it is [32, 64]"), "{}", refused(&narrow));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let other = Writer::default().text("general.architecture", "mamba").finish();
    let says = refused(&other);
    assert!(says.contains("\"mamba\" is not known; known are llama (Llama 3.x") && says.contains("olmo2 (OLMo-2)"), "{says}");
    let part = Writer::default().text("general.architecture", "llama").count("split.count", 3).finish();
    assert!(refused(&part).contains("one of 3 parts of a model; join them first"), "{}", refused(&part));
    let experts = Writer::default().text("general.architecture", "llama").count("llama.expert_count", 8).finish();
    assert!(refused(&experts).contains("8 experts"), "{}", refused(&experts));
    let empty = Writer::default().finish();
    assert!(refused(&empty).contains("no general.architecture"), "{}", refused(&empty));
}
