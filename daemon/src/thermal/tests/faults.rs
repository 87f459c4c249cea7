//! Sensors that lie, clocks that jump, machines that sleep: to the safe side, and said aloud.

use super::board::*;
use crate::thermal::{Celsius, Degraded, Governor, Look, Mode, Notice};
use std::time::Duration;

/// A board under light load for 900 s, then under overload with a lie from 600 s on until 1400 s; 600 s more without.
fn lied_to(lie: impl Fn(Look) -> Look) -> (Board, Vec<Notice>, f64) {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(35.0));
    let budgets = live_with(
        &mut governor,
        &mut board,
        2000,
        |second| if second < 900 { 0.5 } else { 4.0 },
        |look, second| if (600..1400).contains(&second) { lie(look) } else { look },
    );
    let lasting = served(&budgets[1700..]);
    (board, governor.notices(), lasting)
}

#[track_caller]
fn is_doubted_and_believed_again(notices: &[Notice]) {
    let doubted = notices.iter().position(|n| matches!(n, Notice::SensorDoubted(_)));
    let believed = notices.iter().position(|n| matches!(n, Notice::SensorBelieved(_)));
    assert!(doubted.is_some() && doubted < believed, "{notices:?}");
}

#[test]
fn a_sensor_that_jumps_vanishes_or_freezes_is_doubted_and_the_board_stays_below_its_limit() {
    let frozen = Celsius(57.0);
    let lies: [&dyn Fn(Look) -> Look; 4] = [
        &|look| Look { temperature: Some(Celsius(0.0)), ..look },
        &|look| Look { temperature: Some(Celsius(200.0)), ..look },
        &|look| Look { temperature: None, complaint: "cpu cannot be read".into(), ..look },
        &|look| Look { temperature: Some(frozen), ..look },
    ];
    for (which, lie) in lies.into_iter().enumerate() {
        let (board, notices, lasting) = lied_to(lie);
        is_doubted_and_believed_again(&notices);
        assert!(board.peak <= LIMIT, "lie {which}: {:.2} °C", board.peak);
        assert!(lasting > 1.0, "lie {which}: {lasting:.2} cores afterwards");
    }
}

#[test]
fn a_single_reading_that_fails_is_no_reason_to_say_anything() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(30.0));
    live_with(
        &mut governor,
        &mut board,
        600,
        |_| 1.0,
        |look, second| {
            if second % 50 == 49 { Look { temperature: None, ..look } } else { look }
        },
    );
    assert!(governor.notices().is_empty());
}

#[test]
fn a_clock_that_is_set_back_or_forth_does_no_harm() {
    for by in [-600.0, 3600.0] {
        let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(35.0));
        live_with(
            &mut governor,
            &mut board,
            1800,
            |_| 4.0,
            |look, second| {
                let at = if second < 900 { look.at.as_secs_f64() } else { (look.at.as_secs_f64() + by).max(0.0) };
                Look { at: Duration::from_secs_f64(at), ..look }
            },
        );
        assert!(board.peak <= LIMIT, "{:.2} °C after {by} s", board.peak);
    }
}

#[test]
fn a_board_that_slept_is_taken_as_it_is_found() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(35.0));
    live(&mut governor, &mut board, 900, |_| 4.0);
    (0..600).for_each(|_| board.second(0.0, 1.0));
    live(&mut governor, &mut board, 900, |_| 4.0);
    let notices = governor.notices();
    assert!(matches!(notices[..], [Notice::Slept(gap)] if gap > Duration::from_secs(590)), "{notices:?}");
    assert!(board.peak <= LIMIT, "{:.2}", board.peak);
}

#[test]
fn looks_that_come_late_keep_the_board_near_its_limit_and_no_further() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(35.0));
    let mut cores = 0.5;
    for _ in 0..360 {
        (0..10).for_each(|_| board.second(cores, 1.0));
        let look = board.look(cores, 1.0);
        cores = governor.on(&look).cores;
    }
    assert!(board.peak <= LIMIT + 0.5, "{:.2}", board.peak);
}

#[test]
fn a_board_without_a_sensor_runs_at_full_speed_and_says_so_once() {
    let mut governor = Governor::new(traits(), None);
    let mut board = Board::new(30.0);
    let budgets = live_with(&mut governor, &mut board, 10, |_| 4.0, |look, _| Look { temperature: None, ..look });
    assert!(budgets.iter().all(|b| b.cores == 4.0 && b.degraded == Degraded::No));
    assert_eq!(governor.notices(), [Notice::NoSensor]);
}

#[test]
fn a_sensor_that_never_answered_holds_the_board_back() {
    let (mut governor, mut board) = (governor(Mode::Balanced), Board::new(30.0));
    let silent = |look: Look, _| Look { temperature: None, complaint: "cpu cannot be read".into(), ..look };
    let last = live_with(&mut governor, &mut board, 100, |_| 4.0, silent).pop().unwrap();
    assert!(last.cores <= 0.5 && last.degraded != Degraded::No && last.reason.contains("cannot be read"), "{last:?}");
}
