//! Texts: a folder as Hugging Face has it is installed by `hearthctl model add`, and answers what is asked over the bus.

use crate::client::{Options, fault, hearthctl, infer, model, printed, wait_for_name};
use hearth_api::{Answer, Reply};
use hearth_tests::bus::{Bus, bytes, repository};
use hearth_tests::daemon::Home;
use std::path::Path;
use zbus::Variant;

/// What was published with the weights, beside a file that is of no use here.
fn published(folder: &Path) -> anyhow::Result<()> {
    let fixture = repository("models/fixtures/embed");
    for sub in ["onnx", "1_Pooling", ".git"] {
        std::fs::create_dir_all(folder.join(sub))?;
    }
    std::fs::copy(fixture.join("model.onnx"), folder.join("onnx/model.onnx"))?;
    std::fs::copy(fixture.join("tokenizer.json"), folder.join("tokenizer.json"))?;
    let module = |path: &str, name: &str| serde_json::json!({"path": path, "type": format!("sentence_transformers.models.{name}")});
    let modules = [module("", "Transformer"), module("1_Pooling", "Pooling"), module("2_Normalize", "Normalize")];
    for (name, content) in [
        ("modules.json", serde_json::to_string(&modules)?),
        ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#.into()),
        ("sentence_bert_config.json", r#"{"max_seq_length": 64, "do_lower_case": false}"#.into()),
        ("model.safetensors", "weights for others".into()),
        (".git/config", "nobody's".into()),
    ] {
        std::fs::write(folder.join(name), content)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_published_folder_is_installed_and_answers_texts() -> anyhow::Result<()> {
    let (bus, home) = (Bus::start()?, Home::new()?);
    let _daemon = home.start(&format!("[dbus]\nbus = {:?}\n", bus.address()))?;
    let client = bus.connect().await?;
    wait_for_name(&client).await?;
    let folder = home.path("Tiny_Encoder");
    published(&folder)?;
    let added = printed(&hearthctl(&bus, &["model", "add", &folder.display().to_string()])?);
    assert!(added.starts_with("tiny_encoder ") && added.ends_with("is installed and serves\n"), "{added}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(home.store().join("tiny_encoder/active/check.json"))?)?;
    let compared = report["comparisons"].as_array().into_iter().flatten().any(|c| c["input"] == "sample.txt");
    assert!(compared && report["samples"]["right"] == 1, "{report}");

    let encoder = model(&client, "tiny_encoder").await?;
    assert_eq!(encoder.get_property::<String>("Task").await?, "embed");
    let expected: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(repository("models/fixtures/embed/expected.json"))?)?;
    let text = expected[0]["text"].as_str().unwrap_or_default();
    let (_, result, _) = infer(&encoder, "text/plain", Variant::from(text.as_bytes().to_vec()), Options::new()).await?;
    let reply: Reply = serde_json::from_slice(&bytes(result)?)?;
    let Answer::Embedding { embedding, tokens, truncated } = reply.answer else { panic!("{reply:?}") };
    assert_eq!((embedding.len(), tokens, truncated), (32, Some(9), Some(false)));
    for (have, want) in embedding.iter().zip(expected[0]["vector"].as_array().into_iter().flatten()) {
        assert!((f64::from(*have) - want.as_f64().unwrap_or(9.0)).abs() < 1e-4, "{have} {want}");
    }
    let (name, message, _) = fault(infer(&encoder, "text/plain", Variant::from(vec![0xffu8]), Options::new()).await);
    assert_eq!((name.as_str(), message.as_str()), ("BadRequest", "the text is not UTF-8 from byte 0 on"));

    let one = printed(&hearthctl(&bus, &["infer", "tiny_encoder", "--text", text])?);
    assert!(one.starts_with("32 values of 9 tokens, length 1.000: -0.0734, -0.1374, "), "{one}");
    let file = home.path("note.txt");
    std::fs::write(&file, text)?;
    let of_file = printed(&hearthctl(&bus, &["infer", "tiny_encoder", &file.display().to_string()])?);
    assert_eq!(of_file.lines().next(), one.lines().next());
    let several = printed(&hearthctl(&bus, &["infer", "tiny_encoder", "--text", "the pump", "--text", "The PUMP"])?);
    assert!(several.contains("1.000 like the first"), "{several}");
    let json = printed(&hearthctl(&bus, &["infer", "tiny_encoder", "--json", "--text", "the pump", "--text", "a"])?);
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["tokens"], serde_json::json!([4, 3]));

    std::fs::remove_file(folder.join("modules.json"))?;
    let refused = hearthctl(&bus, &["model", "add", &folder.display().to_string(), "--name", "other"])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("Put a manifest.toml into the folder") && said.contains("pooling"), "{said}");
    Ok(())
}
