//! The pipe of a talk: JSON lines from the engine's threads to a caller that may be slow, or gone.

use crate::chunks::{self, Behind, Chunk, Closing};
use crate::engine::{Engine, Stream};
use crate::scheduler::Key;
use bytes::Bytes;
use hearth_api::{Fault, Request};
use rustix::pipe::PipeFlags;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Bytes that may wait in front of a full pipe, which itself holds 64 KiB.
const UNREAD_BYTES: usize = 8 * 1024;
/// How long a full pipe may stay full.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where lines go.
pub(super) struct Lines {
    /// Chunks as long as not too much of them is unread, and one end.
    queue: mpsc::UnboundedSender<Chunk>,
}

/// Makes a pipe; what becomes of its reader may cancel the request `key`.
pub(super) fn open(engine: &Engine, key: &Key) -> Result<(OwnedFd, Lines), Fault> {
    let failed = |error: io::Error| Fault::internal(format!("no pipe for the answer: {error}"));
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let writer = pipe::Sender::from_owned_fd(writer).map_err(failed)?;
    let (queue, queued) = mpsc::unbounded_channel();
    let (engine, key) = (engine.clone(), key.clone());
    tokio::spawn(async move {
        if let Err(error) = write(writer, queued, PATIENCE).await {
            tracing::debug!(%error, "the reader of an answer has gone");
            // Nothing happens if its end came first.
            engine.cancel(&key);
        }
    });
    Ok((reader, Lines { queue }))
}

impl Lines {
    /// What a submission takes for the chunks of `request` to come here.
    pub(super) fn stream(&self, request: &Request) -> (Stream, Closing) {
        let queue = self.queue.clone();
        chunks::stream(request, UNREAD_BYTES, move |chunk| queue.send(chunk).is_ok())
    }

    /// The last line.
    pub(super) fn end(self, json: Bytes) {
        let unread = Behind::default().unread(json.len());
        // Nobody is left to read it where the pipe is closed.
        let _ = self.queue.send(Chunk { json, unread });
    }
}

/// Writes each line, until there are no more. Fails where the reader has closed the pipe, even while there is nothing to write, or
/// leaves it full for `patience`.
async fn write(mut pipe: pipe::Sender, mut queued: mpsc::UnboundedReceiver<Chunk>, patience: Duration) -> io::Result<()> {
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = queued.recv() => chunk,
            closed = pipe.ready(Interest::ERROR) => return Err(closed.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
        };
        let Some(chunk) = chunk else { return Ok(()) };
        let line = [&chunk.json[..], b"\n"].concat();
        let mut rest = &line[..];
        while !rest.is_empty() {
            let written = tokio::time::timeout(patience, pipe.write(rest)).await??;
            rest = &rest[written..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};

    fn opened() -> (std::fs::File, pipe::Sender, mpsc::UnboundedSender<Chunk>, mpsc::UnboundedReceiver<Chunk>, Behind) {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (queue, queued) = mpsc::unbounded_channel();
        (reader.into(), pipe::Sender::from_owned_fd(writer).unwrap(), queue, queued, Behind::default())
    }

    fn chunk(text: &str, behind: &Behind) -> Chunk {
        Chunk { json: text.to_owned().into(), unread: behind.unread(text.len()) }
    }

    #[tokio::test]
    async fn each_chunk_is_a_line_and_the_pipe_ends_after_the_last() {
        let (reader, writer, queue, queued, behind) = opened();
        for text in ["{\"a\":1}", "{\"b\":2}"] {
            assert!(queue.send(chunk(text, &behind)).is_ok());
        }
        drop(queue);
        write(writer, queued, PATIENCE).await.unwrap();
        let lines: Vec<String> = BufReader::new(reader).lines().collect::<io::Result<_>>().unwrap();
        assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(behind.bytes(), 0);
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_waited_for_and_then_given_up() {
        let (mut reader, writer, queue, queued, behind) = opened();
        for _ in 0..3 {
            assert!(queue.send(chunk(&"x".repeat(40_000), &behind)).is_ok());
        }
        let begun = tokio::time::Instant::now();
        let error = write(writer, queued, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.kind() == io::ErrorKind::TimedOut && begun.elapsed() >= Duration::from_millis(50), "{error}");
        assert!(behind.bytes() == 0 && queue.is_closed(), "nothing is kept for it");
        let mut taken = Vec::new();
        reader.read_to_end(&mut taken).unwrap();
        // Whole pages, of which each line may leave the rest of its last one empty.
        assert!((60 * 1024..=64 * 1024).contains(&taken.len()), "a pipe holds 64 KiB, not {}", taken.len());
    }

    #[tokio::test]
    async fn a_closed_pipe_is_found_out() {
        let (reader, writer, queue, queued, behind) = opened();
        drop(reader);
        // Also while the model has nothing to say yet.
        assert_eq!(write(writer, queued, PATIENCE).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(queue.send(chunk("x", &behind)).is_err());
    }
}
