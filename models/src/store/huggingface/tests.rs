//! Folders as they are published, and those that leave something open.

use super::*;
use crate::store::{Source, Store};

const MODULES: &str = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
    {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
    {"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#;
const POOLING: &str = r#"{"word_embedding_dimension":32,"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}"#;

/// A folder with the files of a published encoder, changed by `change`.
fn folder(change: impl Fn(&Path)) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("All-Mini_LM.v2");
    for sub in ["onnx", "1_Pooling"] {
        fs::create_dir_all(folder.join(sub)).unwrap();
    }
    for (name, content) in [
        ("config.json", r#"{"_name_or_path":"nreimers/MiniLM","architectures":["BertModel"],"max_position_embeddings":512}"#),
        ("sentence_bert_config.json", r#"{"max_seq_length":256,"do_lower_case":false}"#),
        ("config_sentence_transformers.json", r#"{"__version__":{},"prompts":{"query":"query: "},"default_prompt_name":null}"#),
        ("tokenizer_config.json", r#"{"model_max_length":1000000000000000019884624838656}"#),
        ("modules.json", MODULES),
        ("1_Pooling/config.json", POOLING),
        ("tokenizer.json", "{}"),
        ("onnx/model.onnx", "graph"),
        ("onnx/model.onnx_data", "weights"),
        ("onnx/model_O4.onnx", "another"),
        ("model.safetensors", "weights of torch"),
        ("README.md", "words"),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    change(&folder);
    root
}

fn install(change: impl Fn(&Path)) -> Result<crate::Installed, String> {
    let (root, source) = (tempfile::tempdir().unwrap(), folder(change));
    let store = Store::open(root.path()).unwrap();
    let folder = Source::Folder(source.path().join("All-Mini_LM.v2"));
    let installed = store.install(&folder, &|staged| Manifest::read(staged).and_then(|m| m.verify(staged)).map_err(|e| panic!("{e}")));
    installed.map_err(|e| e.to_string())
}

#[test]
fn a_published_folder_needs_no_manifest() {
    let (root, source) = (tempfile::tempdir().unwrap(), folder(|_| ()));
    let store = Store::open(root.path()).unwrap();
    let installed = store.install(&Source::Folder(source.path().join("All-Mini_LM.v2")), &|_| Ok(())).unwrap();
    let manifest = &installed.manifest;
    assert_eq!((manifest.name.as_str(), manifest.file.as_str(), manifest.version.len()), ("all-mini_lm.v2", "onnx/model.onnx", 12));
    assert_eq!(manifest.task, Task::Embed(Embed { pooling: Some(Pooling::Mean), normalise: true, output: None }));
    let text = manifest.text.as_ref().unwrap();
    assert_eq!((text.tokenizer.as_str(), text.max_tokens, text.prefix.as_str()), ("tokenizer.json", Some(256), ""));
    assert_eq!(manifest.origin, "based on nreimers/MiniLM");
    let named: Vec<&str> = manifest.sha256.keys().map(String::as_str).collect();
    assert_eq!(named, ["onnx/model.onnx", "onnx/model.onnx_data", "sample.txt", "tokenizer.json"]);
    for left in ["onnx/model_O4.onnx", "model.safetensors", "README.md", "config.json"] {
        assert!(!installed.directory.join(left).exists(), "{left}");
    }
}

#[test]
fn what_a_folder_says_is_taken_over() {
    let wrote = |name: &'static str, content: &'static str| {
        let installed = install(move |folder| fs::write(folder.join(name), content).unwrap()).unwrap();
        let Task::Embed(embed) = installed.manifest.task else { panic!() };
        (embed, installed.manifest.text.unwrap(), installed.manifest.version)
    };
    assert_eq!(wrote("1_Pooling/config.json", r#"{"pooling_mode_cls_token":true}"#).0.pooling, Some(Pooling::Cls));
    assert_eq!(wrote("1_Pooling/config.json", r#"{"pooling_mode_lasttoken":true,"include_prompt":true}"#).0.pooling, Some(Pooling::Last));
    assert_eq!(wrote("1_Pooling/config.json", r#"{"pooling_mode":"mean","include_prompt":true}"#).0.pooling, Some(Pooling::Mean));
    let prompts = r#"{"prompts":{"query":"query: "},"default_prompt_name":"query"}"#;
    assert_eq!(wrote("config_sentence_transformers.json", prompts).1.prefix, "query: ");
    assert_eq!(wrote("sentence_bert_config.json", r#"{"max_seq_length":null}"#).1.max_tokens, Some(512));
    assert_eq!(wrote("sentence_bert_config.json", r#"{"max_seq_length":8192}"#).1.max_tokens, Some(512));
    let short = MODULES.split(",\n    {\"idx\":2").next().unwrap().to_owned() + "]";
    assert!(!wrote("modules.json", Box::leak(short.into_boxed_str())).0.normalise);
    assert_ne!(wrote("tokenizer.json", "{ }").2, wrote("README.md", "other").2);
}

#[test]
fn what_is_not_clear_is_said_with_the_manifest_to_write() {
    let wrote =
        |name: &'static str, content: &'static str| install(move |folder| fs::write(folder.join(name), content).unwrap()).unwrap_err();
    let removed = |name: &'static str| install(move |folder| fs::remove_file(folder.join(name)).unwrap()).unwrap_err();
    for (error, says) in [
        (removed("modules.json"), "no modules.json says how"),
        (removed("1_Pooling/config.json"), "1_Pooling/config.json is missing"),
        (wrote("1_Pooling/config.json", r#"{"pooling_mode_max_tokens":true}"#), "pools by max_tokens"),
        (wrote("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#), "cls_token and mean_tokens"),
        (wrote("modules.json", r#"[{"path":"","type":"a.Transformer"},{"path":"2_Dense","type":"a.Dense"}]"#), "a step \"Dense\""),
        (wrote("modules.json", "[]"), "no step \"Pooling\""),
        (wrote("sentence_bert_config.json", r#"{"do_lower_case":true}"#), "lower-case"),
    ] {
        assert!(
            error.contains(says) && error.contains("pooling = \"mean\"") && error.contains("tokenizer = \"tokenizer.json\""),
            "{error}"
        );
    }
    assert!(wrote("modules.json", "{").contains("modules.json is not as Hugging Face has it"));
    let outside = r#"[{"path":"../../etc","type":"a.Pooling"}]"#;
    assert!(wrote("modules.json", outside).contains("is not inside the folder"));
}

#[test]
fn the_only_graph_is_the_one_and_of_several_it_has_to_be_said() {
    let only = install(|folder| fs::remove_file(folder.join("onnx/model.onnx")).unwrap()).unwrap();
    assert_eq!(only.manifest.file, "onnx/model_O4.onnx");
    let several = install(|folder| fs::rename(folder.join("onnx/model.onnx"), folder.join("onnx/model_int8.onnx")).unwrap()).unwrap_err();
    assert!(several.contains("onnx/model_O4.onnx") && several.contains("Name it model.onnx"), "{several}");
    let none = install(|folder| fs::remove_dir_all(folder.join("onnx")).unwrap()).unwrap_err();
    assert!(none.contains("has no .onnx file"), "{none}");
}
