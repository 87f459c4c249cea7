//! A talk: what was said so far, and the request that it makes. Kept in memory alone.

use super::screen::harmless;
use anyhow::Context;
use hearth_api::chat::{Message, Role};
use hearth_api::{ContentType, ModelName, Payload};
use serde_json::{Map, Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// See the module.
#[derive(Debug)]
pub(super) struct Talk {
    system: Option<String>,
    messages: Vec<Message>,
    settings: Map<String, Value>,
}

impl Talk {
    /// A talk that has not begun; `settings` go along with each request.
    pub(super) fn new(system: Option<String>, settings: Map<String, Value>) -> Talk {
        Talk { system, messages: Vec::new(), settings }
    }

    /// The person says something.
    pub(super) fn ask(&mut self, text: &str) {
        self.messages.push(Message::new(Role::User, text));
    }

    /// The model has said something.
    pub(super) fn answered(&mut self, text: &str) {
        self.messages.push(Message::new(Role::Assistant, text));
    }

    /// What was said last had no answer: as if it had not been said.
    pub(super) fn take_back(&mut self) {
        self.messages.pop();
    }

    /// Begins anew; what the model is told before stays.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }

    /// What the model is told before the talk; nothing where `text` is empty.
    pub(super) fn instruct(&mut self, text: &str) {
        self.system = Some(text.to_owned()).filter(|text| !text.is_empty());
    }

    /// The talk as a request.
    pub(super) fn request(&self, stream: bool) -> Payload {
        let system = self.system.iter().map(|text| Message::new(Role::System, text));
        let messages: Vec<Message> = system.chain(self.messages.iter().cloned()).collect();
        let mut body = self.settings.clone();
        body.insert("messages".into(), json!(messages));
        body.insert("stream".into(), stream.into());
        Payload { content_type: ContentType::Json, bytes: Value::Object(body).to_string().into() }
    }

    /// Writes the talk into a new file that nobody else may read.
    pub(super) fn save(&self, file: &Path, model: &ModelName) -> anyhow::Result<()> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let written = opened.and_then(|mut file| file.write_all(self.text(model).as_bytes()));
        written.with_context(|| format!("{} cannot be written", file.display()))
    }

    /// The talk for a person to read.
    fn text(&self, model: &ModelName) -> String {
        let system = self.system.iter().map(|text| ("system", text.as_str()));
        let said = self.messages.iter().map(|m| (if m.role == Role::User { "you" } else { model.as_str() }, m.content.as_str()));
        system.chain(said).map(|(who, text)| format!("{who}: {}\n\n", harmless(text).trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::chat::ChatRequest;

    fn talk() -> Talk {
        let Value::Object(settings) = json!({"temperature": 0.5, "max_completion_tokens": 9}) else { unreachable!() };
        Talk::new(Some("Be brief.".into()), settings)
    }

    #[test]
    fn a_request_holds_the_talk_so_far_and_is_what_the_daemon_reads() {
        let mut talk = talk();
        talk.ask("lamp on");
        talk.answered("done");
        talk.ask("and off");
        let request = ChatRequest::parse(&talk.request(true)).unwrap();
        let said: Vec<_> = request.messages.iter().map(|m| (m.role, m.content.as_str())).collect();
        use Role::{Assistant, System, User};
        assert_eq!(said, [(System, "Be brief."), (User, "lamp on"), (Assistant, "done"), (User, "and off")]);
        assert_eq!((request.stream, request.max_tokens, request.sampling.temperature), (true, Some(9), Some(0.5)));
    }

    #[test]
    fn a_talk_can_be_taken_back_cleared_and_instructed_anew() {
        let mut talk = talk();
        talk.ask("lamp on");
        talk.answered("done");
        talk.ask("x");
        talk.take_back();
        assert_eq!(talk.messages.len(), 2);
        talk.clear();
        talk.instruct("");
        talk.ask("hello");
        assert_eq!(ChatRequest::parse(&talk.request(false)).unwrap().messages, [Message::new(Role::User, "hello")]);
    }

    #[test]
    fn a_saved_talk_is_for_its_owner_alone_and_overwrites_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let file = std::env::temp_dir().join(format!("hearthctl-talk-{}", std::process::id()));
        let mut talk = talk();
        talk.ask("lamp on");
        talk.answered("\x1b[31mdone\n");
        let model = ModelName::new("foreman").unwrap();
        talk.save(&file, &model).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "system: Be brief.\n\nyou: lamp on\n\nforeman: [31mdone\n\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(talk.save(&file, &model).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}
