//! MQTT topics: how they are built and read, and which topics an answer may go to.

use crate::{Fault, ModelName, RequestId};
use std::fmt;
use std::sync::Arc;

/// Name of a node or a fleet group: 1 to 64 of `a-z A-Z 0-9 . _ -`; one level of a topic.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Parses a name; the error says what a name looks like.
    pub fn new(name: impl AsRef<str>) -> Result<NodeName, Fault> {
        let name = name.as_ref();
        if (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Ok(NodeName(name.into()));
        }
        let shown: String = name.chars().take(64).collect();
        Err(Fault::bad_request(format!("{shown:?} is no node or group name: 1 to 64 letters, digits, dots, underscores and hyphens")))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The topics of one node.
#[derive(Debug, Clone)]
pub struct Topics {
    node: NodeName,
}

/// What a topic that the daemon listens to asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Inference by a model, with the id where the topic names one.
    Infer(ModelName, Option<RequestId>),
    /// A talk with a language model, whose answer may come piece by piece.
    Chat(ModelName, Option<RequestId>),
    /// Inference, through a fleet's shared topic.
    GroupInfer(NodeName, ModelName, Option<RequestId>),
    /// Cancellation; the payload is the id.
    Cancel,
}

impl Topics {
    /// The topics of this node.
    pub fn new(node: NodeName) -> Topics {
        Topics { node }
    }

    /// The node.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Retained: `online` or `offline`.
    pub fn availability(&self) -> String {
        format!("hearth/{}/availability", self.node)
    }

    /// Retained: version, contract, board, limits.
    pub fn info(&self) -> String {
        format!("hearth/{}/info", self.node)
    }

    /// Retained: one model's metadata, state and operating points.
    pub fn model(&self, model: &ModelName) -> String {
        format!("hearth/{}/models/{model}", self.node)
    }

    /// Retained: temperature, limit and what the governor does about it.
    pub fn thermal(&self) -> String {
        format!("hearth/{}/thermal", self.node)
    }

    /// Retained: queues and counts.
    pub fn stats(&self) -> String {
        format!("hearth/{}/stats", self.node)
    }

    /// Where a request goes.
    pub fn infer(&self, model: &ModelName, id: Option<&RequestId>) -> String {
        match id {
            Some(id) => format!("hearth/{}/infer/{model}/{id}", self.node),
            None => format!("hearth/{}/infer/{model}", self.node),
        }
    }

    /// Where a chat request goes.
    pub fn chat(&self, model: &ModelName, id: Option<&RequestId>) -> String {
        match id {
            Some(id) => format!("hearth/{}/chat/{model}/{id}", self.node),
            None => format!("hearth/{}/chat/{model}", self.node),
        }
    }

    /// Where a request to a fleet goes.
    pub fn group_infer(group: &NodeName, model: &ModelName) -> String {
        format!("hearth/group/{group}/infer/{model}")
    }

    /// Where a cancellation goes.
    pub fn cancel(&self) -> String {
        format!("hearth/{}/cancel", self.node)
    }

    /// Where an answer goes whose request names no response topic.
    pub fn result(&self, model: &ModelName, id: &RequestId) -> String {
        format!("hearth/{}/result/{model}/{id}", self.node)
    }

    /// The subscription to requests: `hearth/<node>/infer/+` and below.
    pub fn infer_filter(&self) -> String {
        format!("hearth/{}/infer/#", self.node)
    }

    /// The subscription to chat requests: `hearth/<node>/chat/+` and below.
    pub fn chat_filter(&self) -> String {
        format!("hearth/{}/chat/#", self.node)
    }

    /// The shared subscription to a fleet's requests.
    pub fn group_filter(group: &NodeName) -> String {
        format!("$share/{group}/hearth/group/{group}/infer/#")
    }

    /// Where answers may go unless the configuration says otherwise.
    pub fn default_response_patterns(&self) -> Vec<String> {
        vec![format!("hearth/{}/result/#", self.node), "hearth/reply/#".into()]
    }

