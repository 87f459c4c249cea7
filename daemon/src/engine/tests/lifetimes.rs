//! How models come, change and go.

use super::kit::{Home, elements, input, install, name, slow, slow_input, times};
use hearth_api::{FaultKind, ModelState};
use std::time::Duration;

#[test]
fn a_model_is_loaded_by_its_first_request() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    let before = kit.until_model("double", |_| true);
    assert_eq!((before.state, before.memory_bytes), (ModelState::Available, 0));
    kit.ask("double", input([1.0; 4])).reply();
    let after = kit.until_model("double", |m| m.state == ModelState::Ready);
    assert!(after.memory_bytes > 0);
    assert_eq!(after.inputs[0].shape, [-1, 4]);
}

#[test]
fn pinned_models_are_loaded_at_start_and_the_others_leave_when_idle() {
    let mut home = Home::with(&[("kept", times(2.0)), ("left", times(3.0))]);
    home.settings.models.pinned = vec![name("kept")];
    home.settings.models.preload = true;
    home.settings.models.idle_unload = Some(Duration::from_millis(50));
    let kit = home.start();
    assert!(kit.until_model("kept", |m| m.state == ModelState::Ready).pinned);
    kit.ask("left", input([1.0; 4])).reply();
    kit.until_model("left", |m| m.state == ModelState::Available && !m.pinned);
    assert_eq!(kit.until_model("kept", |_| true).state, ModelState::Ready);
    // It comes back when it is asked for.
    assert_eq!(elements(&kit.ask("left", input([1.0; 4])).reply()), [3.0; 4]);
}

#[test]
fn an_unloaded_model_leaves_and_comes_back_by_hand() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    kit.wait(kit.engine.load(&name("double"), true)).unwrap();
    assert!(kit.until_model("double", |m| m.state == ModelState::Ready).pinned);
    kit.wait(kit.engine.unload(&name("double"))).unwrap();
    assert!(!kit.until_model("double", |m| m.state == ModelState::Available).pinned);
    kit.load("double");
    let nobody = name("nobody");
    assert_eq!(kit.wait(kit.engine.load(&nobody, false)).unwrap_err().kind, FaultKind::UnknownModel);
    assert_eq!(kit.wait(kit.engine.unload(&nobody)).unwrap_err().kind, FaultKind::UnknownModel);
}

#[test]
fn another_version_takes_over_without_a_lost_request() {
    let home = Home::with(&[("model", times(2.0))]);
    let kit = home.start();
    kit.load("model");
    install(&home.store(), "model", "2", &times(3.0), 4);
    // Together no more than one caller may have waiting, however slow the machine is.
    let mut pending: Vec<_> = (0..48).map(|_| kit.ask("model", input([1.0; 4]))).collect();
    kit.wait(kit.engine.rescan());
    pending.extend((0..48).map(|_| kit.ask("model", input([1.0; 4]))));
    for reply in pending.into_iter().map(|p| p.reply()) {
        let factor = if reply.model_version == "1" { 2.0 } else { 3.0 };
        assert_eq!(elements(&reply), [factor; 4], "version {}", reply.model_version);
    }
    kit.until_model("model", |m| m.version == "2" && m.state == ModelState::Ready);
    kit.load("model");
}

#[test]
fn models_that_come_and_go_are_seen_by_a_rescan() {
    let home = Home::new();
    let kit = home.start();
    assert_eq!(kit.ask("late", input([1.0; 4])).fault().kind, FaultKind::UnknownModel);
    install(&home.store(), "late", "1", &times(2.0), 4);
    kit.wait(kit.engine.rescan());
    kit.ask("late", input([1.0; 4])).reply();
    home.store().remove(&name("late"), None).unwrap();
    kit.wait(kit.engine.rescan());
    assert!(kit.until(|s| s.models.is_empty()).stats.answered > 0);
    assert_eq!(kit.ask("late", input([1.0; 4])).fault().kind, FaultKind::UnknownModel);
}

#[test]
fn a_model_that_cannot_be_loaded_fails_its_requests_with_the_reason() {
    let home = Home::with(&[("broken", b"no onnx at all".to_vec()), ("double", times(2.0))]);
    let kit = home.start();
    let fault = kit.ask("broken", input([1.0; 4])).fault();
    assert_eq!(fault.kind, FaultKind::ModelFailed);
    let info = kit.until_model("broken", |m| m.state == ModelState::Failed);
    assert!(!info.reason.is_empty());
    assert_eq!(kit.wait(kit.engine.load(&name("broken"), false)).unwrap_err().kind, FaultKind::ModelFailed);
    kit.ask("double", input([1.0; 4])).reply();
}

#[test]
fn the_longest_unused_model_leaves_when_another_needs_its_room() {
    let models = [("a", slow(2)), ("b", slow(2)), ("c", slow(2))];
    let home = Home::with(&models);
    let each = {
        let kit = home.start();
        kit.load("a");
        kit.until_model("a", |m| m.memory_bytes > 0).memory_bytes
    };
    let mut home = Home::with(&models);
    home.settings.models.memory_bytes = Some(each * 5 / 2);
    let kit = home.start();
    for model in ["a", "b", "a", "c"] {
        kit.ask(model, slow_input()).reply();
    }
    kit.until_model("c", |m| m.state == ModelState::Ready);
    kit.until_model("b", |m| m.state == ModelState::Available);
    kit.until_model("a", |m| m.state == ModelState::Ready);
    // And what can never fit is told in numbers.
    home.settings.models.memory_bytes = Some(each / 2);
    drop(kit);
    let kit = home.start();
    let fault = kit.ask("a", slow_input()).fault();
    assert_eq!((fault.kind, fault.limit.unwrap().value), (FaultKind::ModelFailed, each / 2));
    assert!(fault.message.contains("MiB"), "{}", fault.message);
}

#[test]
fn points_are_measured_in_idleness_and_survive_a_restart() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    kit.load("double");
    // Batches of 1, 2 and 4, on one thread and on two.
    let info = kit.until_model("double", |m| m.points.len() == 5);
    assert!(info.points.iter().all(|p| p.latency_us > 0));
    kit.wait(kit.engine.shutdown(Duration::from_secs(10)));
    assert_eq!(home.store().load_points(&name("double"), "1").unwrap().len(), 5);
    let kit = home.start();
    kit.load("double");
    assert_eq!(kit.until_model("double", |m| m.state == ModelState::Ready).points.len(), 5);
}

#[test]
fn a_request_does_not_wait_for_a_measurement() {
    let home = Home::with(&[("double", times(2.0)), ("slow", slow(60))]);
    let kit = home.start();
    kit.load("double");
    kit.load("slow");
    // The first run of the slow one is over, and others of several times its length go on.
    let first = kit.until_model("slow", |m| !m.points.is_empty()).points[0];
    kit.until_computing();
    let reply = kit.ask("double", input([1.0; 4])).reply();
    assert_eq!(elements(&reply), [2.0; 4]);
    let waited = reply.timings.queued_us + reply.timings.batched_us;
    assert!(waited < first.latency_us, "waited {waited} us; one run of the other model takes {} us", first.latency_us);
}
