//! Texts through a real tokenizer, and what is not one.

use super::*;
use crate::tasks::Codec;
use hearth_api::{Answer, FaultKind};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
    truncated: bool,
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/embed")
}

fn ports(datatype: Datatype, length: i64) -> Vec<TensorMetadata> {
    let port = |name: &str| TensorMetadata { name: name.into(), datatype, shape: vec![-1, length] };
    ["attention_mask", "input_ids", "position_ids", "token_type_ids"].map(port).into()
}

fn settings(max_tokens: usize) -> manifest::Text {
    manifest::Text { tokenizer: "tokenizer.json".into(), max_tokens: Some(max_tokens), prefix: String::new() }
}

fn text(max_tokens: usize) -> Text {
    Text::load(&fixture(), &settings(max_tokens), &ports(Datatype::Int64, -1)).unwrap()
}

fn payload(content_type: ContentType, bytes: impl Into<bytes::Bytes>) -> Payload {
    Payload { content_type, bytes: bytes.into() }
}

fn decode(text: &Text, json: &str) -> Decoded {
    text.decode(&payload(ContentType::Json, json.to_owned())).unwrap().unwrap()
}

fn fault(text: &Text, payload: &Payload, kind: FaultKind, says: &str) {
    let fault = text.decode(payload).unwrap_err();
    assert!(fault.kind == kind && fault.message.contains(says), "{fault}");
}

/// The elements of an input, row after row.
fn elements(decoded: &Decoded, name: &str) -> Vec<u32> {
    let tensor = decoded.inputs.iter().find(|i| i.name == name).unwrap();
    assert_eq!(tensor.data.len(), tensor.shape.iter().product::<usize>() * tensor.datatype.size().unwrap());
    tensor.data.chunks_exact(tensor.datatype.size().unwrap()).map(|e| u32::from_le_bytes(e[..4].try_into().unwrap())).collect()
}

/// A tokenizer of words, letter by letter, that adds nothing of its own.
fn letters(change: impl Fn(&str) -> String) -> (tempfile::TempDir, Result<Text, String>) {
    let plain = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"WhitespaceSplit"},
        "post_processor":null,"decoder":null,"model":{"type":"BPE","dropout":null,"unk_token":"?","continuing_subword_prefix":null,
        "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{"?":0,"a":1,"b":2,"ab":3},"merges":["a b"]}}"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), change(plain)).unwrap();
    let text = Text::load(folder.path(), &settings(4), &ports(Datatype::Int64, -1)).map_err(|e| e.to_string());
    (folder, text)
}

#[test]
fn tokens_are_those_of_the_original() {
    let expected: Vec<Expected> = serde_json::from_slice(&std::fs::read(fixture().join("expected.json")).unwrap()).unwrap();
    let text = text(64);
    for one in &expected {
        let decoded = text.decode(&payload(ContentType::Text, one.text.clone())).unwrap().unwrap();
        let (ids, mask) = (elements(&decoded, "input_ids"), elements(&decoded, "attention_mask"));
        assert_eq!(ids[..one.ids.len()], one.ids, "{}", one.text);
        assert_eq!(mask.iter().sum::<u32>() as usize, one.ids.len());
        assert_eq!(decoded.tokens, [Tokens { count: one.ids.len() as u32, truncated: one.truncated }]);
        assert!(decoded.alone && ids.len().is_multiple_of(8));
    }
}

