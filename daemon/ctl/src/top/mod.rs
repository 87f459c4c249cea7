//! `hearthctl top`: the daemon at work, once a second, on a terminal, as one text, or as JSON lines.

mod plot;
mod screen;
mod state;
mod view;
mod watch;

use crate::Where;
use clap::Args;
use screen::{Key, Screen};
use serde_json::{Value, json};
use state::State;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use view::Look;
use watch::{News, Watch};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between the two looks of a single text, for rates that mean something.
const PAUSE: Duration = Duration::from_secs(2);

/// What `--help` teaches.
const HELP: &str = "\
The plot has the temperature of the last five minutes as a closed line and, right of \"now\", what is expected of the next five at \
the present load as a dotted one, with its error. Across it are the limit and the temperatures at which the fan steps up. \
Headroom is 1 at the limit and 0 at 30 K below it.

The table has, by model: requests answered and tokens generated a second, requests that wait, the batch and threads of the last \
step, and the mean time from arrival to answer; then faults and answers since the daemon started.

Keys:
  q  ends
  m  the next mode: performance, balanced, quiet; and cool once it has had a temperature (hearthctl thermal mode cool --celsius 60). \
     It takes the right to manage models.

Where the output is no terminal it prints one look as text; with --json, an object each second. NO_COLOR is heeded.";

/// Watches the daemon at work, once a second.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Options {
    #[command(flatten)]
    at: Where,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options { at } = options;
    if at.json {
        return lines(&at.bus).await;
    }
    if std::io::stdout().is_terminal() { live(&at.bus).await } else { once(&at.bus).await }
}

/// The terminal, until a key or a signal.
async fn live(bus: &str) -> anyhow::Result<ExitCode> {
    let look = Look::of(|name| std::env::var(name).ok());
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    // While the terminal is raw Ctrl-C is a key; this one comes from elsewhere.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let watch = Watch::new(bus);
    let clock = watch.clock();
    let (modes, wanted) = mpsc::channel(1);
    let (tell, mut news) = mpsc::channel(1);
    let follow = tokio::spawn(watch.follow(wanted, tell));
    let mut state = State::default();
    let mut screen = Screen::open()?;
    loop {
        screen.draw(|frame| view::draw(frame, &state, clock.elapsed().as_secs_f64(), look))?;
        tokio::select! {
            key = screen.key() => match key {
                Key::Quit => break,
                Key::Mode => {
                    let (mode, celsius) = state.next_mode();
                    // One that is still on its way comes first.
                    let sent = state.sample.is_some() && modes.try_send((mode, celsius)).is_ok();
                    state.said = sent.then(|| format!("{mode} …"));
                }
                Key::Redraw => {}
            },
            told = news.recv() => match told {
                Some(News::Sample(sample)) => state.take(*sample),
                Some(News::Past(past)) => state.remember(past),
                Some(News::Trouble(trouble)) => state.trouble = Some(trouble),
                Some(News::Mode(outcome)) => state.said = outcome,
                None => break,
            },
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(screen);
    follow.abort();
    match follow.await {
        Err(error) if error.is_panic() => Err(anyhow::anyhow!("a defect of ours ended it")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// One look, as text.
async fn once(bus: &str) -> anyhow::Result<ExitCode> {
    let mut watch = Watch::new(bus);
    let mut state = State::default();
    state.take(watch.sample().await?);
    tokio::time::sleep(PAUSE).await;
    state.take(watch.sample().await?);
    let Some(sample) = &state.sample else { return Ok(ExitCode::FAILURE) };
    let text =
        format!("hearthd {} on {}\n{}\n\n{}", sample.version, sample.node, crate::thermal::screen(&sample.heat), view::whole_table(&state));
    // Whoever reads no further needs no more.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(ExitCode::SUCCESS)
}

/// An object a second, until nobody reads them any more. A daemon that cannot be asked is told in one, too.
async fn lines(bus: &str) -> anyhow::Result<ExitCode> {
    let mut watch = Watch::new(bus);
    let mut state = State::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let at = std::time::UNIX_EPOCH.elapsed().map_or(0.0, |since| (since.as_secs_f64() * 1e3).round() / 1e3);
        let line = match watch.sample().await {
            Ok(sample) => {
                state.take(sample);
                object(&state, at)
            }
            Err(error) => {
                state.trouble = Some(format!("{error:#}"));
                json!({"at": at, "error": format!("{error:#}")})
            }
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// A look as JSON: what the bus tells, and the rates that follow from it.
fn object(state: &State, at: f64) -> Value {
    let Some(sample) = &state.sample else { return Value::Null };
    let rows = state.rows();
    let models: serde_json::Map<String, Value> = (rows.into_iter())
        .map(|row| {
            let rates = row
                .rates
                .map(|rates| json!({"items_per_second": rates.items, "tokens_per_second": rates.tokens, "latency_ms": rates.latency}));
            (row.name, json!({"state": row.state, "rates": rates}))
        })
        .collect();
    json!({
        "at": at, "node": sample.node, "version": sample.version, "thermal": sample.thermal, "stats": sample.stats, "models": models,
    })
}
