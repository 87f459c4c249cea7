//! How requests end.

use super::kit::{Home, elements, input, key, name, slow, slow_input, times};
use crate::engine::Ending;
use crate::thermal::{Budget, Degraded};
use hearth_api::{ContentType, FaultKind, Payload, Priority, Request};
use std::time::Duration;

/// Nodes of a graph that is still at work when something else comes.
const LONG: usize = 250;

#[test]
fn an_answer_comes_with_where_its_time_went() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    let reply = kit.ask("double", input([1.0, 2.0, 3.0, 4.0])).reply();
    assert_eq!(elements(&reply), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!((reply.model, &*reply.model_version, reply.batch, reply.threads), (name("double"), "1", 1, 1));
    assert_eq!(reply.performance_degraded, "");
    assert!(reply.timings.computed_us > 0);
    // The model had to be loaded first.
    assert!(reply.timings.queued_us > 0);
}

#[test]
fn two_models_share_the_engine() {
    let home = Home::with(&[("double", times(2.0)), ("treble", times(3.0))]);
    let kit = home.start();
    let pending: Vec<_> = (0..40)
        .map(|i| {
            let (model, factor) = if i % 2 == 0 { ("double", 2.0) } else { ("treble", 3.0) };
            (factor * i as f32, kit.ask(model, input([i as f32; 4])))
        })
        .collect();
    for (expected, pending) in pending {
        assert_eq!(elements(&pending.reply()), [expected; 4]);
    }
    let stats = kit.until(|s| s.stats.answered == 40).stats;
    assert_eq!((stats.received, stats.items, stats.waiting, stats.waiting_bytes), (40, 40, 0, 0));
    assert!(stats.model_bytes > 0 && stats.steps <= 40);
}

#[test]
fn what_each_model_did_is_counted() {
    let home = Home::with(&[("double", times(2.0)), ("slow", slow(LONG)), ("unused", times(3.0))]);
    let kit = home.start();
    kit.load("slow");
    kit.load("double");
    kit.hold_measurements();
    let long = kit.ask("slow", slow_input());
    kit.until_computing();
    let waits = kit.ask("slow", slow_input());
    let refused = kit.submit(key("refused"), kit.request("slow", slow_input()));
    kit.engine.cancel(&key("refused"));
    assert_eq!(refused.fault().kind, FaultKind::Cancelled);
    // Told while the long one is still at work, a tick later at the latest.
    let now = kit.until(|s| s.stats.models[&name("slow")].faults == 1).stats;
    assert!(now.models[&name("slow")].waiting <= 2);
    for pending in [long, waits, kit.ask("double", input([1.0; 4])), kit.ask("nobody", input([1.0; 4]))] {
        pending.end();
    }
    let stats = kit.until(|s| s.stats.answered == 3 && s.stats.models[&name("double")].answered == 1).stats;
    let slow = &stats.models[&name("slow")];
    assert_eq!((slow.answered, slow.faults, slow.tokens, slow.waiting), (2, 1, 0, 0));
    assert!(slow.answered_us > 0 && slow.batch >= 1 && slow.threads >= 1);
    let unused = &stats.models[&name("unused")];
    assert_eq!((unused.answered, unused.batch, unused.threads), (0, 0, 0));
    assert!(!stats.models.contains_key(&name("nobody")), "whoever names models must not fill the memory");
}

