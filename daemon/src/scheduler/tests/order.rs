//! Who goes first.

use super::board::*;
use crate::scheduler::*;
use crate::thermal::Budget;
use hearth_api::{FaultKind, Priority};
use std::time::Duration;

/// Runs one request at a time.
fn single(cost: Duration) -> Model {
    Model { max_batch: 1, ..Model::new(cost, us(0)) }
}

fn order(board: &Board) -> Vec<Ticket> {
    board.steps.iter().flat_map(|ran| ran.tickets.clone()).collect()
}

#[test]
fn priority_goes_before_deadline_and_background_runs_when_nothing_else_waits() {
    let mut board = Board::with(&[("digits", single(ms(10))), ("gauge", single(ms(10)))]);
    let first = board.ask_at(ms(0), Ask::of("digits"));
    let background = board.ask_at(ms(1), Ask::of("digits").background().within(ms(500)));
    let normal = board.ask_at(ms(2), Ask::of("digits"));
    let high = board.ask_at(ms(9), Ask::of("digits").high());
    let more = board.ask_at(ms(15), Ask::of("gauge"));
    board.node = ms(10);
    board.run();
    assert_eq!(order(&board), [first, high, more, normal, background]);
}

#[test]
fn within_a_model_the_first_deadline_goes_first() {
    let mut board = Board::with(&[("digits", single(ms(10)))]);
    let first = board.ask_at(ms(0), Ask::of("digits"));
    let [c, a, b] = [300, 100, 200].map(|within| board.ask_at(ms(1), Ask::of("digits").within(ms(within))));
    board.run();
    assert_eq!(order(&board), [first, a, b, c]);
}

#[test]
fn a_far_deadline_is_overtaken_for_no_longer_than_the_default_timeout() {
    let mut board = Board::new(Bounds { default_timeout: Duration::from_secs(2), ..BOUNDS }, Budget::unbounded(1));
    let model = single(ms(10));
    board.install("digits", model.clone());
    board.on(Event::Model(name("digits"), Readiness::Ready(model.profile())));
    let patient = board.ask_at(ms(1), Ask::of("digits").within(Duration::from_secs(3600)));
    for n in 0..1_000 {
        board.ask_at(ms(n * 8), Ask::of("digits").within(ms(500)));
    }
    board.run();
    assert!(board.started(patient) < at(ms(2_030)), "{:?}", board.started(patient));
}

#[test]
fn a_near_deadline_goes_before_another_model_s_turn() {
    let mut board = Board::with(&[("digits", single(ms(20))), ("gauge", single(ms(30)))]);
    board.ask_at(ms(0), Ask::of("digits"));
    board.ask_at(ms(1), Ask::of("gauge"));
    board.ask_at(ms(2), Ask::of("digits"));
    let turn = board.ask_at(ms(3), Ask::of("gauge"));
    // At 70 ms the gauge has had 30 ms and digits 40; after the gauge, at 100, this one would be late.
    let near = board.ask_at(ms(60), Ask::of("digits").within(ms(50)));
    board.run();
    assert_eq!((board.started(near), board.started(turn)), (at(ms(70)), at(ms(90))));
}

#[test]
fn near_deadlines_are_no_way_to_take_the_board_over() {
    let mut board = Board::with(&[("digits", single(ms(10))), ("gauge", single(ms(10)))]);
    for n in 0..1_000 {
        board.ask_at(ms(n * 5), Ask::of("digits").within(ms(25)));
        board.ask_at(ms(n * 5), Ask::of("gauge").within(Duration::from_secs(60)));
    }
    board.run_until(Duration::from_secs(5));
    let (digits, gauge) = (board.compute("digits"), board.compute("gauge"));
    assert!(gauge * 10 > digits * 8, "{digits:?} {gauge:?}");
}

#[test]
fn under_overload_answers_still_come_in_time() {
    // Twice what can be done, each for 100 ms: first come, first served would start each when it is about to expire.
    let mut board = Board::with(&[("digits", single(ms(10)))]);
    let asked: Vec<Ticket> = (0..400).map(|n| board.ask_at(ms(n * 5), Ask::of("digits").within(ms(100)))).collect();
    board.run();
    let in_time = asked.iter().zip(0..).filter(|(ticket, n)| board.end(**ticket).served() && board.end(**ticket).at <= at(ms(n * 5 + 100)));
    let served = board.steps.len();
    let in_time = in_time.count();
    assert!(in_time * 100 > served * 95 && in_time > 190, "{in_time} of {served}");
}

