//! Who is let in, and what those are told that are not.

use super::board::*;
use crate::scheduler::*;
use crate::thermal::Budget;
use hearth_api::{Fault, FaultKind, Priority};
use std::collections::HashMap;
use std::time::Duration;

fn bounded(requests: usize, bytes: usize, requests_per_model: usize) -> Board {
    let mut board = Board::new(Bounds { requests, bytes, requests_per_model, ..BOUNDS }, Budget::unbounded(2));
    for model in ["digits", "gauge"] {
        let is = Model::new(ms(10), us(0)).unmeasured();
        board.install(model, Model { max_batch: 1, ..is.clone() });
        board.on(Event::Model(name(model), Readiness::Ready(Model { max_batch: 1, ..is }.profile())));
    }
    board
}

fn fault(board: &Board, ticket: Ticket) -> &Fault {
    match &board.end(ticket).how {
        How::Refused(fault) => fault,
        other => panic!("{ticket:?} was not refused: {other:?}"),
    }
}

fn limit(board: &Board, ticket: Ticket) -> (FaultKind, &str, u64) {
    let fault = fault(board, ticket);
    let limit = fault.limit.as_ref().expect("a limit");
    (fault.kind, limit.name.as_str(), limit.value)
}

#[test]
fn a_full_queue_names_its_limit_and_keeps_room_for_high_priority() {
    let mut board = bounded(32, 1 << 20, 1000);
    let asked: Vec<Ticket> = (0..40u64).map(|n| board.ask_at(us(n), Ask::of("digits").from(&format!("caller{n}")))).collect();
    let other: Vec<Ticket> = (40..50u64).map(|n| board.ask_at(us(n), Ask::of("gauge").from(&format!("caller{n}")))).collect();
    let high = [board.ask_at(us(60), Ask::of("gauge").from("a").high()), board.ask_at(us(61), Ask::of("gauge").from("b").high())];
    let last = board.ask_at(us(62), Ask::of("gauge").from("c").high());
    board.run_until(us(100));
    // 30 of 32 are for everyone; one model leaves a fifth of them to others.
    assert_eq!(limit(&board, asked[24]), (FaultKind::Overloaded, "queue_requests_per_model", 20));
    assert_eq!(limit(&board, other[9]), (FaultKind::Overloaded, "queue_requests_per_model", 4));
    assert_eq!(board.scheduler.waiting(), 24 + 4 + 2 - 1);
    assert_eq!(limit(&board, last).1, "queue_requests_per_model");
    board.run();
    assert!(asked[..24].iter().chain(&other[..4]).chain(&high).all(|ticket| board.end(*ticket).served()));
}

#[test]
fn the_bound_in_all_holds_when_everybody_is_modest() {
    let mut board = bounded(4, 1 << 20, 1000);
    let names: Vec<String> = (0..6).map(|n| format!("m{n}")).collect();
    for model in &names {
        board.install(model, Model::new(ms(10), us(1)));
    }
    let asked: Vec<Ticket> = names.iter().map(|model| board.ask_at(us(1), Ask::of(model).from(model))).collect();
    board.run_until(us(2));
    assert_eq!(limit(&board, asked[4]), (FaultKind::Overloaded, "queue_requests", 4));
    assert_eq!(limit(&board, asked[5]), (FaultKind::Overloaded, "queue_requests", 4));
    board.run();
}

#[test]
fn bytes_are_bounded_too() {
    let mut board = bounded(1000, 16_000, 1000);
    let large = board.ask_at(us(0), Ask::of("digits").bytes(15_001));
    let first = board.ask_at(us(1), Ask::of("digits").bytes(8_000).from("a"));
    let second = board.ask_at(us(2), Ask::of("gauge").bytes(8_000).from("b"));
    let small = board.ask_at(us(3), Ask::of("gauge").bytes(6_000).from("b"));
    let greedy = board.ask_at(us(4), Ask::of("gauge").bytes(500).from("b"));
    board.run_until(us(5));
    assert_eq!(limit(&board, large), (FaultKind::TooLarge, "queue_bytes", 15_000));
    assert_eq!(limit(&board, second), (FaultKind::Overloaded, "queue_bytes", 15_000));
    assert_eq!(limit(&board, greedy), (FaultKind::Overloaded, "queue_bytes_per_model", 2_000));
    assert_eq!(board.scheduler.waiting_bytes(), 6_000);
    board.run();
    assert!(board.end(first).served() && board.end(small).served());
}

