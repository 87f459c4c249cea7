//! `hearthctl infer`: one file, or texts, and one answer.

use crate::broker::{BrokerClient, BrokerOptions};
use crate::bus::{BusClient, CALL_TIMEOUT};
use crate::{CallError, Where, embedding, input, text};
use clap::Args;
use hearth_api::{Answer, Detection, FaultBody, ModelName, Priority, Reply};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use zbus::Variant;

/// `hearthctl infer`
#[derive(Debug, Args)]
pub struct Options {
    /// The model
    model: ModelName,
    /// A picture (JPEG, PNG), a recording (WAV), a text, or an Open Inference Protocol v2 request (JSON)
    #[arg(required_unless_present = "text", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// A text instead of a file; several times: a list of texts
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// What the file is, where neither its ending nor its first bytes tell
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// high, normal or background
    #[arg(long, default_value = "normal")]
    priority: Priority,
    /// How long the answer is worth having, in milliseconds
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    broker: BrokerOptions,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let payload = match &options.file {
        Some(file) => input::read(file, options.content_type.as_deref())?,
        None => input::texts(&options.text),
    };
    let timeout = options.timeout_ms.map_or(CALL_TIMEOUT, Duration::from_millis);
    let answered = if options.broker.mqtt.is_some() {
        let id = format!("ctl-{}", std::process::id());
        let client = BrokerClient::connect(&options.broker).await?;
        let answered = client.infer(&options.model, &id, &payload, options.priority, timeout).await;
        answered.and_then(|a| a.json())
    } else {
        let bus = BusClient::connect(&options.at.bus).await?;
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let call = [("priority", Variant::from(options.priority.as_str())), ("timeout_ms", Variant::from(milliseconds))];
        let answered = bus.infer(&options.model, &payload, &call.into()).await;
        answered.and_then(|a| a.json().map_err(CallError::Unreachable))
    };
    match answered {
        Ok(reply) if options.at.json => println!("{reply}"),
        Ok(reply) => println!("{}", describe(&serde_json::from_value(reply)?)),
        Err(CallError::Fault(fault)) if options.at.json => {
            println!("{}", serde_json::to_string(&FaultBody::new(None, Some(options.model), fault))?);
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// An answer and where its time went, for a person.
pub(crate) fn describe(reply: &Reply) -> String {
    let t = &reply.timings;
    let said = match &reply.answer {
        Answer::Boxes { boxes, .. } if !boxes.is_empty() => boxes_table(boxes),
        other => answer(other),
    };
    format!(
        "{said}\n(queued {} µs, batched {} µs, computed {} µs; batch of {}, {} thread{})",
        t.queued_us,
        t.batched_us,
        t.computed_us,
        reply.batch,
        reply.threads,
        if reply.threads == 1 { "" } else { "s" }
    )
}

/// A box a line.
fn boxes_table(boxes: &[Detection]) -> String {
    let pixels = |value: f32| format!("{value:.1}");
    let row = |b: &Detection| {
        let score = format!("{:.1} %", b.score * 100.0);
        vec![b.label.clone(), score, pixels(b.x), pixels(b.y), pixels(b.width), pixels(b.height)]
    };
    text::table(&["LABEL", "SCORE", "X", "Y", "WIDTH", "HEIGHT"], &boxes.iter().map(row).collect::<Vec<_>>())
}

/// What a task says, in a line; a line each for several vectors.
pub fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Labels { labels } => labels.iter().map(|l| format!("{} {:.1} %", l.label, l.score * 100.0)).collect::<Vec<_>>().join(", "),
        Answer::Reading { reading } => format!("{:.3} {}", reading.value, reading.unit),
        Answer::Anomaly { anomaly } => format!("{} (score {:.3}, threshold {:.3})", anomaly.verdict, anomaly.score, anomaly.threshold),
        Answer::Boxes { boxes, .. } => counted(boxes.iter().map(|b| b.label.as_str())),
        Answer::Embedding { embedding, tokens, truncated } => embedding::one(embedding, *tokens, *truncated),
        Answer::Embeddings(list) => embedding::list(list),
        Answer::Chat(chat) => chat.choices.iter().map(|choice| choice.message.content.as_str()).collect(),
        Answer::Outputs { outputs } => {
            outputs.iter().map(|t| format!("{} {:?} {:?}", t.name, t.datatype, t.shape)).collect::<Vec<_>>().join(", ")
        }
    }
}

/// How many there are of each label, by name: `2 bolt, 1 nut`.
pub fn counted<'l>(labels: impl Iterator<Item = &'l str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    labels.for_each(|label| *counts.entry(label).or_default() += 1);
    if counts.is_empty() {
        return "nothing found".into();
    }
    counts.iter().map(|(label, count)| format!("{count} {label}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::{ImageSize, RequestId, Timings};

    #[test]
    fn boxes_are_told_one_a_line() {
        let found = |label: &str, score, x| Detection { label: label.into(), score, x, y: 8.0, width: 40.13, height: 22.7 };
        let reply = |boxes| Reply {
            id: RequestId::new("7").unwrap(),
            model: ModelName::new("parts").unwrap(),
            model_version: "1".into(),
            answer: Answer::Boxes { boxes, image: ImageSize { width: 320, height: 240 } },
            timings: Timings { queued_us: 1, batched_us: 2, computed_us: 3 },
            batch: 1,
            threads: 1,
            performance_degraded: String::new(),
        };
        let boxes = vec![found("bolt", 0.93, 112.5), found("nut", 0.5, 2.0), found("bolt", 0.41, 0.0)];
        assert_eq!(counted(boxes.iter().map(|b| b.label.as_str())), "2 bolt, 1 nut");
        assert_eq!(
            describe(&reply(boxes)),
            "LABEL  SCORE   X      Y    WIDTH  HEIGHT\n\
             bolt   93.0 %  112.5  8.0  40.1   22.7\n\
             nut    50.0 %  2.0    8.0  40.1   22.7\n\
             bolt   41.0 %  0.0    8.0  40.1   22.7\n\
             (queued 1 µs, batched 2 µs, computed 3 µs; batch of 1, 1 thread)"
        );
        assert!(describe(&reply(Vec::new())).starts_with("nothing found\n"));
    }
}
