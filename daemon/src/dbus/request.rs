//! A call becomes a request of the engine's, and the engine's end of it the call's return.

use super::Link;
use super::caller::Pending;
use super::options::{DEFAULT_TIMEOUT, Options, RequestOptions};
use super::payload::{Incoming, Outgoing};
use super::talk::{self, Lines};
use crate::chunks::Closing;
use crate::engine::{Ending, Stream, Submission};
use bytes::Bytes;
use hearth_api::{Answer, ContentType, Fault, ModelName, Payload, Reply, Request};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use tokio::sync::oneshot;
use zbus::Variant;

/// What a caller sends.
pub(super) struct Sent {
    pub(super) model: ModelName,
    pub(super) content_type: String,
    pub(super) payload: Incoming,
    pub(super) options: Options,
}

/// A request at work, and where its end arrives.
pub(super) struct Running {
    pending: Pending,
    model: ModelName,
    ending: oneshot::Receiver<Ending>,
    /// What it was asked in, and so is answered in.
    asked: ContentType,
}

/// What a call returns beside content type and result.
pub(super) type Info = HashMap<&'static str, Variant<'static>>;

/// The end of a request, kept as long as somebody may ask for it.
pub(super) struct Encoded {
    content_type: ContentType,
    bytes: Bytes,
    reply: Reply,
}

/// Parses what was sent and hands it to the engine.
pub(super) fn begin(link: &Link, caller: &str, sent: Sent) -> Result<Running, Fault> {
    let options = sent.options.into_request(DEFAULT_TIMEOUT)?;
    let bytes = sent.payload.into_bytes(link.door.limits.payload_bytes)?;
    let content_type = match ContentType::parse(&sent.content_type) {
        _ if sent.content_type.is_empty() => ContentType::sniff(&bytes)?,
        Ok(ContentType::Binary { .. }) => ContentType::Binary { header_length: options.header_length },
        parsed => parsed?,
    };
    if options.header_length.is_some() && !matches!(content_type, ContentType::Binary { .. }) {
        return Err(Fault::bad_request(format!(
            "header_length belongs to application/octet-stream; the content type is {}",
            content_type.as_str()
        )));
    }
    let (pending, request) = prepare(link, caller, sent.model, Payload { content_type, bytes }, options)?;
    Ok(submit(link, pending, request, None))
}

/// The same for a talk with a language model, whose answer also goes into a pipe; gives the pipe's end for the caller, and ours.
pub(super) fn begin_talk(link: &Link, caller: &str, sent: Sent) -> Result<(Running, OwnedFd, Lines), Fault> {
    let options = sent.options.into_request(link.door.limits.chat_timeout)?;
    let bytes = sent.payload.into_bytes(link.door.limits.payload_bytes)?;
    let content_type = match sent.content_type.as_str() {
        "" => ContentType::sniff_chat(&bytes),
        named => ContentType::parse(named)?,
    };
    if !matches!(content_type, ContentType::Json | ContentType::Text) || options.header_length.is_some() {
        return Err(Fault::bad_request(format!(
            "Chat takes application/json or text/plain, and no header_length; the content type is {}",
            content_type.as_str()
        )));
    }
    let (pending, request) = prepare(link, caller, sent.model, Payload { content_type, bytes }, options)?;
    let (pipe, lines) = talk::open(&link.door.engine, pending.key())?;
    let stream = lines.stream(&request);
    Ok((submit(link, pending, request, Some(stream)), pipe, lines))
}

fn prepare(link: &Link, caller: &str, model: ModelName, payload: Payload, options: RequestOptions) -> Result<(Pending, Request), Fault> {
    let pending = link.callers.request(caller, options.id)?;
    let request = Request { id: pending.id().clone(), model, payload, priority: options.priority, timeout: Some(options.timeout) };
    Ok((pending, request))
}

fn submit(link: &Link, pending: Pending, request: Request, stream: Option<(Stream, Closing)>) -> Running {
    let (model, asked) = (request.model.clone(), request.payload.content_type);
    let (stream, closing) = stream.unzip();
    let (deliver, ending) = oneshot::channel();
    let deliver = Box::new(move |end| {
        if let Some(closing) = closing {
            closing.close(&end);
        }
        // Nobody listens any more where the caller's task was dropped with its connection.
        let _ = deliver.send(end);
    });
    link.door.engine.submit(Submission { key: pending.key().clone(), request, stream, deliver });
    Running { pending, model, ending, asked }
}

impl Running {
    /// Its identity in the engine.
    pub(super) fn key(&self) -> &crate::scheduler::Key {
        self.pending.key()
    }

    /// Its id.
    pub(super) fn id(&self) -> &hearth_api::RequestId {
        self.pending.id()
    }

    /// The model it asks.
    pub(super) fn model(&self) -> &ModelName {
        &self.model
    }

    /// Waits for its end.
    pub(super) async fn end(mut self) -> Result<Encoded, Fault> {
        let ending = self.ending.await;
        self.pending.ended();
        match ending {
            Ok(Ending::Answered(reply)) => Ok(Encoded::new(reply, self.asked)),
            Ok(Ending::Failed(fault)) => Err(fault),
            Ok(Ending::HandedBack) => Err(Fault::cancelled("the daemon is stopping; send the request again once it is back")),
            Err(_) => Err(Fault::internal("the engine let the request go without an end")),
        }
    }
}

impl Encoded {
    fn new(reply: Reply, asked: ContentType) -> Encoded {
        let (bytes, content_type) = reply.encode(asked);
        // The tensors are in the bytes now; what `info` tells does without them.
        let answer = Answer::Outputs { outputs: Vec::new() };
        Encoded { content_type, bytes, reply: Reply { answer, ..reply } }
    }

    /// The result itself.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Size of the result, in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// As the return of a call; may be asked for again.
    pub(super) fn to_returned(&self) -> Result<(&'static str, Outgoing, Info), Fault> {
        let reply = &self.reply;
        let mut info = HashMap::from([
            ("id", Variant::from(reply.id.as_str().to_owned())),
            ("model_version", Variant::from(reply.model_version.clone())),
            ("batch", Variant::from(reply.batch)),
            ("threads", Variant::from(reply.threads)),
            ("queued_us", Variant::from(reply.timings.queued_us)),
            ("batched_us", Variant::from(reply.timings.batched_us)),
            ("computed_us", Variant::from(reply.timings.computed_us)),
            ("performance_degraded", Variant::from(reply.performance_degraded.clone())),
        ]);
        if let ContentType::Binary { header_length: Some(length) } = self.content_type {
            info.insert("header_length", Variant::from(length as u64));
        }
        Ok((self.content_type.as_str(), Outgoing::new(self.bytes.clone())?, info))
    }
}
