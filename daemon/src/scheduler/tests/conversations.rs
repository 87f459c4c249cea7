//! Models whose requests are conversations: they ride step after step until they are over, and let others in between.

use super::board::{BOUNDS, at, ms, name};
use crate::scheduler::*;
use crate::thermal::Budget;
use hearth_api::{FaultKind, ModelName, Priority};
use std::sync::Arc;
use std::time::Duration;

/// A scheduler with a model of conversations, `chat`, and one that is none, `digits`.
fn scheduler() -> Scheduler {
    let mut scheduler = Scheduler::new(BOUNDS, Budget::unbounded(2));
    for (model, conversations) in [("chat", true), ("digits", false)] {
        let profile = Profile { max_batch: 3, max_delay: Duration::ZERO, points: Vec::new(), conversations };
        scheduler.on(Event::Model(name(model), Readiness::Ready(Arc::new(profile))), Time::default());
    }
    scheduler
}

fn job(ticket: u64, model: &str, deadline: u64) -> Event {
    let key = Key { door: Door::Bus, reply_to: ":1.7".into(), correlation: vec![ticket as u8].into() };
    let model: ModelName = name(model);
    Event::Submit(Job {
        ticket: Ticket(ticket),
        key,
        model,
        priority: Priority::Normal,
        deadline: at(ms(deadline)),
        bytes: 1,
        alone: false,
    })
}

/// The step to run.
fn step(actions: Vec<Action>) -> Option<(StepId, Vec<u64>, u32)> {
    actions.into_iter().find_map(|action| match action {
        Action::Run(step) => Some((step.id, step.jobs.iter().map(|job| job.ticket.0).collect(), step.threads)),
        _ => None,
    })
}

fn finished(step: StepId, unfinished: &[u64]) -> Event {
    Event::Finished { step, took: ms(10), unfinished: unfinished.iter().map(|ticket| Ticket(*ticket)).collect() }
}

#[test]
fn conversations_join_and_leave_between_steps() {
    let mut scheduler = scheduler();
    let (first, jobs, threads) = step(scheduler.on(job(1, "chat", 60_000), at(ms(0)))).unwrap();
    assert_eq!((jobs, threads), (vec![1], 2));
    assert_eq!(step(scheduler.on(job(2, "chat", 60_000), at(ms(1)))), None);
    let (second, jobs, _) = step(scheduler.on(finished(first, &[1]), at(ms(10)))).unwrap();
    assert_eq!(jobs, [1, 2]);
    let (third, jobs, _) = step(scheduler.on(finished(second, &[2]), at(ms(20)))).unwrap();
    assert_eq!(jobs, [2]);
    assert_eq!(step(scheduler.on(finished(third, &[]), at(ms(30)))), None);
    assert_eq!(scheduler.waiting(), 0);
}

#[test]
fn those_that_began_go_on_before_others_begin() {
    let mut scheduler = scheduler();
    let (id, ..) = step(scheduler.on(job(1, "chat", 60_000), at(ms(0)))).unwrap();
    (2..=5).for_each(|ticket| drop(scheduler.on(job(ticket, "chat", 60_000), at(ms(ticket)))));
    let (id, jobs, _) = step(scheduler.on(finished(id, &[1]), at(ms(10)))).unwrap();
    assert_eq!(jobs, [1, 2, 3]);
    let (id, jobs, _) = step(scheduler.on(finished(id, &[1, 2, 3]), at(ms(20)))).unwrap();
    assert_eq!(jobs, [1, 2, 3]);
    let (_, jobs, _) = step(scheduler.on(finished(id, &[1, 3]), at(ms(30)))).unwrap();
    assert_eq!(jobs, [1, 3, 4]);
}

#[test]
fn another_model_waits_for_one_node_of_a_conversation_and_has_no_more_than_its_part() {
    let mut scheduler = scheduler();
    let (mut id, ..) = step(scheduler.on(job(1, "chat", 60_000), at(ms(0)))).unwrap();
    for now in 1..20 {
        (id, ..) = step(scheduler.on(finished(id, &[1]), at(ms(10 * now)))).unwrap();
    }
    assert!(!scheduler.wants_interruption(id));
    let mut inside = 0;
    for now in (195..).step_by(30) {
        assert_eq!(step(scheduler.on(job(now, "digits", 60_000), at(ms(now)))), None);
        if !scheduler.wants_interruption(id) {
            break;
        }
        let (digits, jobs, _) = step(scheduler.on(Event::Between(id), at(ms(now + 1)))).unwrap();
        assert_eq!(jobs, [now]);
        assert!(!scheduler.wants_interruption(id), "one at a time");
        assert_eq!(step(scheduler.on(Event::Finished { step: digits, took: ms(28), unfinished: Vec::new() }, at(ms(now + 29)))), None);
        inside += 1;
    }
    // 250 ms ahead, and the step that passes them.
    assert_eq!(inside, 9);
    assert_eq!(step(scheduler.on(Event::Between(id), at(ms(500)))), None);
    // What waited runs after the step.
    let (_, jobs, _) = step(scheduler.on(finished(id, &[1]), at(ms(510)))).unwrap();
    assert_eq!(jobs, [1], "it had less compute time");
}

#[test]
fn conversations_of_another_model_wait_for_the_step() {
    let mut scheduler = scheduler();
    let profile = Profile { max_batch: 3, max_delay: Duration::ZERO, points: Vec::new(), conversations: true };
    scheduler.on(Event::Model(name("other"), Readiness::Ready(Arc::new(profile))), Time::default());
    let (id, ..) = step(scheduler.on(job(1, "chat", 60_000), at(ms(0)))).unwrap();
    assert_eq!(step(scheduler.on(job(2, "other", 60_000), at(ms(1)))), None);
    assert!(!scheduler.wants_interruption(id));
    let (_, jobs, _) = step(scheduler.on(finished(id, &[1]), at(ms(10)))).unwrap();
    assert_eq!(jobs, [2]);
}