#[test]
fn requests_that_wait_together_run_together() {
    let home = Home::with(&[("double", times(2.0)), ("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("double");
    // Measured, so that the scheduler knows that a batch pays; while the slow one runs, the others gather.
    kit.until_model("double", |m| m.points.iter().any(|p| p.batch == 4));
    kit.load("slow");
    kit.hold_measurements();
    let long = kit.ask("slow", slow_input());
    kit.until_computing();
    let together: Vec<_> = (0..4).map(|i| kit.ask("double", input([i as f32; 4]))).collect();
    let batches: Vec<u32> = together.into_iter().map(|pending| pending.reply().batch).collect();
    assert!(batches.iter().any(|batch| *batch > 1), "{batches:?}");
    long.reply();
}

#[test]
fn a_bad_request_ends_alone() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    let json = |text: &str| Payload { content_type: ContentType::Json, bytes: text.to_owned().into() };
    let pending = [
        kit.ask("double", json("{")),
        kit.ask("double", input([1.0; 4])),
        kit.ask("double", json(r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}]}"#)),
        kit.ask("double", input([2.0; 4])),
    ];
    let [a, b, c, d] = pending;
    assert_eq!(a.fault().kind, FaultKind::BadRequest);
    assert_eq!(elements(&b.reply()), [2.0; 4]);
    assert_eq!(c.fault().kind, FaultKind::BadRequest);
    assert_eq!(elements(&d.reply()), [4.0; 4]);
}

#[test]
fn an_unknown_model_is_refused_with_the_names_of_those_there_are() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    let fault = kit.ask("dubble", input([0.0; 4])).fault();
    assert_eq!(fault.kind, FaultKind::UnknownModel);
    assert!(fault.message.contains("double"), "{fault}");
}

#[test]
fn a_payload_over_the_limit_is_refused_with_the_limit() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    let payload = Payload { content_type: ContentType::Json, bytes: vec![b' '; (1 << 20) + 1].into() };
    let fault = kit.ask("double", payload).fault();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    assert_eq!(fault.limit.unwrap().value, 1 << 20);
}