    /// Reads a topic that a message came on; the error says what a request's topic looks like.
    pub fn parse(&self, topic: &str) -> Result<Incoming, Fault> {
        let levels: Vec<&str> = topic.split('/').collect();
        let id = |rest: &[&str]| rest.first().map(RequestId::new).transpose();
        match levels.as_slice() {
            ["hearth", "group", group, "infer", model, rest @ ..] if rest.len() <= 1 => {
                Ok(Incoming::GroupInfer(NodeName::new(group)?, ModelName::new(model)?, id(rest)?))
            }
            ["hearth", node, "infer", model, rest @ ..] if *node == self.node.as_str() && rest.len() <= 1 => {
                Ok(Incoming::Infer(ModelName::new(model)?, id(rest)?))
            }
            ["hearth", node, "chat", model, rest @ ..] if *node == self.node.as_str() && rest.len() <= 1 => {
                Ok(Incoming::Chat(ModelName::new(model)?, id(rest)?))
            }
            ["hearth", node, "cancel"] if *node == self.node.as_str() => Ok(Incoming::Cancel),
            _ => Err(Fault::bad_request(format!(
                "{topic:?} is no request topic: hearth/{node}/infer/<model>[/<id>] or hearth/{node}/chat/<model>[/<id>]",
                node = self.node
            ))),
        }
    }

    /// Whether an answer may be published to `topic`: it matches a pattern, holds no wildcard, and is none of our own
    /// request or retained topics.
    pub fn check_response_topic(&self, topic: &str, patterns: &[String]) -> Result<(), Fault> {
        let refuse = |why: &str| Err(Fault::unauthorized(format!("response topic {topic:?} {why}; allowed: {}", patterns.join(", "))));
        if topic.is_empty() || topic.len() > 1024 || topic.contains(['+', '#', '\0']) || topic.starts_with('$') {
            return refuse("is empty, too long, begins with '$' or holds a wildcard");
        }
        let levels: Vec<&str> = topic.split('/').collect();
        let ours = match levels.as_slice() {
            ["hearth", "group", ..] => true,
            ["hearth", _, "availability" | "info" | "models" | "thermal" | "stats" | "infer" | "chat" | "cancel", ..] => {
                levels[1] != "reply"
            }
            _ => false,
        };
        if ours {
            return refuse("is one of the daemon's own topics");
        }
        if patterns.iter().any(|p| matches(p, topic)) { Ok(()) } else { refuse("matches no allowed pattern") }
    }
}

/// Whether a topic filter (MQTT 5, section 4.7) matches a topic name.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match level {
            "#" => return true,
            "+" if topic.next().is_some() => {}
            _ if topic.next() == Some(level) => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new(NodeName::new("press-3").unwrap())
    }

    #[test]
    fn a_topic_reads_back_as_it_was_built() {
        let (t, m, id) = (topics(), ModelName::new("digits").unwrap(), RequestId::new("7").unwrap());
        assert_eq!(t.parse(&t.infer(&m, None)).unwrap(), Incoming::Infer(m.clone(), None));
        assert_eq!(t.parse(&t.infer(&m, Some(&id))).unwrap(), Incoming::Infer(m.clone(), Some(id.clone())));
        assert_eq!(t.parse(&t.chat(&m, None)).unwrap(), Incoming::Chat(m.clone(), None));
        assert_eq!(t.parse(&t.chat(&m, Some(&id))).unwrap(), Incoming::Chat(m.clone(), Some(id)));
        let g = NodeName::new("line").unwrap();
        assert_eq!(t.parse(&Topics::group_infer(&g, &m)).unwrap(), Incoming::GroupInfer(g, m, None));
        assert_eq!(t.parse(&t.cancel()).unwrap(), Incoming::Cancel);
        assert!(t.parse("hearth/other/infer/digits").is_err());
        assert!(t.parse("hearth/press-3/infer/digits/1/2").is_err());
        assert!(t.parse("hearth/press-3/chat/digits/1/2").is_err() && t.parse("hearth/group/line/chat/digits").is_err());
    }

    #[test]
    fn an_answer_goes_only_where_it_may() {
        let t = topics();
        let patterns = t.default_response_patterns();
        for good in ["hearth/press-3/result/digits/1", "hearth/reply/me", "hearth/reply/stats"] {
            t.check_response_topic(good, &patterns).unwrap();
        }
        for bad in
            ["", "x", "hearth/reply/+", "hearth/press-3/infer/digits", "hearth/press-3/availability", "hearth/group/a/infer/b", "$SYS/x"]
        {
            assert!(t.check_response_topic(bad, &patterns).is_err(), "{bad}");
            assert!(t.check_response_topic(bad, &["#".into()]).is_err() || bad == "x", "{bad}");
        }
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        assert!(matches("a/#", "a") && matches("a/#", "a/b/c") && matches("+/b", "a/b") && matches("#", "a"));
        assert!(!matches("a/+", "a") && !matches("a", "a/b") && !matches("#", "$SYS/x") && !matches("a/b", "a"));
    }
}
