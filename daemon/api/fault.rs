//! Faults: what went wrong, for a machine and for a person.

use crate::{ModelName, RequestId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The stable, machine-read name of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The request is not well formed, or not what the model takes.
    BadRequest,
    /// No model of that name is installed.
    UnknownModel,
    /// The payload, or what it would become when decoded, is over a limit.
    TooLarge,
    /// The caller may not do this.
    Unauthorized,
    /// A queue is full; worth another try after `retry_after_ms`.
    Overloaded,
    /// The board is too hot for work of this priority; worth another try after `retry_after_ms`.
    TooHot,
    /// The deadline passed, or had passed on arrival, before the answer was there.
    DeadlineExceeded,
    /// Withdrawn by the caller, or by a daemon that is shutting down.
    Cancelled,
    /// The model could not be loaded, or failed on this input.
    ModelFailed,
    /// A defect of the daemon itself.
    Internal,
}

/// Every kind, in the order of the contract.
pub(crate) const FAULT_KINDS: [FaultKind; 10] = [
    FaultKind::BadRequest,
    FaultKind::UnknownModel,
    FaultKind::TooLarge,
    FaultKind::Unauthorized,
    FaultKind::Overloaded,
    FaultKind::TooHot,
    FaultKind::DeadlineExceeded,
    FaultKind::Cancelled,
    FaultKind::ModelFailed,
    FaultKind::Internal,
];

impl FaultKind {
    /// The kind as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::BadRequest => "bad-request",
            FaultKind::UnknownModel => "unknown-model",
            FaultKind::TooLarge => "too-large",
            FaultKind::Unauthorized => "unauthorized",
            FaultKind::Overloaded => "overloaded",
            FaultKind::TooHot => "too-hot",
            FaultKind::DeadlineExceeded => "deadline-exceeded",
            FaultKind::Cancelled => "cancelled",
            FaultKind::ModelFailed => "model-failed",
            FaultKind::Internal => "internal",
        }
    }

    /// Who has to act for the same request to succeed.
    pub fn whose(self) -> Whose {
        match self {
            FaultKind::BadRequest
            | FaultKind::UnknownModel
            | FaultKind::TooLarge
            | FaultKind::Unauthorized
            | FaultKind::DeadlineExceeded
            | FaultKind::Cancelled => Whose::Caller,
            FaultKind::Overloaded | FaultKind::TooHot => Whose::Board,
            FaultKind::ModelFailed => Whose::Model,
            FaultKind::Internal => Whose::Daemon,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose fault a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// The request has to change.
    Caller,
    /// Nobody's: the board has no room or no coolness left right now.
    Board,
    /// The model's.
    Model,
    /// The daemon's.
    Daemon,
}

/// A limit that was hit, with the unit in its name (`payload_bytes`, `queue_requests`, ...).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Name of the limit, its unit last.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Fault {
    /// The stable name.
    pub kind: FaultKind,
    /// What was wrong and what would be right, for a person.
    pub message: String,
    /// When another try is worth while, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The limit that was hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(message: impl Into<String>) -> Fault {
            Fault::new(FaultKind::$kind, message)
        })*
    };
}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into(), retry_after_ms: None, limit: None }
    }

    constructors! {
        /// The request is not well formed.
        bad_request => BadRequest,
        /// Over a limit.
        too_large => TooLarge,
        /// Not allowed.
        unauthorized => Unauthorized,
        /// A queue is full.
        overloaded => Overloaded,
        /// The board is too hot.
        too_hot => TooHot,
        /// Too late.
        deadline_exceeded => DeadlineExceeded,
        /// Withdrawn.
        cancelled => Cancelled,
        /// The model failed.
        model_failed => ModelFailed,
        /// A defect of ours.
        internal => Internal,
    }

    /// No model of this name; `known` names those there are.
    pub fn unknown_model<'a>(name: &ModelName, known: impl IntoIterator<Item = &'a ModelName>) -> Fault {
        let known: Vec<&str> = known.into_iter().map(ModelName::as_str).collect();
        let known = if known.is_empty() { "no model is installed".into() } else { format!("installed: {}", known.join(", ")) };
        Fault::new(FaultKind::UnknownModel, format!("no model is called {name}; {known}"))
    }

    /// With a time after which another try is worth while.
    #[must_use]
    pub fn retry_after(mut self, after: std::time::Duration) -> Fault {
        self.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1));
        self
    }

    /// With the limit that was hit.
    #[must_use]
    pub fn with_limit(mut self, name: impl Into<String>, value: u64) -> Fault {
        self.limit = Some(Limit { name: name.into(), value });
        self
    }
}

/// A fault as it travels: which request of which model, and the fault's own fields beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultBody {
    /// The request's id, where one could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// The model asked for, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// What went wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// Whose fault it is.
    pub whose: Whose,
}

impl FaultBody {
    /// The body for a fault of this request.
    pub fn new(id: Option<RequestId>, model: Option<ModelName>, fault: Fault) -> FaultBody {
        let whose = fault.kind.whose();
        FaultBody { id, model, fault, whose }
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a fault is plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_flat_json_with_its_kind_first_class() {
        let fault =
            Fault::overloaded("256 requests wait").retry_after(std::time::Duration::from_millis(40)).with_limit("queue_requests", 256);
        let body = FaultBody::new(Some(RequestId::new("a").unwrap()), Some(ModelName::new("digits").unwrap()), fault);
        let json: serde_json::Value = serde_json::from_slice(&body.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"id": "a", "model": "digits", "kind": "overloaded", "message": "256 requests wait",
                "retry_after_ms": 40, "limit": {"name": "queue_requests", "value": 256}, "whose": "board"})
        );
        assert_eq!(serde_json::from_value::<FaultBody>(json).unwrap(), body);
    }

    #[test]
    fn every_kind_is_written_as_it_is_named() {
        for kind in FAULT_KINDS {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