#[test]
fn texts_of_a_list_are_padded_together_in_whatever_integers_the_graph_takes() {
    for datatype in [Datatype::Int32, Datatype::Int64] {
        let text = Text::load(&fixture(), &settings(64), &ports(datatype, -1)).unwrap();
        let decoded = decode(&text, r#"{"text":["the pump","a"]}"#);
        assert!(!decoded.alone && decoded.inputs.iter().all(|i| i.shape == [2, 8] && i.datatype == datatype));
        assert_eq!(elements(&decoded, "input_ids"), [2, 91, 100, 3, 0, 0, 0, 0, 2, 92, 3, 0, 0, 0, 0, 0]);
        assert_eq!(elements(&decoded, "attention_mask"), [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(elements(&decoded, "token_type_ids"), [0; 16]);
        assert_eq!(elements(&decoded, "position_ids"), [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7]);
    }
    let fixed = Text::load(&fixture(), &settings(64), &ports(Datatype::Int64, 10)).unwrap();
    let decoded = decode(&fixed, r#"{"text":"the pump is leaking oil on the motor"}"#);
    assert_eq!((decoded.inputs[0].shape.as_slice(), decoded.tokens[0].truncated), ([1, 10].as_slice(), true));
}

#[test]
fn lengths_recur() {
    assert_eq!([1, 8, 9, 60, 65, 100, 129, 500].map(|n| padded(n, 512)), [8, 8, 16, 64, 72, 104, 144, 512]);
    assert_eq!([3, 9, 10].map(|n| padded(n, 10)), [8, 10, 10]);
    for n in 1..=512 {
        assert!((n..=n + 8.max(n / 8)).contains(&padded(n, 512)), "{n}");
    }
}

#[test]
fn a_prefix_goes_before_each_text() {
    let prefixed = manifest::Text { prefix: "the ".into(), ..settings(64) };
    let prefixed = Text::load(&fixture(), &prefixed, &ports(Datatype::Int64, -1)).unwrap();
    assert_eq!(decode(&prefixed, r#"{"text":["pump"]}"#).inputs, decode(&text(64), r#"{"text":["the pump"]}"#).inputs);
}

#[test]
fn strings_of_a_v2_request_are_texts_and_its_integers_stay_tensors() {
    let text = text(64);
    let v2 = r#"{"inputs":[{"name":"text","datatype":"BYTES","shape":[2],"data":["the pump","a"]}]}"#;
    assert_eq!(decode(&text, v2), decode(&text, r#"{"text":["the pump","a"]}"#));
    let header = r#"{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}"#;
    let bytes = [header.as_bytes(), b"\x01\0\0\0a"].concat();
    let binary = payload(ContentType::Binary { header_length: Some(header.len()) }, bytes);
    assert_eq!(text.decode(&binary).unwrap().unwrap().inputs, decode(&text, r#"{"text":["a"]}"#).inputs);
    let tokens = r#"{"inputs":[{"name":"input_ids","datatype":"INT64","shape":[1,1],"data":[1]}]}"#;
    assert_eq!(text.decode(&payload(ContentType::Json, tokens)).unwrap(), None);
}

#[test]
fn what_is_no_text_is_said() {
    let (text, bad) = (text(64), FaultKind::BadRequest);
    let json = |text: &str| payload(ContentType::Json, text.to_owned());
    fault(&text, &payload(ContentType::Text, &b"caf\xe9 au lait"[..]), bad, "the text is not UTF-8 from byte 3 on");
    fault(&text, &payload(ContentType::Text, " \t\r\n"), bad, "the text is blank");
    fault(&text, &json(r#"{"text":["a","  "]}"#), bad, "text 1 is blank");
    fault(&text, &json(r#"{"text":[]}"#), bad, "there is no text");
    fault(&text, &json(r#"{"text":7}"#), bad, "neither {\"text\": ...}");
    fault(&text, &json(r#"{"words":"a"}"#), bad, "neither \"text\" nor \"inputs\"");
    fault(&text, &json(r#"{"text":"a","inputs":[]}"#), bad, "both");
    fault(&text, &json(r#"{"inputs":[{"name":"t","datatype":"BYTES","shape":[1],"data":["a"]}]}"#), bad, "the texts are called \"text\"");
    let header = r#"{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}"#;
    let bytes = [header.as_bytes(), b"\x01\0\0\0\xff"].concat();
    fault(&text, &payload(ContentType::Binary { header_length: Some(header.len()) }, bytes), bad, "text 0 is not UTF-8");
    let (_folder, letters) = letters(|plain| plain.replace("\"unk_token\":\"?\"", "\"unk_token\":null"));
    fault(&letters.unwrap(), &payload(ContentType::Text, "xyz"), bad, "leaves nothing of the text");
}

#[test]
fn more_than_can_be_held_is_refused() {
    let (text, large) = (text(64), FaultKind::TooLarge);
    let many = |n: usize, words: &str| payload(ContentType::Json, serde_json::json!({"text": vec![words; n]}).to_string());
    fault(&text, &many(10_000, "a"), large, "has 10000 texts; at most 64");
    fault(&text, &many(64, &"a ".repeat(10_000)), large, "bytes of text");
    fault(&text, &payload(ContentType::Text, "a".repeat(MAX_BYTES + 1)), large, "at most 1048576");
    let long = Text::load(&fixture(), &settings(2048), &ports(Datatype::Int64, -1)).unwrap();
    fault(&long, &many(9, &"a ".repeat(3000)), large, "18432 tokens in all");
}

#[test]
fn a_text_of_a_megabyte_is_cut_before_it_is_read() {
    let text = text(64);
    let start = Instant::now();
    for word in ["the pump ", "                ", "x", "水", "e\u{301}", "\u{1f525}"] {
        let long = "the motor ".to_owned() + &word.repeat((MAX_BYTES - 10) / word.len());
        let decoded = text.decode(&payload(ContentType::Text, long)).unwrap().unwrap();
        assert!(decoded.tokens[0].truncated && elements(&decoded, "input_ids")[..3] == [2, 91, 102], "{word}");
    }
    // Six megabytes; whole, each takes about a second of a small board.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_tokenizer_that_adds_nothing_still_tells_what_is_cut_and_may_keep_the_end() {
    let (_folder, text) = letters(str::to_owned);
    let text = text.unwrap();
    for (words, ids, truncated) in [("a b ab", vec![1, 2, 3], false), ("a a a a", vec![1; 4], false), ("a b b b a", vec![1, 2, 2, 2], true)]
    {
        let decoded = decode(&text, &serde_json::json!({ "text": words }).to_string());
        assert_eq!((&elements(&decoded, "input_ids")[..ids.len()], decoded.tokens[0].truncated), (&ids[..], truncated), "{words}");
    }
    let left = r#""truncation":{"direction":"Left","max_length":9,"strategy":"LongestFirst","stride":0}"#;
    let (_folder, text) = letters(|plain| plain.replace("\"truncation\":null", left));
    let text = text.unwrap();
    assert_eq!(elements(&decode(&text, r#"{"text":"a b b b a"}"#), "input_ids"), [2, 2, 2, 1]);
    let long = serde_json::json!({"text": "b ".repeat(100_000) + "a"}).to_string();
    assert_eq!(elements(&decode(&text, &long), "input_ids"), [2, 2, 2, 1]);
}

#[test]
fn a_broken_tokenizer_is_refused_with_its_file_and_the_mend() {
    let refused = |change: &dyn Fn(&str) -> String| letters(change).1.expect_err("refused");
    let broken = refused(&|plain| plain[..300].to_owned());
    assert!(broken.contains("tokenizer.json: it is no tokenizer: EOF") && broken.contains("published with the model"), "{broken}");
    assert!(refused(&|_| "{}".into()).contains("it is no tokenizer"));
    assert!(refused(&|plain| plain.replace("\"a b\"", "\"a c\"")).contains("it is no tokenizer"));
    assert!(refused(&|plain| plain.replace("\"dropout\":null", "\"dropout\":0.1")).contains("dropout"));
    let regex = format!(r#"{{"type":"Split","pattern":{{"Regex":"{}"}},"behavior":"Isolated","invert":false}}"#, "(a{1000}){1000}");
    assert!(refused(&|plain| plain.replace(r#"{"type":"WhitespaceSplit"}"#, &regex)).contains("it is no tokenizer"));
    let error = Text::load(Path::new("/no/such/folder"), &settings(64), &ports(Datatype::Int64, -1)).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: cannot be read"), "{error}");
    let error = Text::load(&fixture(), &settings(2), &ports(Datatype::Int64, -1)).unwrap_err().to_string();
    assert!(error.contains("no room beside the 2 that the tokenizer adds"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("tokenizer.json")).unwrap().set_len(MAX_FILE + 1).unwrap();
    let error = Text::load(folder.path(), &settings(64), &ports(Datatype::Int64, -1)).unwrap_err().to_string();
    assert!(error.contains("longer than 67108864 bytes"), "{error}");
}

#[test]
fn a_pattern_that_would_take_for_ever_ends() {
    // Every way to split the text is tried: the engine gives up after a million steps, and what is left stays one piece.
    let regex = r#"{"type":"Split","pattern":{"Regex":"(a|b|ab)*(?>c)"},"behavior":"Isolated","invert":false}"#;
    let (_folder, text) = letters(|plain| plain.replace(r#"{"type":"WhitespaceSplit"}"#, regex));
    let start = Instant::now();
    let decoded = decode(&text.unwrap(), &serde_json::json!({"text": "ab".repeat(1000)}).to_string());
    assert_eq!((elements(&decoded, "input_ids"), decoded.tokens[0].truncated), (vec![3; 4], true));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_graph_that_takes_no_texts_is_refused() {
    let refused = |ports: &[TensorMetadata]| Text::load(&fixture(), &settings(64), ports).unwrap_err().to_string();
    let all = ports(Datatype::Int64, -1);
    assert!(refused(&all[1..]).contains("lacks an input"));
    assert!(refused(&ports(Datatype::Fp32, -1)).contains("tokens are INT64 or INT32"));
    let image = TensorMetadata { name: "pixel_values".into(), datatype: Datatype::Fp32, shape: vec![-1, 3, 8, 8] };
    assert!(refused(&[all.clone(), vec![image]].concat()).contains("\"pixel_values\""));
    let mut uneven = all;
    uneven[0].shape[1] = 7;
    assert!(refused(&uneven).contains("as many in every input"));
}

#[test]
fn a_class_of_a_text_is_answered_too() {
    let manifest = "name = \"m\"\nversion = \"1\"\nfile = \"model.onnx\"\ntask = { kind = \"classify\", labels = [\"good\", \"bad\"] }\n[text]\ntokenizer = \"tokenizer.json\"\n";
    let output = TensorMetadata { name: "logits".into(), datatype: Datatype::Fp32, shape: vec![-1, 2] };
    let codec = Codec::load(&fixture(), &toml::from_str(manifest).unwrap(), &ports(Datatype::Int64, -1), &[output]).unwrap();
    let decoded = codec.decode(&payload(ContentType::Text, "the pump is leaking")).unwrap();
    let Answer::Labels { labels } = codec.encode(&decoded, vec![Tensor::from_f32("logits", vec![1, 2], &[-1.0, 1.0])]).unwrap() else {
        panic!()
    };
    assert_eq!(labels[0].label, "bad");
    let two = codec.decode(&payload(ContentType::Json, r#"{"text":["a","b"]}"#)).unwrap_err();
    assert!(two.message.contains("one answer a request"), "{two}");
    let picture = codec.decode(&payload(ContentType::Png, &b"\x89PNG\r\n"[..])).unwrap_err();
    assert!(picture.message.contains("it takes text/plain"), "{picture}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes, under whatever name: tokens or a fault, never a panic, never more than is taken.
    #[test]
    fn no_text_harms(words: String, noise in prop::collection::vec(any::<u8>(), 1..200), times in 1..40usize) {
        static TEXT: LazyLock<Text> = LazyLock::new(|| text(64));
        let list = serde_json::json!({"text": [words, words.repeat(times)]}).to_string();
        for (content_type, bytes) in [
            (ContentType::Text, words.repeat(times).into_bytes()),
            (ContentType::Json, list.into_bytes()),
            (ContentType::Text, noise.clone()),
            (ContentType::Json, noise.clone()),
            (ContentType::Binary { header_length: Some(noise.len() / 2) }, noise.clone()),
        ] {
            if let Ok(Some(decoded)) = TEXT.decode(&payload(content_type, bytes)) {
                prop_assert!(decoded.tokens.iter().all(|t| (2..=64).contains(&t.count)));
                prop_assert!(decoded.inputs.iter().all(|input| input.shape[0] == decoded.tokens.len() && input.shape[1] <= 64));
            }
        }
    }
}