#[test]
fn a_deadline_that_passes_while_waiting_ends_the_wait_to_the_microsecond() {
    let mut board = Board::with(&[("digits", single(ms(100)).unmeasured())]);
    board.ask_at(ms(0), Ask::of("digits"));
    let late = board.ask_at(ms(1), Ask::of("digits").within(us(50_123)));
    board.run();
    assert_eq!((board.end(late).kind(), board.end(late).at), (Some(FaultKind::DeadlineExceeded), at(us(51_123))));
}

#[test]
fn a_model_that_was_idle_has_no_claim_on_the_past() {
    let mut board = Board::with(&[("digits", single(ms(10))), ("gauge", single(ms(10)))]);
    for _ in 0..300 {
        board.ask_at(ms(0), Ask::of("digits").within(Duration::from_secs(60)));
    }
    for _ in 0..100 {
        board.ask_at(ms(1_000), Ask::of("gauge").within(Duration::from_secs(60)));
    }
    board.run_until(ms(2_000));
    let after: Vec<&Ran> = board.steps.iter().filter(|ran| ran.started >= at(ms(1_000))).collect();
    let gauge = after.iter().filter(|ran| ran.model == name("gauge")).count();
    assert!((48..=52).contains(&gauge), "{gauge} of {}", after.len());
}

#[test]
fn a_model_that_was_loading_has_no_claim_on_the_time_that_took() {
    let mut board = Board::with(&[("digits", single(ms(10)))]);
    board.install("gauge", Model { load: ms(1_000), ..single(ms(10)) });
    for _ in 0..300 {
        board.ask_at(ms(0), Ask::of("digits").within(Duration::from_secs(60)));
        board.ask_at(ms(0), Ask::of("gauge").within(Duration::from_secs(60)));
    }
    board.run_until(ms(2_000));
    let gauge = board.compute("gauge");
    assert!((ms(480)..=ms(520)).contains(&gauge), "{gauge:?} of the second after it was loaded");
}

#[test]
fn high_priority_interrupts_a_running_step_between_two_nodes_one_level_deep() {
    let mut board = Board::with(&[("digits", single(ms(2))), ("gauge", single(ms(100)))]);
    board.node = ms(5);
    let long = board.ask_at(ms(0), Ask::of("gauge"));
    let high = board.ask_at(ms(12), Ask::of("digits").high());
    let higher = board.ask_at(ms(15), Ask::of("digits").high());
    let normal = board.ask_at(ms(16), Ask::of("digits"));
    board.run();
    assert_eq!((board.started(high), board.end(high).at), (at(ms(15)), at(ms(17))));
    assert!(board.started(higher) <= at(ms(22)));
    assert_eq!(board.end(long).at, at(ms(104)));
    assert_eq!(board.started(normal), at(ms(104)));
    assert_eq!(board.steps.iter().map(|ran| ran.inside).collect::<Vec<_>>(), [false, true, true, false]);
}

#[test]
fn what_runs_alone_has_neither_company_nor_interruption() {
    let mut board = Board::with(&[("digits", Model::new(ms(20), us(10)))]);
    board.ask_at(ms(0), Ask::of("digits"));
    let alone = board.ask_at(ms(1), Ask::of("digits").within(Duration::from_secs(19)).alone(true));
    let others: Vec<Ticket> = (0..4).map(|_| board.ask_at(ms(2), Ask::of("digits"))).collect();
    let high = board.ask_at(ms(25), Ask::of("digits").high());
    let high_alone = board.ask_at(ms(45), Ask::of("digits").high().alone(true));
    board.run();
    assert_eq!(board.batch_of(alone), 1);
    assert!(board.started(high) >= board.end(alone).at, "nothing runs inside a suspect step");
    assert!(others.iter().all(|ticket| board.batch_of(*ticket) == 4));
    let inside: Vec<bool> = board.steps.iter().filter(|ran| ran.tickets == [high_alone]).map(|ran| ran.inside).collect();
    assert_eq!(inside, [false], "a suspect runs inside nothing");
}

