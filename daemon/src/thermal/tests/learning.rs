//! It learns a board that is not what it was taken for, and forecasts it.

use super::board::*;
use crate::thermal::learner::{Learner, Power};
use crate::thermal::{Celsius, Governor, Learnt, Load, Look, Mode, Traits};
use std::time::Duration;

/// Work that comes and goes.
fn uneven(second: u32) -> f64 {
    if (second / 90).is_multiple_of(2) { 1.5 } else { 0.3 }
}

#[test]
fn a_board_that_is_not_as_it_was_taken_for_is_forecast_well() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(25.0));
    live(&mut governor, &mut board, 1200, uneven);
    for (seconds, busy) in [(10, 2.0), (60, 2.0), (300, 1.0), (300, 0.0)] {
        let expected = governor.expect(&[load(seconds, busy)]).unwrap();
        let mut there = board.clone();
        (0..seconds).for_each(|_| there.second(busy, 1.0));
        let off = expected.temperature.0 - there.chip;
        assert!(off.abs() < 1.5, "{off:.2} K after {seconds} s of {busy} cores");
        assert!(off.abs() < 3.0 * expected.error, "{off:.2} K, and the error was to be {:.2}", expected.error);
    }
}

/// CPU time does not tell the power of this work: every other piece of it takes more than twice as much.
#[test]
fn a_board_that_tells_its_watts_is_forecast_from_them() {
    let off = |told: bool| {
        let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(25.0));
        for piece in 0..14 {
            board.core = if piece % 2 == 0 { 0.8 } else { 2.0 };
            // A sensor that reads a tenth too low.
            let (rest, core) = (board.rest, board.core);
            let watts = |look: &Look| told.then_some(0.9 * (rest + look.busy * core));
            live_with(&mut governor, &mut board, 90, |_| 1.0, |look, _| Look { watts: watts(&look), ..look });
        }
        assert!(board.peak < LIMIT);
        board.core = 0.8;
        let load = Load { watts: told.then_some(0.9 * (board.rest + 0.8)), ..load(60, 1.0) };
        let expected = governor.expect(&[load]).unwrap();
        (0..60).for_each(|_| board.second(1.0, 1.0));
        (expected.temperature.0 - board.chip).abs()
    };
    let [by_work, by_watts] = [off(false), off(true)];
    assert!(by_watts < 1.0 && by_watts < by_work / 2.0, "{by_watts:.2} K off with watts, {by_work:.2} K without");
}

/// The voltage falls less with the clock than is taken for granted: work at six tenths of it takes a fifth more.
#[test]
fn what_work_takes_at_another_clock_is_soon_learnt() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(25.0));
    board.volts = 0.88;
    live(&mut governor, &mut board, 1200, uneven);
    for _ in 0..60 {
        board.second(3.0, 0.6);
        let look = board.look(3.0, 0.6);
        governor.on(&look);
    }
    let expected = governor.expect(&[Load { clock: 0.6, ..load(30, 3.0) }]).unwrap();
    (0..30).for_each(|_| board.second(3.0, 0.6));
    let off = expected.temperature.0 - board.chip;
    assert!(off.abs() < 0.5, "{off:.2} K");
}

#[test]
fn the_error_is_larger_further_ahead_and_smaller_when_more_was_seen() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(25.0));
    let horizons = [10, 60, 300].map(Duration::from_secs);
    live(&mut governor, &mut board, 5, uneven);
    let early = governor.outlook(&horizons);
    live(&mut governor, &mut board, 900, uneven);
    let late = governor.outlook(&horizons);
    assert!(late[0].error < late[1].error && late[1].error < late[2].error, "{late:?}");
    assert!(early.iter().zip(&late).all(|(early, late)| late.error < early.error));
}

#[test]
fn it_says_when_the_limit_will_be_reached_and_headroom_is_one_there() {
    let mut board = Board::new(35.0);
    let mut governor = governor(Mode::Balanced);
    live(&mut governor, &mut board, 600, uneven);
    assert_eq!(governor.limit_in(), None);
    // Others take the board, whatever the budget says.
    for _ in 0..30 {
        board.second(4.0, 1.0);
        let look = board.look(4.0, 1.0);
        governor.on(&look);
    }
    let told = governor.limit_in().unwrap().as_secs_f64();
    let mut seconds = 0.0;
    while board.chip < LIMIT {
        board.second(4.0, 1.0);
        seconds += 1.0;
    }
    assert!((told - seconds).abs() < 0.25 * seconds + 5.0, "told {told} s, was {seconds} s");
    let outlook = governor.outlook(&[Duration::from_secs_f64(told)]);
    assert!((outlook[0].headroom - 1.0).abs() < 0.1, "{outlook:?}");
}

