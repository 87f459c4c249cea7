//! The virtual boards against public figures; `parameters.rs` names the sources.

use super::*;

fn run(board: &mut VirtualBoard, seconds: f64, busy_cores: f64) {
    board.step(Duration::from_secs_f64(seconds), busy_cores, 0.0);
}

/// Runs at a constant power of the whole board, whatever leaks, until `seconds` later.
fn run_at(board: &mut VirtualBoard, seconds: f64, watts: f64) {
    for _ in 0..(seconds / STRIDE).round() as u64 {
        let is = board.parameters();
        let cores = (watts - is.idle(board.temperature(), board.clock())) / is.core(board.clock());
        run(board, STRIDE, cores);
    }
}

#[track_caller]
fn near(is: f64, should: f64, within: f64) {
    assert!((is - should).abs() <= within, "{is:.2} is not within {within} of {should}");
}

#[test]
fn an_idle_pi_4_comes_to_rest_at_46_7_degrees() {
    near(VirtualBoard::new(Kind::Pi4Bare, 22.0, 1).temperature(), 46.7, 1.0);
}

#[test]
fn a_step_of_3_2_watts_heats_a_pi_4_as_the_public_logs_show() {
    let logs = [(Kind::Pi4Bare, [(10.9, 8.0), (15.3, 120.0)]), (Kind::Pi4Fan, [(8.5, 3.0), (7.4, 130.0)])];
    for (kind, parts) in logs {
        let mut board = VirtualBoard::new(kind, 22.0, 1);
        if kind == Kind::Pi4Fan {
            // The logs are of a fan that ran from the start.
            board.fan = 1;
            board.parameters.fan_hysteresis = 100.0;
            board.settle();
        }
        let (start, rest) = (board.temperature(), board.power());
        let mut before = 0.0;
        for after in [3.0, 8.0, 16.0, 30.0, 60.0, 120.0, 240.0, 480.0, 900.0] {
            run_at(&mut board, after - before, rest + 3.2);
            before = after;
            let should: f64 = parts.iter().map(|(kelvin, time)| kelvin * (1.0 - (-after / time).exp())).sum();
            near(board.temperature() - start, should, 1.5);
        }
    }
}

#[test]
fn a_cooled_pi_5_has_the_temperatures_of_the_public_logs() {
    let mut board = VirtualBoard::new(Kind::Pi5Cooled, 22.0, 1);
    run_at(&mut board, 2000.0, 3.6);
    near(board.temperature(), 48.5, 1.0);
    let start = board.temperature();
    run_at(&mut board, 14.0, 6.6);
    near((board.temperature() - start) / 12.0, 0.5, 0.1);
    run_at(&mut board, 2000.0, 6.6);
    near(board.temperature(), 60.5, 1.0);
}

#[test]
fn a_bare_pi_5_has_10_to_12_kelvin_a_watt() {
    let mut board = VirtualBoard::new(Kind::Pi5Bare, 22.0, 1);
    run_at(&mut board, 2000.0, 4.5);
    near((board.temperature() - 22.0) / 4.5, 11.0, 1.0);
}

#[test]
fn the_firmware_throttles_from_80_to_85_degrees_and_no_earlier() {
    let mut board = VirtualBoard::new(Kind::Pi4Bare, 40.0, 1);
    let mut hottest_at_full_clock = 0.0_f64;
    for _ in 0..6000 {
        run(&mut board, 0.1, 4.0);
        if !board.throttled() {
            hottest_at_full_clock = hottest_at_full_clock.max(board.temperature());
        }
    }
    near(hottest_at_full_clock, 80.0, 1.5);
    assert!(board.throttled() && (80.0..=85.5).contains(&board.temperature()), "{}", board.temperature());
    // An uncooled Pi 4 keeps about 53 % of its throughput (arXiv 2010.06291); in air of 40 °C ours keeps somewhat more than half.
    near(board.clock(), 0.55, 0.15);
}

#[test]
fn a_lower_clock_takes_less_energy_for_the_same_work() {
    for kind in Kind::ALL {
        let is = kind.parameters();
        assert!(is.core(is.slowest()) / is.slowest() < 0.75 * is.core(1.0), "{}", is.name);
        let mut board = VirtualBoard::new(kind, 20.0, 1);
        board.set_cap(0.7);
        assert!((0.6..=0.7).contains(&board.clock()));
        board.set_cap(0.0);
        assert_eq!(board.clock(), is.slowest());
    }
}

#[test]
fn a_fan_follows_its_steps_with_hysteresis_and_may_fail_unseen() {
    let mut board = VirtualBoard::new(Kind::Pi5Cooled, 22.0, 1);
    assert_eq!(board.fan(), Some(0));
    run(&mut board, 1200.0, 4.0);
    let told = board.fan();
    assert!(told >= Some(2));
    let hot = board.temperature();
    board.fail_fan();
    run(&mut board, 1200.0, 4.0);
    assert!(board.temperature() > hot + 6.0 && board.fan() >= told);
    let mut cooled = VirtualBoard::new(Kind::Pi5Cooled, 22.0, 1);
    run(&mut cooled, 300.0, 4.0);
    while cooled.felt >= 55.0 {
        assert!(cooled.fan() >= Some(1));
        run(&mut cooled, 1.0, 0.0);
    }
    assert_eq!(VirtualBoard::new(Kind::Pi4Bare, 20.0, 1).fan(), None);
}

#[test]
fn memory_takes_energy_by_the_bytes_moved_and_leaks_grow_with_heat() {
    let mut still = VirtualBoard::new(Kind::Pi5Bare, 20.0, 1);
    let mut moving = still.clone();
    still.step(Duration::from_secs(10), 1.0, 0.0);
    moving.step(Duration::from_secs(10), 1.0, 50e9);
    near(moving.energy() - still.energy(), 3.0, 0.05);
    let is = Kind::Pi5Bare.parameters();
    assert!(is.idle(80.0, 1.0) > is.idle(40.0, 1.0) + 0.3);
}

#[test]
fn the_sensor_is_late_noisy_and_in_whole_degrees() {
    let mut board = VirtualBoard::new(Kind::Pi4Fan, 25.0, 7);
    let readings: Vec<f64> = (0..200).map(|_| board.sensor()).collect();
    assert!(readings.iter().all(|r| r.fract() == 0.0) && readings.iter().any(|r| *r != readings[0]));
    near(readings.iter().sum::<f64>() / 200.0, board.temperature(), 0.3);
    run(&mut board, 0.4, 4.0);
    assert!(board.felt < board.temperature() - 0.3);
}

#[test]
fn the_same_seed_is_the_same_board() {
    let readings = |seed: u64| {
        let mut board = VirtualBoard::new(Kind::Pi4Bare, 30.0, seed);
        let read = |_| {
            run(&mut board, 1.0, 3.0);
            board.sensor()
        };
        (0..300).map(read).collect::<Vec<f64>>()
    };
    assert_eq!(readings(3), readings(3));
    assert_ne!(readings(3), readings(4));
}

#[test]
fn strides_of_any_length_end_at_the_same_temperature() {
    let mut fine = VirtualBoard::new(Kind::Pi4Fan, 30.0, 1);
    let mut coarse = fine.clone();
    for _ in 0..3000 {
        fine.step(Duration::from_millis(20), 4.0, 0.0);
    }
    coarse.step(Duration::from_secs(60), 4.0, 0.0);
    near(fine.temperature(), coarse.temperature(), 0.1);
}