#[test]
fn what_waits_for_one_model_is_bounded_by_itself() {
    let mut board = bounded(1000, 1 << 20, 10);
    let asked: Vec<Ticket> = (0..15u64).map(|n| board.ask_at(us(n), Ask::of("digits").from(&n.to_string()))).collect();
    let other = board.ask_at(us(20), Ask::of("gauge"));
    board.run_until(us(21));
    // One of eleven runs.
    assert_eq!(limit(&board, asked[11]), (FaultKind::Overloaded, "queue_requests_per_model", 10));
    board.run();
    assert!(board.end(other).served());
}

#[test]
fn greedy_callers_end_up_with_equal_parts_and_a_modest_one_always_gets_in() {
    let mut board = bounded(256, 1 << 30, 1000);
    // Three callers keep asking for far more than there is room for; they came one after the other.
    for n in 0..9_000u64 {
        for (caller, from) in [("first", 0), ("second", 2_000), ("third", 4_000)] {
            if n >= from {
                let model = if n % 2 == 0 { "digits" } else { "gauge" };
                board.ask_at(us(n * 1_000), Ask::of(model).from(caller).within(Duration::from_secs(600)));
            }
        }
    }
    let modest: Vec<Ticket> = (0..80).map(|n| board.ask_at(us(n * 100_000 + 500), Ask::of("digits").from("modest"))).collect();
    board.run_until(Duration::from_secs(9));
    let served = |ticket: &Ticket| board.ends.get(ticket).is_none_or(End::served);
    assert!(modest.iter().all(served));
    let waits = board.scheduler.waiting();
    assert!(waits < 240, "room is left: {waits}");
    let mut parts: HashMap<_, usize> = HashMap::new();
    board.waiting_callers().for_each(|caller| *parts.entry(caller).or_default() += 1);
    for caller in ["first", "second", "third"] {
        assert!((55..85).contains(&parts[caller]), "{parts:?}");
    }
}

#[test]
fn a_refused_caller_is_told_when_half_the_backlog_will_be_done() {
    let mut board = bounded(1000, 1 << 20, 100);
    for n in 0..120u64 {
        board.ask_at(us(n), Ask::of("digits").from(&n.to_string()));
    }
    // After 200 ms 20 have been served at 10 ms each: their places are free again, and the next are taken.
    for n in 0..30u64 {
        board.ask_at(ms(200) + us(n), Ask::of("digits").from(&format!("later{n}")));
    }
    let refused = board.ask_at(ms(201), Ask::of("digits").from("last"));
    board.run_until(ms(202));
    let told = fault(&board, refused).retry_after_ms.unwrap();
    // 94 wait, a sixteenth of the places being kept for high priority, and one runs.
    assert!((470..=480).contains(&told), "{told} ms for 95 requests of 10 ms");
    board.run();
}

#[test]
fn a_deadline_in_the_past_an_unknown_and_a_failed_model_and_heat_are_refused_as_what_they_are() {
    let mut board = bounded(10, 1 << 20, 10);
    board.install("broken", Model::new(ms(1), ms(1)));
    board.on(Event::Model(name("broken"), Readiness::Failed(Fault::model_failed("its file is truncated"))));
    board.on(Event::Budget(Budget { admit: Priority::High, retry_after: ms(700), reason: "79 °C of 80".into(), ..Budget::unbounded(2) }));
    let late = board.ask_at(ms(1), Ask::of("digits").within(ms(0)));
    let unknown = board.ask_at(ms(1), Ask::of("nobody"));
    let broken = board.ask_at(ms(1), Ask::of("broken"));
    let hot = board.ask_at(ms(1), Ask::of("digits"));
    let high = board.ask_at(ms(1), Ask::of("digits").high());
    board.run();
    assert_eq!(board.end(late).kind(), Some(FaultKind::DeadlineExceeded));
    assert_eq!(fault(&board, unknown).message, "no model is called nobody; installed: broken, digits, gauge");
    assert_eq!(fault(&board, broken), &Fault::model_failed("its file is truncated"));
    assert_eq!((fault(&board, hot).kind, fault(&board, hot).retry_after_ms), (FaultKind::TooHot, Some(700)));
    assert!(fault(&board, hot).message.contains("79 °C"));
    assert!(board.end(high).served());
}

#[test]
fn the_same_request_again_attaches_while_it_is_at_work_and_is_new_afterwards() {
    let mut board = bounded(10, 1 << 20, 10);
    let same = || Ask::of("digits").from("a").correlation(7);
    let first = board.ask_at(ms(0), same());
    let again = board.ask_at(ms(1), same());
    let stranger = board.ask_at(ms(1), same().from("b"));
    let afterwards = board.ask_at(ms(30), same());
    board.run();
    assert!(matches!(board.end(again).how, How::Attached(to) if to == first));
    assert!([first, stranger, afterwards].iter().all(|ticket| board.end(*ticket).served()));
}

