//! What became of a model's graph, as the check found it: over the bus, and by `hearthctl model show --graph`.

use crate::client::{fault, hearthctl, model, printed, wait_for_name};
use hearth_tests::bus::{Bus, repository};
use hearth_tests::daemon::Home;
use hearth_tests::onnx;

/// A kind of operators that run, as `Graph` returns it.
type Kind = (String, String, String, u32, u64, f64);

#[tokio::test]
async fn a_quantized_model_is_told_to_run_on_integers() -> anyhow::Result<()> {
    let (bus, home) = (Bus::start()?, Home::new()?);
    home.put("negate", "1.0", onnx::negate)?;
    let _daemon = home.start(&format!("[dbus]\nbus = {:?}\n", bus.address()))?;
    let client = bus.connect().await?;
    wait_for_name(&client).await?;
    printed(&hearthctl(&bus, &["model", "add", &repository("models/bundled/digits").display().to_string()])?);

    let digits = model(&client, "digits").await?;
    let (file, runs): (Vec<(String, u32)>, Vec<Kind>) = digits.call("Graph", &()).await?;
    let count = |name: &str| file.iter().find(|(found, _)| found == name).map_or(0, |(_, count)| *count);
    assert!(count("QuantizeLinear") > 1 && count("DequantizeLinear") > 1 && count("Conv") > 0, "{file:?}");
    let convolutions: Vec<&Kind> = runs.iter().filter(|kind| kind.0.ends_with("Conv")).collect();
    assert_eq!(convolutions.iter().map(|kind| kind.3).sum::<u32>(), count("Conv"), "{runs:?}");
    for (_, takes, gives, _, weights, microseconds) in convolutions {
        assert!(takes == "i8" && gives == "i8" && *weights > 0 && *microseconds > 0.0, "{runs:?}");
    }
    // Nothing but its ends is on floats.
    let left = |name: &str| runs.iter().find(|kind| kind.0 == name).map_or(0, |kind| kind.3);
    assert!(left("Quantize") <= 1 && left("Dequantize") <= 1, "{runs:?}");

    let table = printed(&hearthctl(&bus, &["model", "show", "digits", "--graph"])?);
    for heading in ["IN THE FILE", "WHAT RUNS", "SHARE"] {
        assert!(table.contains(heading), "{table}");
    }
    let json = printed(&hearthctl(&bus, &["model", "show", "digits", "--graph", "--json"])?);
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["runs"].as_array().map(Vec::len), Some(runs.len()));

    // Put there by hand, it was never checked.
    let unchecked = model(&client, "negate").await?;
    let (name, message, _) = fault(unchecked.call::<_, _, (Vec<(String, u32)>, Vec<Kind>)>("Graph", &()).await);
    assert!(name == "BadRequest" && message.contains("hearthctl model add"), "{name}: {message}");
    Ok(())
}
