use super::testing::{Writer, blocks};
use super::{Format, Gguf, Value};
use proptest::prelude::*;

fn small() -> Writer {
    Writer::default()
        .text("general.architecture", "llama")
        .count("llama.block_count", 2)
        .float("llama.rope.freq_base", 5e5)
        .texts("tokenizer.ggml.tokens", &["<s>", "a", "ä"])
        .floats("norm", &[3], &[1.0, 2.0, 3.0])
        .tensor("matrix", &[64, 2], 2, blocks(Format::Q4_0, 128, 1))
}

fn refused(file: &[u8]) -> String {
    Gguf::read(file).unwrap_err().to_string()
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let file = small().finish();
    let gguf = Gguf::read(&file).unwrap();
    assert_eq!(gguf.metadata.text("general.architecture").unwrap(), Some("llama"));
    assert_eq!(gguf.metadata.count("llama.block_count").unwrap(), Some(2));
    assert_eq!(gguf.metadata.float("llama.rope.freq_base").unwrap(), Some(5e5));
    assert_eq!(gguf.metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap()[2], "ä");
    assert_eq!(gguf.metadata.get("nothing"), None);
    let matrix = gguf.tensor("matrix").unwrap();
    assert_eq!((matrix.row(), matrix.rows(), matrix.format), (64, 2, Format::Q4_0));
    let norm = &file[gguf.tensor("norm").unwrap().bytes.clone()];
    assert_eq!(norm, [1f32, 2.0, 3.0].map(f32::to_le_bytes).concat());
}

#[test]
fn a_value_of_another_kind_is_named() {
    let gguf = Gguf::read(&small().finish()).unwrap();
    let error = gguf.metadata.count("general.architecture").unwrap_err().to_string();
    assert_eq!(error, "its metadata general.architecture is a text, not a count below 2^32");
    assert!(gguf.metadata.texts("llama.block_count").is_err());
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let file = small().finish();
    for length in 0..file.len() {
        assert!(Gguf::read(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    let file = small().finish();
    for at in [8, 16] {
        let mut file = file.clone();
        file[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(refused(&file).contains("more than its"), "{}", refused(&file));
    }
    let list = [&4u32.to_le_bytes()[..], &(1u64 << 60).to_le_bytes()].concat();
    assert!(refused(&Writer::default().entry("list", 9, &list).finish()).contains("more than its"));
}

#[test]
fn what_is_no_gguf_or_of_another_version_is_named() {
    assert!(refused(b"PK\x03\x04 and so on").contains("no GGUF file"));
    let mut file = small().finish();
    file[4] = 1;
    assert!(refused(&file).contains("version 1"));
    file[4] = 9;
    assert!(refused(&file).contains("version 9"));
    file[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert!(refused(&file).contains("big-endian"));
}

#[test]
fn tensors_that_lie_are_refused() {
    let tensor = |dimensions: &[u64], number: u32, bytes: usize| {
        refused(&Writer::default().tensor("w", dimensions, number, vec![0; bytes]).finish())
    };
    assert!(tensor(&[64, 2], 2, 71).contains("cut short"));
    assert!(tensor(&[64, 1 << 50], 2, 72).contains("cut short"));
    assert!(tensor(&[1 << 40, 1 << 40], 0, 72).contains("more than there can be"));
    assert!(tensor(&[33, 2], 2, 72).contains("blocks of 32"));
    assert!(tensor(&[64, 2], 77, 72).contains("ggml type 77; known are F32"));
    assert!(tensor(&[1, 1, 1, 1, 1], 0, 4).contains("5 dimensions"));
    let twice = small().floats("norm", &[1], &[0.0]).finish();
    assert!(refused(&twice).contains("norm twice"));
}

#[test]
fn overlapping_tensors_are_refused() {
    let mut file = Writer::default().floats("a", &[16], &[0.0; 16]).floats("b", &[16], &[0.0; 16]).finish();
    // The offset of b, 64, is the last field of the head.
    let at = 24 + 2 * (8 + 1 + 4 + 8 + 4 + 8) - 8;
    assert_eq!(file[at..at + 8], 64u64.to_le_bytes());
    file[at] = 32;
    assert!(refused(&file).contains("overlap"));
}

#[test]
fn arrays_and_numbers_of_every_kind_are_read() {
    let numbers: [(u32, &[u8], Value); 9] = [
        (0, &[200], Value::Integer(200)),
        (1, &[200], Value::Integer(-56)),
        (2, &[0, 1], Value::Integer(256)),
        (3, &[255, 255], Value::Integer(-1)),
        (5, &[255, 255, 255, 255], Value::Integer(-1)),
        (7, &[1], Value::Bool(true)),
        (10, &[255; 8], Value::Integer(u64::MAX.into())),
        (11, &[255; 8], Value::Integer(-1)),
        (12, &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f], Value::Float(1.0)),
    ];
    for (kind, bytes, value) in numbers {
        let file = Writer::default().entry("v", kind, bytes).finish();
        assert_eq!(Gguf::read(&file).unwrap().metadata.get("v"), Some(&value));
    }
    let list = [&1u32.to_le_bytes()[..], &2u64.to_le_bytes(), &[1, 255]].concat();
    let file = Writer::default().entry("v", 9, &list).finish();
    assert_eq!(Gguf::read(&file).unwrap().metadata.integers("v").unwrap(), Some(&[1i64, -1][..]));
    assert!(refused(&Writer::default().entry("v", 7, &[2]).finish()).contains("neither true nor false"));
    assert!(refused(&Writer::default().entry("v", 9, &9u32.to_le_bytes()).finish()).contains("list of lists"));
    assert!(refused(&Writer::default().entry("v", 13, &[0; 8]).finish()).contains("kind 13"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut file = small().finish();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(gguf) = Gguf::read(&file) {
            for tensor in gguf.tensors.values() {
                prop_assert!(file.get(tensor.bytes.clone()).is_some());
            }
        }
    }
}

#[test]
fn every_format_is_read_as_ggml_reads_it() {
    for &format in Format::ALL {
        let file = |ending: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/gguf/{format}.{ending}"));
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let (blocks, expected) = (file("blocks"), file("f32"));
        let mut values = vec![0.0; expected.len() / 4];
        format.dequantize(&blocks, &mut values);
        for (at, (value, expected)) in values.iter().zip(expected.as_chunks::<4>().0).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{format} {at}: {value} for {expected}");
        }
    }
}
