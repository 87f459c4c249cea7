//! Chat with a language model, in the shapes of OpenAI's chat completions (<https://platform.openai.com/docs/api-reference/chat>):
//! what is asked is in `chat/request.rs`; here is what is answered, whole or chunk by chunk.

mod request;

pub use request::{ChatRequest, Message, ResponseFormat, Role, Sampling};

use crate::{ModelName, RequestId};
use serde::{Deserialize, Serialize};

/// A whole answer; the rest of a [`Reply`](crate::Reply) (id, model, timings, ...) stands beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// Says what this is.
    pub object: ChatObject,
    /// When it was made, in seconds of the Unix epoch.
    pub created: u64,
    /// The answer: always one.
    pub choices: Vec<Choice>,
    /// What it took, in tokens.
    pub usage: Usage,
    /// How fast it came.
    pub speed: Speed,
}

/// What the object of a whole answer is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ChatObject {
    /// `chat.completion`
    #[default]
    #[serde(rename = "chat.completion")]
    Completion,
}

/// An answer to the talk so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its place among the choices: 0.
    pub index: u32,
    /// What the model says.
    pub message: Message,
    /// Why it says no more.
    pub finish_reason: FinishReason,
    /// How likely its tokens were, where the request asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// It has as many tokens as were allowed, or as the model's context holds.
    Length,
}

/// Tokens of a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the messages, with what the model's template puts around them.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
    /// More about the first.
    pub prompt_tokens_details: PromptTokensDetails,
}

impl Usage {
    /// The usage of a prompt, of which `cached` tokens had not to be computed again, and its answer.
    pub fn new(prompt: u32, cached: u32, completion: u32) -> Usage {
        Usage {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            prompt_tokens_details: PromptTokensDetails { cached_tokens: cached },
        }
    }
}

/// Of the prompt's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Those that were shared with an earlier prompt, and not computed again.
    pub cached_tokens: u32,
}

/// How fast an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Speed {
    /// From the request's arrival to the first token of the answer, in microseconds.
    pub time_to_first_token_us: u64,
    /// Tokens of the answer in a second, from the first to the last; 0 where there are not two.
    pub tokens_per_second: f64,
}

/// How likely the tokens were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// Token by token.
    pub content: Vec<TokenLogprob>,
}

/// How likely a token of the answer was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token as text, with U+FFFD for bytes that are no whole character.
    pub token: String,
    /// Natural logarithm of its probability before sampling narrowed the choice; -9999 stands for anything less.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Vec<u8>,
    /// The likeliest tokens in its place, as many as were asked for, best first.
    pub top_logprobs: Vec<TopLogprob>,
}

/// How likely another token would have been.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token as text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The token's bytes.
    pub bytes: Vec<u8>,
}

/// A piece of an answer that is still being made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// The request's id.
    pub id: RequestId,
    /// Says what this is.
    pub object: ChunkObject,
    /// When the answer was begun, in seconds of the Unix epoch.
    pub created: u64,
    /// The model that answers.
    pub model: ModelName,
    /// 0, 1, 2, ...; where one is missing, the whole answer at the end has its text.
    pub number: u64,
    /// Tells one try from another: when it was begun, in milliseconds of the Unix epoch. A daemon that was killed begins the
    /// request again, its chunks at 0 and perhaps with another text; those of the earlier attempt are void then.
    pub attempt: u64,
    /// What is new: always one.
    pub choices: Vec<ChunkChoice>,
}

/// What the object of a piece is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ChunkObject {
    /// `chat.completion.chunk`
    #[default]
    #[serde(rename = "chat.completion.chunk")]
    Chunk,
}

/// What is new in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkChoice {
    /// Its place among the choices: 0.
    pub index: u32,
    /// What to append.
    pub delta: Delta,
    /// Why no more comes; null in all chunks but the last.
    pub finish_reason: Option<FinishReason>,
    /// How likely the new tokens were, where the request asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
}

/// What to append to the answer so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delta {
    /// Who speaks: in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Text; none in the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

#[cfg(test)]
mod request_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Reply, Timings};
    use serde_json::json;

    fn chat() -> Chat {
        let token = TokenLogprob {
            token: "Hello".into(),
            logprob: -0.5,
            bytes: b"Hello".into(),
            top_logprobs: vec![TopLogprob { token: "Hi".into(), logprob: -1.25, bytes: b"Hi".into() }],
        };
        Chat {
            object: ChatObject::Completion,
            created: 1_795_000_000,
            choices: vec![Choice {
                index: 0,
                message: Message::new(Role::Assistant, "Hello"),
                finish_reason: FinishReason::Stop,
                logprobs: Some(Logprobs { content: vec![token] }),
            }],
            usage: Usage::new(12, 8, 1),
            speed: Speed { time_to_first_token_us: 81_000, tokens_per_second: 12.5 },
        }
    }

    #[test]
    fn a_whole_answer_is_what_clients_of_openai_read() {
        let reply = Reply {
            id: RequestId::new("7").unwrap(),
            model: ModelName::new("foreman").unwrap(),
            model_version: "1".into(),
            answer: Answer::Chat(Box::new(chat())),
            timings: Timings { queued_us: 1, batched_us: 0, computed_us: 90_000 },
            batch: 1,
            threads: 2,
            performance_degraded: String::new(),
        };
        let json = serde_json::to_value(&reply).unwrap();
        assert_eq!(
            json,
            json!({
                "id": "7", "object": "chat.completion", "created": 1_795_000_000, "model": "foreman", "model_version": "1",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop",
                    "logprobs": {"content": [{"token": "Hello", "logprob": -0.5, "bytes": [72, 101, 108, 108, 111],
                        "top_logprobs": [{"token": "Hi", "logprob": -1.25, "bytes": [72, 105]}]}]}}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 8}},
                "speed": {"time_to_first_token_us": 81_000, "tokens_per_second": 12.5},
                "timings": {"queued_us": 1, "batched_us": 0, "computed_us": 90_000},
                "batch": 1, "threads": 2, "performance_degraded": ""
            })
        );
        assert_eq!(serde_json::from_value::<Reply>(json).unwrap(), reply, "and reads back as a chat, not as another answer");
    }

    #[test]
    fn a_chunk_says_what_to_append_and_whether_more_comes() {
        let chunk = ChatChunk {
            id: RequestId::new("7").unwrap(),
            object: ChunkObject::Chunk,
            created: 1_795_000_000,
            model: ModelName::new("foreman").unwrap(),
            number: 0,
            attempt: 1_795_000_000_123,
            choices: vec![ChunkChoice {
                index: 0,
                delta: Delta { role: Some(Role::Assistant), content: Some("Hel".into()) },
                finish_reason: None,
                logprobs: None,
            }],
        };
        let json = serde_json::to_value(&chunk).unwrap();
        assert_eq!(
            json,
            json!({"id": "7", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": "foreman", "number": 0,
                "attempt": 1_795_000_000_123_u64,
                "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": null}]})
        );
        assert_eq!(serde_json::from_value::<ChatChunk>(json.clone()).unwrap(), chunk);
        assert!(serde_json::from_value::<Reply>(json).is_err(), "a chunk is no reply");
    }
}
