//! Names on the bus.

use crate::{FaultKind, ModelName};

/// The well-known name of the daemon.
pub const BUS_NAME: &str = "org.hearthd.Inference1";
/// Where the object manager sits.
pub const ROOT_PATH: &str = "/org/hearthd";
/// The object with the manager and thermal interfaces.
pub const MANAGER_PATH: &str = "/org/hearthd/Inference1";
/// Interface of the manager.
pub const MANAGER_INTERFACE: &str = "org.hearthd.Inference1.Manager";
/// Interface that tells of heat.
pub const THERMAL_INTERFACE: &str = "org.hearthd.Inference1.Thermal";
/// Interface of a model.
pub const MODEL_INTERFACE: &str = "org.hearthd.Inference1.Model";
/// Interface of a submitted job.
pub const JOB_INTERFACE: &str = "org.hearthd.Inference1.Job";
/// What every error's name begins with.
pub const ERROR_PREFIX: &str = "org.hearthd.Error.";
/// Above this many bytes a payload travels as a sealed memfd.
pub const INLINE_BYTES: usize = 16 * 1024;

/// The bus error of a fault kind: `org.hearthd.Error.BadRequest` for `bad-request`.
pub fn error_name(kind: FaultKind) -> String {
    let mut name = String::from(ERROR_PREFIX);
    for word in kind.as_str().split('-') {
        let (first, rest) = word.split_at(1);
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}

/// The fault kind of a bus error.
pub fn fault_kind(error_name: &str) -> Option<FaultKind> {
    crate::fault::FAULT_KINDS.into_iter().find(|kind| self::error_name(*kind) == error_name)
}

/// The object of a model. Bytes that an object path cannot hold are written `_xx`, in hexadecimal.
pub fn model_path(model: &ModelName) -> String {
    let mut path = format!("{MANAGER_PATH}/model/");
    for byte in model.as_str().bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_paths_have_the_names_of_the_contract() {
        assert_eq!(error_name(FaultKind::BadRequest), "org.hearthd.Error.BadRequest");
        assert_eq!(fault_kind("org.hearthd.Error.DeadlineExceeded"), Some(FaultKind::DeadlineExceeded));
        assert_eq!(model_path(&ModelName::new("yolo-v8").unwrap()), "/org/hearthd/Inference1/model/yolo_2dv8");
    }
}
