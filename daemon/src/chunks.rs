//! Pieces of a language model's answer, as the engine makes them, into numbered chunks of the contract, for both doors; and how
//! far their readers are behind.

use crate::engine::{Ending, Pace, Piece, Stream};
use bytes::Bytes;
use hearth_api::chat::{ChatChunk, ChunkChoice, ChunkObject, Delta, FinishReason, Logprobs, Role};
use hearth_api::{Answer, ModelName, Request, RequestId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A chunk on its way to its reader.
pub(crate) struct Chunk {
    /// As JSON, without line breaks.
    pub(crate) json: Bytes,
    /// To be dropped when the reader has it.
    pub(crate) unread: Unread,
}

/// Bytes that a reader has not taken yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behind(Arc<AtomicUsize>);

/// A part of them, taken when it drops.
#[derive(Debug)]
pub(crate) struct Unread {
    bytes: usize,
    of: Behind,
}

impl Behind {
    /// So many more.
    pub(crate) fn unread(&self, bytes: usize) -> Unread {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Unread { bytes, of: self.clone() }
    }

    /// How many there are.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The chunks of one answer. `put` takes each; it says whether anybody still reads.
struct Chunks<P> {
    id: RequestId,
    model: ModelName,
    created: u64,
    attempt: u64,
    number: u64,
    behind: Behind,
    unread_bytes: usize,
    put: P,
}

/// Chunks that are complete once the end of their request is known.
pub(crate) struct Closing(Box<dyn FnOnce(&Ending) + Send>);

impl Closing {
    /// The request has ended: where there were chunks and there is an answer, a last one tells why it ends.
    pub(crate) fn close(self, ending: &Ending) {
        (self.0)(ending);
    }
}

/// What a submission takes to have the answer to `request` in chunks. `put` is called on an engine thread; its reader is behind
/// once more than `unread_bytes` of what it was given are not dropped.
pub(crate) fn stream<P>(request: &Request, unread_bytes: usize, put: P) -> (Stream, Closing)
where
    P: FnMut(Chunk) -> bool + Send + 'static,
{
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let chunks = Arc::new(Mutex::new(Chunks {
        id: request.id.clone(),
        model: request.model.clone(),
        created: now.as_secs(),
        attempt: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        number: 0,
        behind: Behind::default(),
        unread_bytes,
        put,
    }));
    let closing = chunks.clone();
    let stream = move |piece| chunks.lock().unwrap_or_else(PoisonError::into_inner).piece(piece);
    let close = move |ending: &Ending| closing.lock().unwrap_or_else(PoisonError::into_inner).close(ending);
    (Box::new(stream), Closing(Box::new(close)))
}

impl<P: FnMut(Chunk) -> bool> Chunks<P> {
    fn piece(&mut self, piece: Piece) -> Pace {
        let Piece { text, logprobs } = piece;
        let asks_again = text.is_empty() && logprobs.is_empty();
        if !asks_again {
            let delta = Delta { role: (self.number == 0).then_some(Role::Assistant), content: Some(text) };
            let logprobs = (!logprobs.is_empty()).then_some(Logprobs { content: logprobs });
            if !self.chunk(delta, None, logprobs) {
                return Pace::Gone;
            }
        }
        if self.behind.bytes() > self.unread_bytes { Pace::Behind } else { Pace::Ready }
    }

    fn close(&mut self, ending: &Ending) {
        if self.number > 0
            && let Ending::Answered(reply) = ending
            && let Answer::Chat(chat) = &reply.answer
            && let Some(choice) = chat.choices.first()
        {
            self.chunk(Delta::default(), Some(choice.finish_reason), None);
        }
    }

    fn chunk(&mut self, delta: Delta, finish_reason: Option<FinishReason>, logprobs: Option<Logprobs>) -> bool {
        let chunk = ChatChunk {
            id: self.id.clone(),
            object: ChunkObject::Chunk,
            created: self.created,
            model: self.model.clone(),
            number: self.number,
            attempt: self.attempt,
            choices: vec![ChunkChoice { index: 0, delta, finish_reason, logprobs }],
        };
        self.number += 1;
        let json: Bytes = serde_json::to_vec(&chunk).expect("a chunk is plain data").into();
        let unread = self.behind.unread(json.len());
        (self.put)(Chunk { json, unread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::chat::{Chat, ChatObject, Choice, Message, Speed, Usage};
    use hearth_api::{ContentType, Fault, Payload, Priority, Reply, Timings};
    use std::sync::mpsc;

    fn request() -> Request {
        Request {
            id: RequestId::new("7").unwrap(),
            model: ModelName::new("foreman").unwrap(),
            payload: Payload { content_type: ContentType::Text, bytes: "x".into() },
            priority: Priority::Normal,
            timeout: None,
        }
    }

    fn answered(text: &str) -> Ending {
        let choice = Choice { index: 0, message: Message::new(Role::Assistant, text), finish_reason: FinishReason::Length, logprobs: None };
        let chat =
            Chat { object: ChatObject::Completion, created: 1, choices: vec![choice], usage: Usage::new(1, 0, 2), speed: Speed::default() };
        Ending::Answered(Reply {
            id: RequestId::new("7").unwrap(),
            model: ModelName::new("foreman").unwrap(),
            model_version: "1".into(),
            answer: Answer::Chat(Box::new(chat)),
            timings: Timings::default(),
            batch: 1,
            threads: 1,
            performance_degraded: String::new(),
        })
    }

    fn piece(text: &str) -> Piece {
        Piece { text: text.into(), logprobs: Vec::new() }
    }

    fn opened(unread_bytes: usize) -> (Stream, Closing, mpsc::Receiver<Chunk>) {
        let (put, chunks) = mpsc::channel();
        let (stream, closing) = stream(&request(), unread_bytes, move |chunk| put.send(chunk).is_ok());
        (stream, closing, chunks)
    }

    #[test]
    fn chunks_are_numbered_and_the_last_says_why_the_answer_ends() {
        let (mut stream, closing, chunks) = opened(1 << 20);
        assert_eq!((stream(piece("lamp ")), stream(piece("")), stream(piece("on"))), (Pace::Ready, Pace::Ready, Pace::Ready));
        closing.close(&answered("lamp on"));
        drop(stream);
        let chunks: Vec<ChatChunk> = chunks.iter().map(|chunk| serde_json::from_slice(&chunk.json).unwrap()).collect();
        assert_eq!(chunks.iter().map(|c| c.number).collect::<Vec<_>>(), [0, 1, 2], "an empty piece only asks");
        assert!(chunks.iter().all(|c| c.attempt == chunks[0].attempt && c.attempt / 1000 == c.created));
        let said: String = chunks.iter().filter_map(|c| c.choices[0].delta.content.as_deref()).collect();
        assert_eq!(said, "lamp on");
        let roles: Vec<_> = chunks.iter().map(|c| c.choices[0].delta.role).collect();
        assert_eq!(roles, [Some(Role::Assistant), None, None]);
        let ends: Vec<_> = chunks.iter().map(|c| c.choices[0].finish_reason).collect();
        assert_eq!(ends, [None, None, Some(FinishReason::Length)]);
    }

    #[test]
    fn an_answer_that_was_not_streamed_or_did_not_come_has_no_last_chunk() {
        let (stream, closing, chunks) = opened(1 << 20);
        closing.close(&answered("whole"));
        drop(stream);
        assert_eq!(chunks.iter().count(), 0);
        let (mut stream, closing, chunks) = opened(1 << 20);
        stream(piece("lamp"));
        closing.close(&Ending::Failed(Fault::cancelled("by its caller")));
        drop(stream);
        assert_eq!(chunks.iter().count(), 1);
    }

    #[test]
    fn a_reader_that_is_behind_is_waited_for_and_one_that_is_gone_is_not() {
        let (mut stream, closing, chunks) = opened(1000);
        let mut written = 0;
        while stream(piece("word ")) == Pace::Ready {
            written += 1;
            assert!(written < 100);
        }
        assert_eq!(stream(piece("")), Pace::Behind);
        while let Ok(chunk) = chunks.try_recv() {
            drop(chunk);
        }
        assert_eq!((stream(piece("")), stream(piece("more"))), (Pace::Ready, Pace::Ready));
        drop(chunks);
        assert_eq!(stream(piece("word ")), Pace::Gone);
        closing.close(&answered("nobody hears it"));
    }
}