#[test]
fn what_was_learnt_survives_a_restart_and_nonsense_is_not_believed() {
    let (mut taught, mut board) = (governor(Mode::Balanced), Board::new(25.0));
    live(&mut taught, &mut board, 1200, uneven);
    let kept = serde_json::to_string(&taught.learnt()).unwrap();
    assert!(kept.len() < 2000);
    let learnt: Learnt = serde_json::from_str(&kept).unwrap();
    let off = |mut governor: Governor| {
        let mut board = board.clone();
        live(&mut governor, &mut board, 20, |_| 0.3);
        let expected = governor.expect(&[load(120, 2.0)]).unwrap().temperature.0;
        (0..120).for_each(|_| board.second(2.0, 1.0));
        (expected - board.chip).abs()
    };
    let again = off(Governor::with_learnt(traits(), limit(), &learnt));
    assert!(again < 3.0, "{again:.1} K");
    for nonsense in [
        "{\"version\":1,\"logarithms\":[1e9,-1e9,0.0,3.0],\"sigmas\":[1.0,1.0,1.0,1.0]}",
        "{\"version\":7,\"logarithms\":[],\"sigmas\":[]}",
    ] {
        let nonsense: Learnt = serde_json::from_str(nonsense).unwrap();
        let mut governor = Governor::with_learnt(traits(), limit(), &nonsense);
        let mut board = Board::new(35.0);
        live(&mut governor, &mut board, 900, |_| 4.0);
        assert!(board.peak <= LIMIT, "{:.2}", board.peak);
    }
}

#[test]
fn a_board_that_cools_worse_is_kept_below_its_limit_and_learnt_anew() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(30.0));
    live(&mut governor, &mut board, 1500, |_| 4.0);
    let before = governor.notices();
    assert!(before.is_empty(), "{before:?}");
    board.resistance[1] = 7.5;
    live(&mut governor, &mut board, 600, |_| 4.0);
    assert!(board.peak <= LIMIT + 0.1, "{:.2}", board.peak);
    let expected = governor.expect(&[load(300, 1.0)]).unwrap().temperature.0;
    (0..300).for_each(|_| board.second(1.0, 1.0));
    assert!((expected - board.chip).abs() < 3.0, "{expected:.1} of {:.1}", board.chip);
}

#[test]
fn a_lower_step_of_a_fan_is_never_taken_to_cool_better_than_a_higher_one() {
    let traits = Traits { fan: [55.0, 65.0].map(Celsius).to_vec(), ..traits() };
    let mut learner = Learner::new(&traits, 45.0, Power::Work(0.5), 0, None);
    // The still fan and its first step are well known, then the second step cools hardly at all.
    for (step, work, reading) in [(0, 0.5, 45.0), (1, 2.0, 57.0), (2, 2.5, 78.0)] {
        for _ in 0..900 {
            learner.pass(1.0, Power::Work(work), step);
            learner.see(reading, step);
        }
    }
    let resistance = [0, 1, 2].map(|step| learner.stages(step).slow.resistance);
    assert!(resistance[0] >= resistance[2] && resistance[1] >= resistance[2], "{resistance:?} K/W");
}

#[test]
fn a_board_that_cools_worse_little_by_little_is_followed() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(30.0));
    live(&mut governor, &mut board, 900, |_| 4.0);
    for _ in 0..60 {
        board.resistance[1] *= 1.006;
        live(&mut governor, &mut board, 30, |_| 4.0);
    }
    assert!(board.peak < LIMIT, "{}", board.peak);
    let expected = governor.expect(&[load(60, 0.5)]).unwrap();
    (0..60).for_each(|_| board.second(0.5, 1.0));
    let off = expected.temperature.0 - board.chip;
    assert!(off.abs() < 1.5, "{off:.2} K");
}

#[test]
fn a_look_is_taken_in_within_a_millisecond() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(30.0));
    let start = std::time::Instant::now();
    live(&mut governor, &mut board, 2000, uneven);
    // Unoptimised and on a busy machine it may take some times as long.
    assert!(start.elapsed() / 2000 < Duration::from_millis(1), "{:?} a look", start.elapsed() / 2000);
}