#[test]
fn a_deadline_that_passes_while_waiting_is_a_fault() {
    let home = Home::with(&[("double", times(2.0)), ("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("double");
    kit.load("slow");
    kit.hold_measurements();
    let long = kit.ask("slow", slow_input());
    kit.until_computing();
    let hurried = Request { timeout: Some(Duration::from_millis(1)), ..kit.request("double", input([1.0; 4])) };
    assert_eq!(kit.submit(key("hurried"), hurried).fault().kind, FaultKind::DeadlineExceeded);
    long.reply();
}

#[test]
fn a_request_that_waits_can_be_cancelled() {
    let home = Home::with(&[("double", times(2.0)), ("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("double");
    kit.load("slow");
    kit.hold_measurements();
    let long = kit.ask("slow", slow_input());
    kit.until_computing();
    let unwanted = kit.submit(key("unwanted"), kit.request("double", input([1.0; 4])));
    kit.engine.cancel(&key("unwanted"));
    assert_eq!(unwanted.fault().kind, FaultKind::Cancelled);
    // One that nobody knows is nobody's loss.
    kit.engine.cancel(&key("never sent"));
    long.reply();
}

#[test]
fn a_redelivery_shares_the_answer_of_the_work_that_runs() {
    let home = Home::with(&[("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("slow");
    kit.hold_measurements();
    let first = kit.submit(key("same"), kit.request("slow", slow_input()));
    kit.until_computing();
    assert!(first.is_open());
    let again = kit.submit(key("same"), kit.request("slow", slow_input()));
    let (first, again) = (first.reply(), again.reply());
    assert_eq!(first.answer, again.answer);
    assert_eq!(first.timings, again.timings);
    assert_ne!(first.id, again.id);
    assert_eq!(kit.until(|s| s.stats.answered == 2).stats.items, 1);
}

#[test]
fn something_urgent_interrupts_a_long_graph_between_its_nodes() {
    let home = Home::with(&[("double", times(2.0)), ("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("double");
    kit.load("slow");
    kit.hold_measurements();
    let long = kit.ask("slow", slow_input());
    kit.until_computing();
    let urgent = kit.ask_as(Priority::High, "double", input([1.0; 4]));
    assert_eq!(elements(&urgent.reply()), [2.0; 4]);
    assert!(long.is_open(), "the long one was still at work");
    long.reply();
}

#[test]
fn a_full_inbox_is_refused_at_once() {
    let mut home = Home::with(&[("slow", slow(LONG))]);
    home.settings.limits.queue_requests = 4;
    home.settings.limits.queue_requests_per_model = 4;
    let kit = home.start();
    kit.load("slow");
    kit.hold_measurements();
    let pending: Vec<_> = (0..50).map(|_| kit.ask("slow", slow_input())).collect();
    let endings: Vec<Ending> = pending.into_iter().map(|p| p.end()).collect();
    let answered = endings.iter().filter(|e| matches!(e, Ending::Answered(_))).count();
    assert!((1..=8).contains(&answered), "{answered}");
    let stats = kit.until(|s| s.stats.answered == answered as u64 && s.stats.received == 50).stats;
    assert_eq!(stats.faults["overloaded"], 50 - answered as u64);
    for ending in endings {
        if let Ending::Failed(fault) = ending {
            assert_eq!(fault.kind, FaultKind::Overloaded);
            assert!(fault.retry_after_ms.is_some() && fault.limit.is_some(), "{fault:?}");
        }
    }
}

#[test]
fn a_hot_board_says_so_in_each_reply() {
    let home = Home::with(&[("double", times(2.0))]);
    let kit = home.start();
    kit.engine.set_budget(Budget { degraded: Degraded::HighOperatingTemperature, batch: 1, ..Budget::unbounded(1) });
    assert_eq!(kit.ask("double", input([1.0; 4])).reply().performance_degraded, "high-operating-temperature");
    kit.engine.set_budget(Budget { admit: Priority::High, ..Budget::unbounded(1) });
    assert_eq!(kit.ask("double", input([1.0; 4])).fault().kind, FaultKind::TooHot);
    kit.ask_as(Priority::High, "double", input([1.0; 4])).reply();
}

#[test]
fn a_shutdown_finishes_what_it_can_and_hands_back_the_rest() {
    let home = Home::with(&[("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("slow");
    kit.hold_measurements();
    let running = kit.ask("slow", slow_input());
    kit.until_computing();
    let waiting: Vec<_> = (0..20).map(|_| kit.ask("slow", slow_input())).collect();
    kit.wait(kit.engine.shutdown(Duration::ZERO));
    // Neither was answered: whoever delivered them delivers them again.
    assert_eq!(running.end(), Ending::HandedBack);
    waiting.into_iter().for_each(|pending| assert_eq!(pending.end(), Ending::HandedBack));
    assert_eq!(kit.ask("slow", slow_input()).end(), Ending::HandedBack);
}

#[test]
fn a_shutdown_with_time_answers_what_runs() {
    let home = Home::with(&[("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("slow");
    kit.hold_measurements();
    let running = kit.ask("slow", slow_input());
    kit.until_computing();
    kit.wait(kit.engine.shutdown(Duration::from_secs(50)));
    running.reply();
}

#[test]
fn dropping_the_engine_hands_back_what_waits() {
    let home = Home::with(&[("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("slow");
    kit.hold_measurements();
    let pending: Vec<_> = (0..3).map(|_| kit.ask("slow", slow_input())).collect();
    drop(kit);
    pending.into_iter().for_each(|p| assert_eq!(p.end(), Ending::HandedBack));
}

#[test]
fn the_heart_beats_in_idleness_and_while_a_model_computes() {
    let home = Home::with(&[("slow", slow(LONG))]);
    let kit = home.start();
    kit.load("slow");
    kit.hold_measurements();
    let long = kit.ask("slow", slow_input());
    kit.until_computing();
    assert!(long.is_open());
    long.reply();
    let idle = kit.engine.heartbeat();
    let start = std::time::Instant::now();
    while kit.engine.heartbeat() == idle {
        assert!(start.elapsed() < Duration::from_secs(30), "the heart stands still");
        std::thread::yield_now();
    }
}
