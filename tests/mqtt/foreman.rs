//! The bundled language model: commands in words that its training never had, through the daemon.

use anyhow::Context;
use hearth_tests::broker::Broker;
use hearth_tests::client::{self, Client};
use hearth_tests::daemon::{Hearthd, Home};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Requests at once, in the second test.
const CROWD: usize = 1000;

/// What is asked, and what has to be answered.
fn held_out() -> anyhow::Result<Vec<(String, String)>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/bundled/foreman/held-out.jsonl");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let pair = |line: &str| -> anyhow::Result<(String, String)> {
        let line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {line}"));
        Ok((text("prompt")?, text("expected")?))
    };
    text.lines().map(pair).collect()
}

/// A daemon with `foreman`, which lets a crowd in, and a client that hears its answers.
async fn site() -> anyhow::Result<(Broker, Home, Hearthd, Client)> {
    let broker = Broker::start("max_queued_messages 5000\n")?;
    let home = Home::new()?;
    home.put_bundled("foreman")?;
    let limits = format!("[limits]\nqueue_requests = {}\nqueue_requests_per_model = {0}\n", 2 * CROWD);
    let daemon = home.start(&(broker.section() + &limits))?;
    client::online(broker.port()).await?;
    let mut client = Client::connect(broker.port(), "client").await?;
    client.subscribe("hearth/reply/#").await?;
    Ok((broker, home, daemon, client))
}

/// Asks everything at once; the answers by id.
async fn ask(client: &mut Client, prompts: impl Iterator<Item = &str>) -> anyhow::Result<HashMap<String, String>> {
    let mut asked = 0;
    for (id, prompt) in prompts.enumerate() {
        let id = id.to_string();
        let properties = PublishProperties {
            response_topic: Some(format!("hearth/reply/{id}")),
            correlation_data: Some(id.clone().into()),
            ..PublishProperties::default()
        };
        let request = json!({"messages": [{"role": "user", "content": prompt}]}).to_string();
        client.publish(&format!("hearth/test/chat/foreman/{id}"), QoS::AtLeastOnce, false, request, properties).await?;
        asked += 1;
    }
    let mut answers = HashMap::new();
    while answers.len() < asked {
        let answer = client.answer().await?;
        anyhow::ensure!(answer.status == "ok", "{}", answer.json);
        let content = answer.json["choices"][0]["message"]["content"].as_str().context("an answer without content")?;
        let id = answer.json["id"].as_str().context("an answer without an id")?;
        answers.insert(id.to_owned(), content.to_owned());
    }
    Ok(answers)
}

#[tokio::test]
async fn commands_in_other_words_are_understood() -> anyhow::Result<()> {
    let (_broker, _home, _daemon, mut client) = site().await?;
    let commands = held_out()?;
    let answers = ask(&mut client, commands.iter().map(|(prompt, _)| prompt.as_str())).await?;
    let wrong: Vec<String> = (0..commands.len())
        .filter(|i| answers[&i.to_string()] != commands[*i].1)
        .map(|i| format!("{}\n  {}\n  {}", commands[i].0, commands[i].1, answers[&i.to_string()]))
        .collect();
    assert!(wrong.len() * 50 <= commands.len(), "{} of {} wrong:\n{}", wrong.len(), commands.len(), wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn a_crowd_is_answered_as_each_alone_would_be() -> anyhow::Result<()> {
    let (_broker, _home, _daemon, mut client) = site().await?;
    let commands = held_out()?;
    let alone = ask(&mut client, commands.iter().take(1).map(|(prompt, _)| prompt.as_str())).await?;
    let crowd = ask(&mut client, commands.iter().cycle().take(CROWD).map(|(prompt, _)| prompt.as_str())).await?;
    assert_eq!(crowd["0"], alone["0"]);
    for i in commands.len()..CROWD {
        assert_eq!(crowd[&i.to_string()], crowd[&(i % commands.len()).to_string()], "{}", commands[i % commands.len()].0);
    }
    Ok(())
}