#[test]
fn steps_may_be_reported_over_in_either_order() {
    let profile = single(ms(1)).profile();
    let mut scheduler = Scheduler::new(BOUNDS, Budget::unbounded(1));
    scheduler.on(Event::Model(name("digits"), Readiness::Ready(profile)), Time::default());
    let job = |ticket, priority| {
        let key = Key { door: Door::Bus, reply_to: ":1.7".into(), correlation: vec![ticket as u8].into() };
        Job { ticket: Ticket(ticket), key, model: name("digits"), priority, deadline: at(ms(500)), bytes: 1, alone: false }
    };
    let run =
        |actions: Vec<Action>| actions.into_iter().find_map(|action| if let Action::Run(step) = action { Some(step.id) } else { None });
    let outer = run(scheduler.on(Event::Submit(job(1, Priority::Normal)), at(ms(1)))).unwrap();
    assert!(!scheduler.wants_interruption(outer));
    assert_eq!(run(scheduler.on(Event::Submit(job(2, Priority::High)), at(ms(2)))), None);
    assert!(scheduler.wants_interruption(outer));
    let inner = run(scheduler.on(Event::Between(outer), at(ms(3)))).unwrap();
    assert_eq!(run(scheduler.on(Event::Submit(job(3, Priority::High)), at(ms(3)))), None);
    assert_eq!(run(scheduler.on(Event::Between(outer), at(ms(3)))), None);
    assert_eq!(
        run(scheduler.on(Event::Finished { step: outer, took: ms(3), unfinished: Vec::new() }, at(ms(5)))),
        None,
        "the inner one is still at work"
    );
    assert_eq!(run(scheduler.on(Event::Finished { step: outer, took: ms(3), unfinished: Vec::new() }, at(ms(5)))), None, "twice is once");
    assert!(run(scheduler.on(Event::Finished { step: inner, took: ms(2), unfinished: Vec::new() }, at(ms(6)))).is_some());
}

/// Steps of one core while half a core may be spent.
fn half_a_core() -> Budget {
    Budget { cores: 0.5, ..Budget::unbounded(2) }
}

#[test]
fn the_board_rests_until_a_step_is_paid_for_and_high_priority_waits_less() {
    let mut board = Board::with(&[("digits", single(ms(200)))]);
    board.on(Event::Budget(half_a_core()));
    let [a, b] = [0, 1].map(|n| board.ask_at(ms(n), Ask::of("digits")));
    let high = board.ask_at(ms(250), Ask::of("digits").high());
    board.run();
    assert_eq!((board.started(a), board.started(high)), (at(ms(0)), at(ms(250))));
    // 200 ms are paid for at 400, and 200 more at 800.
    assert_eq!(board.started(b), at(ms(800)));
}

#[test]
fn a_board_that_may_go_on_at_once_does() {
    let mut board = Board::with(&[("digits", single(ms(200)))]);
    board.on(Event::Budget(half_a_core()));
    let [_, b] = [0, 1].map(|n| board.ask_at(ms(n), Ask::of("digits")));
    board.event_at(ms(250), Event::Budget(Budget::unbounded(2)));
    board.run();
    assert_eq!(board.started(b), at(ms(250)));
}

#[test]
fn a_flood_of_high_priority_spends_no_more_than_the_budget() {
    let mut board = Board::with(&[("digits", single(ms(20))), ("gauge", single(ms(400)))]);
    board.node = ms(5);
    board.on(Event::Budget(half_a_core()));
    for n in 0..1_500 {
        board.ask_at(ms(n * 20), Ask::of("digits").high());
    }
    board.ask_at(ms(1), Ask::of("gauge"));
    board.run_until(Duration::from_secs(30));
    let spent = board.compute("digits") + board.compute("gauge");
    assert!((14.5..=15.4).contains(&spent.as_secs_f64()), "{spent:?} of 30 s at half a core");
}

#[test]
fn what_is_spent_is_what_the_budget_allows_whatever_the_steps() {
    let uneven = Model::new(ms(30), ms(7));
    for cores in [0.1, 0.5, 0.9, 1.3, 1.7] {
        let mut board = Board::with(&[("digits", uneven.clone()), ("gauge", single(ms(90)))]);
        board.on(Event::Budget(Budget { cores, ..Budget::unbounded(2) }));
        for n in 0..6_000 {
            board.ask_at(ms(n * 10), Ask::of(if n % 3 == 0 { "gauge" } else { "digits" }));
        }
        board.run_until(Duration::from_secs(60));
        let spent: f64 = board.steps.iter().map(|ran| ran.took.as_secs_f64() * f64::from(ran.threads)).sum();
        assert!(spent <= cores * 60.0 + 0.5, "{spent} of {} core-seconds", cores * 60.0);
        assert!(spent > cores * 60.0 * 0.6, "{spent} of {} core-seconds", cores * 60.0);
        let threads = board.steps.iter().map(|ran| ran.threads).max();
        assert!(threads <= Some(if cores <= 1.0 { 1 } else { 2 }));
    }
}

#[test]
fn background_work_waits_for_a_board_that_is_cool_enough_to_admit_it() {
    let mut board = Board::with(&[("digits", single(ms(10)))]);
    board.ask_at(ms(0), Ask::of("digits"));
    let background = board.ask_at(ms(1), Ask::of("digits").background());
    board.event_at(ms(2), Event::Budget(Budget { admit: Priority::Normal, ..Budget::unbounded(2) }));
    board.event_at(ms(200), Event::Budget(Budget::unbounded(2)));
    board.run();
    assert_eq!(board.started(background), at(ms(200)));
}
