//! Other people's clients.

use crate::Site;
use anyhow::ensure;
use hearth_tests::client::tensor;
use hearth_tests::daemon::python;
use serde_json::{Value, json};

#[tokio::test]
async fn an_mqtt_3_client_in_python_gets_its_answer() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let run = python("ask_311.py").arg(site.broker.port().to_string()).arg(tensor(&[4.0])).output()?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let answer: Value = serde_json::from_slice(&run.stdout)?;
    assert_eq!((&answer["id"], &answer["outputs"][0]["data"]), (&json!("7"), &json!([-4.0])));
    Ok(())
}
