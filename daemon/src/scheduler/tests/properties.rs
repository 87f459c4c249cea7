//! Properties that hold whatever happens: random boards, models, requests, cancellations, budgets and drains. The board
//! checks every action; what is here says what must be true at the end.

use super::board::*;
use crate::scheduler::*;
use crate::thermal::Budget;
use hearth_api::{Fault, Priority};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Happening {
    Ask(Ask),
    /// The request sent so many before.
    Cancel(u64),
    Budget(Budget),
    Model(usize, u8),
}

const MODELS: [&str; 3] = ["bearing", "digits", "gauge"];

fn model() -> impl Strategy<Value = Model> {
    let told = prop_oneof![3 => Just(Some(1.0)), 1 => Just(None), 1 => (0.2..5.0).prop_map(Some)];
    (0u64..10_000, 1u64..10_000, 1u32..20, 0u64..10_000, 0u64..200, told).prop_map(|(base, each, max_batch, delay, load, told)| Model {
        base: us(base),
        each: us(each),
        max_batch,
        max_delay: us(delay),
        load: ms(load),
        told,
    })
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![1 => Just(Priority::Background), 6 => Just(Priority::Normal), 1 => Just(Priority::High)]
}

fn ask() -> impl Strategy<Value = Happening> {
    let within = prop_oneof![1 => Just(0), 4 => 1u64..300_000, 4 => 300_000u64..20_000_000];
    (0..MODELS.len() + 1, priority(), within, 0u64..4, 1usize..5_000, 0..12, 0u64..400).prop_map(
        |(model, priority, within, caller, bytes, alone, correlation)| {
            let model = MODELS.get(model).copied().unwrap_or("nobody");
            let ask = Ask::of(model).priority(priority).within(us(within)).from(&format!("caller{caller}")).bytes(bytes);
            Happening::Ask(ask.alone(alone == 0).correlation(correlation))
        },
    )
}

fn budget() -> impl Strategy<Value = Budget> {
    let admit = prop_oneof![6 => Just(Priority::Background), 2 => Just(Priority::Normal), 1 => Just(Priority::High)];
    (0u32..4, 0u32..20, prop_oneof![Just(0.0), 0.0..4.0, Just(f64::NAN)], admit).prop_map(|(threads, batch, cores, admit)| Budget {
        threads: threads.max(1),
        batch: batch.max(1),
        cores,
        admit,
        ..Budget::unbounded(2)
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        40 => ask(),
        4 => (0u64..30).prop_map(Happening::Cancel),
        1 => budget().prop_map(Happening::Budget),
        1 => (0..MODELS.len(), 0u8..4).prop_map(|(model, what)| Happening::Model(model, what)),
    ]
}

fn play(board: &mut Board, happenings: Vec<(u64, Happening)>) -> Duration {
    let mut time = Duration::ZERO;
    let mut asked = 0;
    for (gap, happening) in happenings {
        time += us(gap);
        match happening {
            Happening::Ask(ask) => asked = board.ask_at(time, ask).0,
            Happening::Cancel(before) => board.event_at(time, Event::Cancel(Ticket(asked.saturating_sub(before)))),
            Happening::Budget(budget) => board.event_at(time, Event::Budget(budget)),
            Happening::Model(model, what) => {
                let readiness = match what {
                    0 => Readiness::Removed,
                    1 => Readiness::Failed(Fault::model_failed("it does not load")),
                    _ => Readiness::Available,
                };
                board.event_at(time, Event::Model(name(MODELS[model]), readiness));
            }
        }
    }
    time
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_ticket_ends_once_and_every_bound_is_kept(
        models in prop::array::uniform3(model()),
        bounds in (1usize..100, 1usize..200_000, 1usize..60),
        happenings in prop::collection::vec((0u64..8_000, happening()), 1..250),
        noise in 0.0..0.9,
        drain in prop::option::of((0u64..1_000_000, 0u64..500_000)),
    ) {
        let bounds = Bounds { requests: bounds.0, bytes: bounds.1, requests_per_model: bounds.2, ..BOUNDS };
        let mut board = Board::new(bounds, Budget::unbounded(2));
        board.noise = noise;
        for (model, is) in MODELS.into_iter().zip(models) {
            board.install(model, is);
        }
        play(&mut board, happenings);
        if let Some((from, bound)) = drain {
            board.event_at(us(from), Event::Drain { until: at(us(from + bound)) });
        }
        board.run();
        if let Some((from, bound)) = drain {
            prop_assert!(board.steps.iter().all(|ran| ran.started < at(us(from + bound))));
            prop_assert!(board.ends.values().filter(|end| matches!(end.how, How::HandedBack)).all(|end| end.at == at(us(from + bound))));
        } else {
            prop_assert!(board.ends.values().all(|end| !matches!(end.how, How::HandedBack)));
        }
    }

    #[test]
    fn normal_work_starves_neither_behind_other_models_nor_behind_nearer_deadlines(
        models in prop::array::uniform3(model()),
        gaps in prop::collection::vec(100u64..20_000, 50..400),
        victim in 0..3usize,
    ) {
        // Everything is loaded and no deadline is near for the victim; the others come at any rate, with deadlines ahead of it.
        let named: Vec<(&str, Model)> = MODELS.into_iter().zip(models).collect();
        let longest = named.iter().map(|(_, m)| m.base + m.each * 16).max().unwrap();
        let mut board = Board::with(&named);
        let mut time = Duration::ZERO;
        for (n, gap) in gaps.iter().enumerate() {
            time += us(*gap);
            board.ask_at(time, Ask::of(MODELS[(victim + 1 + n % 2) % 3]).within(ms(400)));
        }
        let asked = time / 3;
        let ticket = board.ask_at(asked, Ask::of(MODELS[victim]).within(Duration::from_secs(3600)));
        board.run();
        // Its own lane is empty, so it is next but for what runs, what may go ahead for a deadline, and one turn of each.
        let waited = board.started(ticket).since(at(asked));
        prop_assert!(waited <= ms(2 * 250) + longest * 6 + ms(10), "waited {waited:?}");
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_busy_models_share_the_compute_time_evenly_whatever_their_cost(
        cheap in 1_000u64..5_000,
        ratio in 2u64..30,
        bases in (0u64..5_000, 0u64..5_000),
        told in prop::array::uniform2(prop::bool::ANY),
    ) {
        let cost = |base, each, told: bool| {
            let model = Model::new(us(base), us(each));
            if told { model } else { model.unmeasured() }
        };
        let mut board = Board::with(&[("bearing", cost(bases.0, cheap, told[0])), ("digits", cost(bases.1, cheap * ratio, told[1]))]);
        // Both have more than can be done in the time.
        let horizon = Duration::from_secs(3);
        for (model, requests) in [("bearing", 6_000), ("digits", 3_000)] {
            for n in 0..requests {
                board.ask_at(us(n / 100), Ask::of(model).within(Duration::from_secs(60)));
            }
        }
        board.run_until(horizon);
        let (bearing, digits) = (board.compute("bearing"), board.compute("digits"));
        prop_assume!(board.steps.iter().filter(|ran| ran.model == name("digits")).count() > 3);
        prop_assert!(bearing < digits * 2 && digits < bearing * 2, "{bearing:?} {digits:?}");
    }
}
