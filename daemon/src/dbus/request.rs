//! A call becomes a request of the engine's, and the engine's end of it the call's return.

use super::Link;
use super::caller::Pending;
use super::options::Options;
use super::payload::{Incoming, Outgoing};
use crate::engine::{Ending, Submission};
use bytes::Bytes;
use hearth_api::{Answer, ContentType, Fault, ModelName, Payload, Reply, Request};
use std::collections::HashMap;
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
    let options = sent.options.into_request()?;
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
    let pending = link.callers.request(caller, options.id)?;
    let request = Request {
        id: pending.id().clone(),
        model: sent.model,
        payload: Payload { content_type, bytes },
        priority: options.priority,
        timeout: Some(options.timeout),
    };
    let (deliver, ending) = oneshot::channel();
    let deliver = Box::new(move |end| {
        // Nobody listens any more where the caller's task was dropped with its connection.
        let _ = deliver.send(end);
    });
    link.door.engine.submit(Submission { key: pending.key().clone(), request, deliver });
    Ok(Running { pending, ending, asked: content_type })
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
