//! Requests and models that panic, or that were at work when the daemon died.

use super::kit::{Home, elements, input, install, key, looked_up, name, times};
use crate::engine::flight::{FlightRecord, Mark};
use hearth_api::{FaultKind, ModelState};
use std::time::SystemTime;

/// What a daemon leaves that dies in a step of this request, or in a load.
fn die(home: &Home, version: &str, request: Option<&str>) {
    let mut record = FlightRecord::open(&home.settings.runtime_directory, SystemTime::now()).unwrap();
    let model = Mark::model(&name("model"), version);
    match request {
        Some(correlation) => record.begin_step(0, model, [Mark::request(&key(correlation))].into_iter()),
        None => record.begin_load(Mark::load(&name("model"), version)),
    }
}

#[test]
fn a_request_that_breaks_the_model_ends_alone() {
    let home = Home::with(&[("model", looked_up())]);
    let kit = home.start();
    kit.load("model");
    let pending: Vec<_> = (0..12).map(|i| kit.ask("model", input([if i % 3 == 0 { 1e6 } else { 1.0 }; 4]))).collect();
    for (i, pending) in pending.into_iter().enumerate() {
        match i % 3 {
            0 => assert_eq!(pending.fault().kind, FaultKind::ModelFailed),
            _ => assert_eq!(elements(&pending.reply()), [7.0; 4]),
        }
    }
}

#[test]
fn a_request_that_killed_the_daemon_once_is_tried_alone() {
    let home = Home::with(&[("model", times(2.0))]);
    die(&home, "1", Some("suspect"));
    let kit = home.start();
    let suspect = kit.submit(key("suspect"), kit.request("model", input([1.0; 4])));
    let others: Vec<_> = (0..8).map(|_| kit.ask("model", input([1.0; 4]))).collect();
    assert_eq!(suspect.reply().batch, 1);
    others.into_iter().for_each(|p| drop(p.reply()));
    // It was innocent: were the daemon to die now, the request would be as good as any.
    let record = FlightRecord::open(&home.settings.runtime_directory, SystemTime::now()).unwrap();
    assert_eq!(record.deaths(|| Mark::request(&key("suspect"))), 0);
}

#[test]
fn a_request_that_killed_the_daemon_twice_is_refused_and_the_others_are_answered() {
    let home = Home::with(&[("model", times(2.0))]);
    die(&home, "1", Some("poison"));
    die(&home, "1", Some("poison"));
    let kit = home.start();
    let poison = kit.submit(key("poison"), kit.request("model", input([1.0; 4])));
    let other = kit.ask("model", input([1.0; 4]));
    let fault = poison.fault();
    assert_eq!(fault.kind, FaultKind::ModelFailed);
    assert!(fault.message.contains("killed the daemon twice"), "{}", fault.message);
    assert_eq!(elements(&other.reply()), [2.0; 4]);
}

#[test]
fn a_version_that_killed_the_daemon_three_times_gives_way_to_the_previous_one() {
    let home = Home::with(&[("model", times(2.0))]);
    install(&home.store(), "model", "2", &times(3.0), 4);
    for request in ["a", "b", "c"] {
        die(&home, "2", Some(request));
    }
    let kit = home.start();
    let reply = kit.ask("model", input([1.0; 4])).reply();
    assert_eq!((&*reply.model_version, elements(&reply)), ("1", vec![2.0; 4]));
}

#[test]
fn without_a_previous_version_it_goes_into_quarantine_until_it_is_activated_again() {
    let home = Home::with(&[("model", times(2.0)), ("other", times(3.0))]);
    (0..3).for_each(|_| die(&home, "1", None));
    let kit = home.start();
    let info = kit.until_model("model", |_| true);
    assert_eq!(info.state, ModelState::Quarantined);
    let fault = kit.ask("model", input([1.0; 4])).fault();
    assert_eq!(fault.kind, FaultKind::ModelFailed);
    assert!(fault.message.contains("quarantine"), "{}", fault.message);
    kit.ask("other", input([1.0; 4])).reply();
    home.store().activate(&name("model"), "1").unwrap();
    kit.wait(kit.engine.rescan());
    assert_eq!(elements(&kit.ask("model", input([1.0; 4])).reply()), [2.0; 4]);
}

#[test]
fn a_clean_end_leaves_nobody_suspected() {
    let home = Home::with(&[("model", times(2.0))]);
    die(&home, "1", Some("poison"));
    die(&home, "1", Some("poison"));
    let kit = home.start();
    kit.wait(kit.engine.shutdown(std::time::Duration::from_secs(10)));
    let kit = home.start();
    kit.submit(key("poison"), kit.request("model", input([1.0; 4]))).reply();
}