#[test]
fn a_cancelled_request_ends_at_once_while_it_waits_and_with_its_step_when_it_runs() {
    let mut board = bounded(10, 1 << 20, 10);
    let same = || Ask::of("digits").from("a").correlation(7);
    let running = board.ask_at(ms(0), same());
    let waiting = board.ask_at(ms(1), Ask::of("digits"));
    board.event_at(ms(2), Event::Cancel(running));
    board.event_at(ms(2), Event::Cancel(waiting));
    board.event_at(ms(2), Event::Cancel(waiting));
    let anew = board.ask_at(ms(3), same());
    let again = board.ask_at(ms(12), same());
    board.run();
    assert_eq!((board.end(waiting).kind(), board.end(waiting).at), (Some(FaultKind::Cancelled), at(ms(2))));
    assert!(board.end(running).served() && board.end(running).at == at(ms(10)));
    assert!(board.end(anew).served(), "a cancelled request is nothing to attach to");
    assert!(matches!(board.end(again).how, How::Attached(to) if to == anew), "its end leaves the new one alone");
}

#[test]
fn the_first_request_loads_its_model_once_and_those_behind_it_wait_within_their_deadlines() {
    let mut board = Board::new(BOUNDS, Budget::unbounded(2));
    board.install("digits", Model { load: ms(100), ..Model::new(ms(5), us(0)) });
    let patient: Vec<Ticket> = (0..3).map(|n| board.ask_at(ms(n), Ask::of("digits"))).collect();
    let hasty = board.ask_at(ms(3), Ask::of("digits").within(ms(50)));
    board.run();
    assert_eq!(board.loads, [name("digits")]);
    assert!(patient.iter().all(|ticket| board.started(*ticket) == at(ms(100))));
    assert_eq!((board.end(hasty).kind(), board.end(hasty).at), (Some(FaultKind::DeadlineExceeded), at(ms(53))));
}

#[test]
fn what_waits_for_a_model_that_fails_or_goes_away_is_told_so_at_once() {
    let mut board = Board::new(BOUNDS, Budget::unbounded(2));
    for model in ["digits", "gauge"] {
        board.install(model, Model { load: ms(100), ..Model::new(ms(5), us(0)) });
    }
    let fails = board.ask_at(ms(0), Ask::of("digits"));
    let goes = board.ask_at(ms(0), Ask::of("gauge"));
    board.event_at(ms(10), Event::Model(name("digits"), Readiness::Failed(Fault::model_failed("no memory"))));
    board.event_at(ms(20), Event::Model(name("gauge"), Readiness::Removed));
    board.run_until(ms(20));
    assert_eq!(fault(&board, fails), &Fault::model_failed("no memory"));
    assert_eq!(board.end(goes).kind(), Some(FaultKind::UnknownModel));
}

#[test]
fn a_daemon_that_shuts_down_finishes_what_it_can_and_hands_the_rest_back() {
    let mut board = bounded(100, 1 << 20, 100);
    let asked: Vec<Ticket> = (0..20u64).map(|n| board.ask_at(us(n), Ask::of("digits"))).collect();
    board.event_at(ms(1), Event::Drain { until: at(ms(95)) });
    let late = board.ask_at(ms(2), Ask::of("digits"));
    board.run();
    let (done, rest) = asked.split_at(10);
    assert!(done.iter().all(|ticket| board.end(*ticket).served()));
    assert!(rest.iter().all(|ticket| matches!(board.end(*ticket).how, How::HandedBack) && board.end(*ticket).at == at(ms(95))));
    assert_eq!(fault(&board, late).kind, FaultKind::Overloaded);
    assert_eq!(fault(&board, late).message, "the daemon is shutting down");
}

#[test]
fn a_board_that_will_soon_be_slower_admits_what_it_can_still_do_then() {
    let admitted = |soon: f64| {
        let mut board = Board::new(BOUNDS, Budget { soon, ..Budget::unbounded(2) });
        board.install("digits", Model::new(ms(0), ms(20)));
        board.on(Event::Model(name("digits"), Readiness::Ready(Model::new(ms(0), ms(20)).profile())));
        let asked: Vec<Ticket> = (0..1000).map(|n| board.ask_at(us(n), Ask::of("digits").within(ms(5000)))).collect();
        board.run();
        asked.iter().filter(|ticket| board.end(**ticket).served()).count()
    };
    let (same, slower) = (admitted(2.0), admitted(0.5));
    assert!((190..=210).contains(&same) && (45..=55).contains(&slower), "{same} and {slower}");
}