#[test]
fn a_conversation_ends_between_steps_at_its_deadline_or_when_it_is_cancelled() {
    let mut scheduler = scheduler();
    let (id, ..) = step(scheduler.on(job(1, "chat", 15), at(ms(0)))).unwrap();
    scheduler.on(job(2, "digits", 60_000), at(ms(1)));
    scheduler.on(job(3, "chat", 60_000), at(ms(2)));
    let (id, jobs, _) = step(scheduler.on(finished(id, &[1]), at(ms(10)))).unwrap();
    assert_eq!(jobs, [2]);
    let refused = |actions: &[Action]| {
        actions.iter().find_map(|action| if let Action::Refuse { ticket, fault } = action { Some((ticket.0, fault.kind)) } else { None })
    };
    assert_eq!(refused(&scheduler.on(Event::Timer, at(ms(15)))), Some((1, FaultKind::DeadlineExceeded)));
    assert_eq!(refused(&scheduler.on(Event::Cancel(Ticket(3)), at(ms(16)))), Some((3, FaultKind::Cancelled)));
    assert_eq!(step(scheduler.on(finished(id, &[]), at(ms(20)))), None);
}

#[test]
fn a_conversation_whose_model_is_gone_is_told() {
    let mut scheduler = scheduler();
    let (id, ..) = step(scheduler.on(job(1, "chat", 60_000), at(ms(0)))).unwrap();
    scheduler.on(Event::Model(name("chat"), Readiness::Removed), at(ms(5)));
    let actions = scheduler.on(finished(id, &[1]), at(ms(10)));
    assert!(matches!(&actions[..], [Action::Refuse { ticket: Ticket(1), fault }] if fault.kind == FaultKind::UnknownModel), "{actions:?}");
}

#[test]
fn what_could_not_end_before_the_drain_is_handed_back() {
    let mut scheduler = scheduler();
    let (id, ..) = step(scheduler.on(job(1, "chat", 60_000), at(ms(0)))).unwrap();
    scheduler.on(Event::Drain { until: at(ms(15)) }, at(ms(5)));
    let (id, ..) = step(scheduler.on(finished(id, &[1]), at(ms(10)))).unwrap();
    let actions = scheduler.on(finished(id, &[1]), at(ms(20)));
    let actions = if actions.is_empty() { scheduler.on(Event::Timer, at(ms(21))) } else { actions };
    assert!(actions.iter().any(|action| matches!(action, Action::HandBack { ticket: Ticket(1) })), "{actions:?}");
}

/// So many steps of one conversation, in turns with as many of `digits` if those come; when they are over, and which step is next.
fn ride(scheduler: &mut Scheduler, steps: u64, digits: bool) -> (u64, StepId) {
    let mut now = 0;
    let mut runs = step(scheduler.on(job(1, "chat", 3_600_000), at(ms(now))));
    for n in 0..if digits { 2 * steps } else { steps } {
        if digits && n % 2 == 0 {
            scheduler.on(job(100 + n, "digits", now + 60_000), at(ms(now)));
        }
        let (id, jobs, _) = runs.expect("something is to do");
        let unfinished: &[u64] = if jobs == [1] { &[1] } else { &[] };
        now += 10;
        runs = step(scheduler.on(finished(id, unfinished), at(ms(now))));
    }
    (now, runs.expect("something is to do").0)
}

/// When a conversation that is wanted within so many milliseconds may come again; none if it is let in.
fn refused(scheduler: &mut Scheduler, now: u64, within: u64) -> Option<u64> {
    scheduler.on(job(2, "chat", now + within), at(ms(now))).into_iter().find_map(|action| match action {
        Action::Refuse { fault, .. } => {
            assert_eq!(fault.kind, FaultKind::Overloaded);
            Some(fault.retry_after_ms.expect("an overload says when to come again"))
        }
        _ => None,
    })
}

#[test]
fn until_one_is_over_no_more_are_let_in_than_could_stay_as_long_as_those_did() {
    let let_in = |steps| {
        let mut scheduler = scheduler();
        let (now, _) = ride(&mut scheduler, steps, false);
        refused(&mut scheduler, now, 4000).is_none()
    };
    // They would stay for 1 s or 5 s; 0.4 x 1.2 of 4 s is 1.9 s.
    assert!(let_in(100) && !let_in(500));
}

#[test]
fn the_only_one_is_let_in_if_it_can_be_in_time_and_another_if_it_leaves_some_to_spare() {
    let at_the_end = |within, other: bool| {
        let mut scheduler = scheduler();
        let (now, last) = ride(&mut scheduler, 99, false);
        scheduler.on(finished(last, &[]), at(ms(now + 10)));
        if other {
            scheduler.on(job(3, "chat", now + 60_000), at(ms(now + 10)));
        }
        refused(&mut scheduler, now + 10, within).is_none()
    };
    // A conversation takes 100 steps of 10 ms.
    assert!(at_the_end(1200, false) && !at_the_end(1000, false), "the only one");
    assert!(at_the_end(4000, true) && !at_the_end(1200, true), "the second one");
}

#[test]
fn a_conversation_is_expected_to_share_the_time_with_what_comes_meanwhile() {
    let retry = |digits| {
        let mut scheduler = scheduler();
        let (now, _) = ride(&mut scheduler, 1500, digits);
        refused(&mut scheduler, now, 1000).expect("it would stay for longer than that") as f64
    };
    let (alone, shared) = (retry(false), retry(true));
    assert!((1.6..2.1).contains(&(shared / alone)), "{alone} ms alone, {shared} ms");
}
