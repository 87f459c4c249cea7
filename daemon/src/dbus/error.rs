//! Faults as bus errors: `org.hearthd.Error.<Kind>`, the message as first argument, the rest as a dictionary.

use hearth_api::{Fault, dbus};
use std::collections::HashMap;
use zbus::Variant;
use zbus::message::{Header, Message};
use zbus::names::ErrorName;

/// A call that ends in a fault.
#[derive(Debug)]
pub(super) struct CallError {
    fault: Fault,
    name: ErrorName<'static>,
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> CallError {
        let name = ErrorName::try_from(dbus::error_name(fault.kind)).expect("every kind makes a valid error name");
        CallError { fault, name }
    }
}

/// What an error says beside its message: `kind`, `whose`, and where they apply `retry_after_ms` and `limit`, a dictionary
/// from the limit's name to its value.
fn details(fault: &Fault) -> HashMap<&'static str, Variant<'_>> {
    let whose = match fault.kind.whose() {
        hearth_api::Whose::Caller => "caller",
        hearth_api::Whose::Board => "board",
        hearth_api::Whose::Model => "model",
        hearth_api::Whose::Daemon => "daemon",
    };
    let mut details = HashMap::from([("kind", Variant::from(fault.kind.as_str())), ("whose", Variant::from(whose))]);
    if let Some(milliseconds) = fault.retry_after_ms {
        details.insert("retry_after_ms", Variant::from(milliseconds));
    }
    if let Some(limit) = &fault.limit {
        details.insert("limit", Variant::from(HashMap::from([(limit.name.as_str(), Variant::from(limit.value))])));
    }
    details
}

impl zbus::DBusError for CallError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, &self.name).build(&(self.fault.message.as_str(), details(&self.fault)))
    }

    fn name(&self) -> ErrorName<'_> {
        self.name.as_ref()
    }

    fn description(&self) -> Option<&str> {
        Some(&self.fault.message)
    }
}
