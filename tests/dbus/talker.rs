//! Talks with a language model, a small one with random weights, through the pipe and through `hearthctl chat`.

use crate::client::{Options, PATIENCE, call, hearthctl, model, printed, proxy, wait_for_name};
use anyhow::{Context, ensure};
use hearth_api::chat::{Chat, ChatChunk};
use hearth_api::dbus::JOB_INTERFACE;
use hearth_api::{Answer, Reply};
use hearth_tests::bus::Bus;
use hearth_tests::daemon::{Hearthd, Home, program};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use zbus::{Connection, OwnedObjectPath, Proxy, Variant};

/// A bus with a daemon that serves a language model.
struct Shop {
    _daemon: Hearthd,
    bus: Bus,
    client: Connection,
    _home: Home,
}

impl Shop {
    async fn open() -> anyhow::Result<Shop> {
        let (bus, home) = (Bus::start()?, Home::new()?);
        home.put_talker()?;
        let daemon = home.start(&format!("[dbus]\nbus = {:?}\n", bus.address()))?;
        let client = bus.connect().await?;
        wait_for_name(&client).await?;
        Ok(Shop { _daemon: daemon, bus, client, _home: home })
    }

    /// Calls Chat; gives the job's object and the lines of the pipe.
    async fn chat(&self, request: &Value) -> anyhow::Result<(Proxy<'static>, Lines<BufReader<pipe::Receiver>>)> {
        let arguments = ("application/json", Variant::from(request.to_string().into_bytes()), Options::new());
        let (job, pipe): (OwnedObjectPath, zbus::OwnedFd) = call(&model(&self.client, "talker").await?, "Chat", &arguments).await?;
        let lines = BufReader::new(pipe::Receiver::from_owned_fd(pipe.into())?).lines();
        Ok((proxy(&self.client, job.as_str(), JOB_INTERFACE).await?, lines))
    }
}

/// Every chunk, and the whole answer after them.
async fn heard(lines: &mut Lines<BufReader<pipe::Receiver>>) -> anyhow::Result<(Vec<ChatChunk>, Chat)> {
    let mut chunks = Vec::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await?.context("the pipe")?.context("it ends without an answer")?;
        match serde_json::from_str::<ChatChunk>(&line) {
            Ok(chunk) => chunks.push(chunk),
            Err(_) => {
                let reply: Reply = serde_json::from_str(&line).with_context(|| line.clone())?;
                ensure!(lines.next_line().await?.is_none(), "something follows the reply");
                let Answer::Chat(chat) = reply.answer else { anyhow::bail!("{line}") };
                return Ok((chunks, *chat));
            }
        }
    }
}

fn text(chunks: &[ChatChunk]) -> String {
    chunks.iter().filter_map(|chunk| chunk.choices[0].delta.content.as_deref()).collect()
}

/// A request whose answer is some hundred tokens long, whatever the model would like to say.
fn long() -> Value {
    let words = "turn the lamp on and the saw off ".repeat(10);
    let schema = json!({"type": "object", "properties": {"say": {"const": words}}, "required": ["say"], "additionalProperties": false});
    json!({
        "messages": [{"role": "user", "content": "lamp on"}], "stream": true, "logprobs": true, "top_logprobs": 20,
        "response_format": {"type": "json_schema", "json_schema": {"name": "long", "schema": schema}},
    })
}

#[tokio::test]
async fn an_answer_streams_in_numbered_chunks_and_comes_whole_at_the_end() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let mut request = json!({
        "messages": [{"role": "user", "content": "switch on the lamp in the workshop"}],
        "temperature": 0, "max_completion_tokens": 100, "stream": true, "logprobs": true,
    });
    let (_, mut lines) = shop.chat(&request).await?;
    let (chunks, chat) = heard(&mut lines).await?;
    assert!(chunks.len() > 2, "{chunks:?}");
    assert!(chunks.iter().enumerate().all(|(at, chunk)| chunk.number == at as u64 && chunk.attempt == chunks[0].attempt));
    let choice = &chat.choices[0];
    assert_eq!(text(&chunks), choice.message.content);
    assert_eq!(chunks.last().and_then(|chunk| chunk.choices[0].finish_reason), Some(choice.finish_reason));
    let tokens = chunks.iter().filter_map(|chunk| chunk.choices[0].logprobs.as_ref()).flat_map(|l| &l.content);
    assert_eq!(tokens.cloned().collect::<Vec<_>>(), choice.logprobs.as_ref().context("logprobs")?.content);
    let usage = chat.usage;
    assert!(usage.prompt_tokens > 0 && usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, "{usage:?}");
    assert!(chat.speed.time_to_first_token_us > 0 && chat.speed.tokens_per_second > 0.0, "{:?}", chat.speed);

    request["stream"] = false.into();
    let (_, mut lines) = shop.chat(&request).await?;
    let (chunks, whole) = heard(&mut lines).await?;
    assert!(chunks.is_empty());
    assert_eq!(whole.choices, chat.choices, "streaming changes nothing but when it is heard");
    Ok(())
}

#[tokio::test]
async fn a_slow_reader_makes_the_model_wait_and_misses_nothing() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let (job, mut lines) = shop.chat(&long()).await?;
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await??.context("a first line")?;
    // Others are served meanwhile, whose answers are as long: so it would be over, were it not for its reader.
    let mut request = long();
    request["stream"] = false.into();
    for _ in 0..3 {
        let (_, mut others) = shop.chat(&request).await?;
        heard(&mut others).await?;
    }
    assert_eq!(job.get_property::<String>("State").await?, "running");
    let (mut chunks, chat) = heard(&mut lines).await?;
    chunks.insert(0, serde_json::from_str(&first)?);
    assert_eq!(text(&chunks), chat.choices[0].message.content);
    Ok(())
}

#[tokio::test]
async fn an_answer_is_stopped_half_way() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let (job, mut lines) = shop.chat(&long()).await?;
    tokio::time::timeout(PATIENCE, lines.next_line()).await??.context("a first line")?;
    let () = call(&job, "Cancel", &()).await?;
    let mut last = String::new();
    while let Some(line) = tokio::time::timeout(PATIENCE, lines.next_line()).await?? {
        last = line;
    }
    let fault: Value = serde_json::from_str(&last)?;
    assert_eq!(fault["kind"], "cancelled", "{fault}");
    Ok(())
}

#[tokio::test]
async fn hearthctl_answers_one_question_and_ends() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let question = "switch on the lamp in the workshop";
    let said = printed(&hearthctl(&shop.bus, &["chat", "talker", question, "--temperature", "0", "--max-tokens", "100"])?);
    let json = printed(&hearthctl(&shop.bus, &["chat", "talker", question, "--temperature", "0", "--max-tokens", "100", "--json"])?);
    let reply: Value = serde_json::from_str(&json)?;
    assert_eq!(said.trim_end(), reply["choices"][0]["message"]["content"].as_str().unwrap_or_default().trim_end());

    let mut piped = Command::new(program("hearthctl"))
        .args(["chat", "talker", "--temperature", "0", "--max-tokens", "100", "--bus", &shop.bus.address()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    piped.stdin.take().context("piped")?.write_all(question.as_bytes())?;
    assert_eq!(printed(&piped.wait_with_output()?), said);
    Ok(())
}
