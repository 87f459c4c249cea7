//! `tests/heat --live`: the real daemon under real load beside a virtual board that it warms, in time that runs faster than the
//! wall's: firmware alone, then the governor without and with a clock that may be capped. Prints a table; exits 1 on a miss.

mod load;

use anyhow::{Context, bail};
use hearth_tests::board::{Kind, LiveBoard, Record};
use hearth_tests::broker::Broker;
use hearth_tests::client;
use hearth_tests::daemon::Home;
use load::Served;
use std::process::ExitCode;
use std::time::Duration;

/// The board's time, in the wall's.
const SPEED: f64 = 20.0;
/// The daemon looks once a second of the board's time.
const LOOK_MS: u64 = 50;
/// A bundled model whose steps are a few milliseconds long.
const MODEL: &str = "parts";

const USAGE: &str = "\
tests/heat --live [--seconds N] [--board pi4-bare|pi4-fan|pi5-bare|pi5-cooled]
  --seconds N   of the wall's time for each of the three runs (300); the board's runs twenty times faster
  --board KIND  the virtual board (pi5-bare)";

/// So far above the limit may the board come, K: what is late by 50 ms on a busy machine is late by a second of the board's.
const UNREST: f64 = 0.5;
/// To keep the limit by serving nothing is no feat: at least this share of what firmware alone lets be served, above the limit. What
/// can be had at all is known in virtual time alone, from the oracle.
const SERVES: f64 = 0.5;

/// Who keeps the board cool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    Firmware,
    Governor,
    GovernorWithClock,
}

impl Keeper {
    fn name(self) -> &'static str {
        match self {
            Keeper::Firmware => "firmware alone",
            Keeper::Governor => "governor",
            Keeper::GovernorWithClock => "governor, clock",
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let (mut seconds, mut kind) = (300, Kind::Pi5Bare);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        match (argument.as_str(), value.as_deref()) {
            ("--seconds", Some(n)) => seconds = n.parse().with_context(|| format!("--seconds {n}"))?,
            ("--board", Some("pi4-bare")) => kind = Kind::Pi4Bare,
            ("--board", Some("pi4-fan")) => kind = Kind::Pi4Fan,
            ("--board", Some("pi5-bare")) => kind = Kind::Pi5Bare,
            ("--board", Some("pi5-cooled")) => kind = Kind::Pi5Cooled,
            _ => bail!("{USAGE}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut runs, mut rate) = (Vec::new(), None);
    for keeper in [Keeper::Firmware, Keeper::Governor, Keeper::GovernorWithClock] {
        let (record, served) = runtime.block_on(run(kind, keeper, Duration::from_secs(seconds), &mut rate))?;
        if runs.is_empty() {
            println!("{kind:?}, {seconds} s of the wall's time, {:.0} min of the board's", record.seconds / 60.0);
            println!("                 hottest  above   throttled  in time   p50      p99      refused  J/answer");
        }
        println!(
            "{:<16} {:5.1} °C {:5.1} s {:7.1} s {:8} {:6.0} ms {:6.0} ms {:8} {:8.3}",
            keeper.name(),
            record.hottest,
            record.seconds_above,
            record.seconds_throttled,
            served.in_time,
            served.percentile(0.50).as_secs_f64() * 1e3,
            served.percentile(0.99).as_secs_f64() * 1e3,
            served.refused,
            record.energy / served.in_time.max(1) as f64
        );
        runs.push((keeper, record, served));
    }
    let misses = misses(kind, &runs);
    misses.iter().for_each(|miss| println!("MISSED: {miss}"));
    Ok(if misses.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lets the daemon serve on a fresh board, at the rate that the first run finds.
async fn run(kind: Kind, keeper: Keeper, wall: Duration, rate: &mut Option<f64>) -> anyhow::Result<(Record, Served)> {
    let broker = Broker::start("")?;
    let home = Home::new()?;
    home.put_bundled(MODEL)?;
    let cores = u32::try_from(std::thread::available_parallelism()?.get())?;
    // In memory: a file system that is busy elsewhere would hold the board up.
    let tree = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let board = LiveBoard::start(kind, 7, SPEED, cores, keeper == Keeper::GovernorWithClock, tree.path())?;
    // A daemon that sees no sensor holds nothing back: the firmware is alone.
    let root = if keeper == Keeper::Firmware { home.path("nothing") } else { board.root().to_path_buf() };
    let thermal = format!("[thermal]\nroot = {root:?}\ninterval_ms = {LOOK_MS}\n");
    let daemon = home.start(&(broker.section() + &thermal))?;
    client::online(broker.port()).await?;
    board.attach(daemon.id())?;
    let capacity = load::capacity(broker.port(), MODEL).await?;
    board.record();
    let served = load::overload(broker.port(), MODEL, *rate.get_or_insert(capacity), wall).await?;
    let record = board.record();
    board.stop()?;
    Ok((record, served))
}

/// What should have been otherwise. Waits are shown, not judged: the daemon's admission keeps them short for the firmware, too.
fn misses(kind: Kind, runs: &[(Keeper, Record, Served)]) -> Vec<String> {
    let (_, alone, firmware) = &runs[0];
    let mut misses = Vec::new();
    if alone.seconds_above == 0.0 {
        println!("not judged: this machine is too slow or too busy for the load to heat the board to its limit");
        return misses;
    }
    for (keeper, record, served) in &runs[1..] {
        let name = keeper.name();
        if record.hottest > kind.parameters().throttle_from + UNREST {
            misses.push(format!("{name}: {:.1} s above the limit, up to {:.1} °C", record.seconds_above, record.hottest));
        }
        if (served.in_time as f64) < SERVES * firmware.in_time as f64 {
            misses.push(format!("{name}: {} answers in time, {} with the firmware alone", served.in_time, firmware.in_time));
        }
    }
    misses
}
