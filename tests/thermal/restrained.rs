//! The oracle, held to the other gates as well: it changes the clock seldom, and its requests wait no longer than the gate of the
//! waits allows, if that can be had for what the gate of the 95 % leaves: most waits can be kept by answering hardly anybody. What it
//! serves less than the free oracle is the price of those gates.

use super::cells::Cell;
use super::controllers::oracle;
use super::gates::{Compared, Gate, SHARE, Verdict};
use super::loads::Arrival;
use super::oracle::{Held, clocks};
use super::outcome::Outcome;

/// Stretches of one clock: fewer than the changes that the gate allows, as the governor's other switches count too.
const STRETCHES: usize = 12;
/// Clocks that are tried beside that of the stretch before, up and down.
const NEAR: usize = 2;
/// How much sooner requests are refused, until the gate of the waits is met.
const PATIENCE: [f64; 5] = [0.95, 0.9, 0.85, 0.7, 0.6];

/// Lives through a cell, beside what is compared there.
pub(crate) fn live(cell: &Cell, arrivals: &[Arrival], compared: &Compared) -> Outcome {
    let attempt = |patience| {
        let held = Held { patience, stretch: cell.seconds / STRETCHES as f64, clocks: Vec::new() };
        if cell.clock { with_few_changes(cell, arrivals, held) } else { oracle(cell, arrivals, &held) }
    };
    let keeps = |outcome: &Outcome| Gate::Waits.judge(&Compared { governor: outcome, ..*compared }).verdict <= Verdict::Met;
    let usual = attempt(1.0);
    if keeps(&usual) {
        return usual;
    }
    let sooner = PATIENCE.into_iter().map(attempt).find(keeps);
    sooner.filter(|outcome| outcome.least_share(compared.oracle) >= SHARE).unwrap_or(usual)
}

/// The clocks are chosen one stretch after the other, each as the one that serves the most if it were kept to the end.
fn with_few_changes(cell: &Cell, arrivals: &[Arrival], mut held: Held) -> Outcome {
    let all = clocks(&cell.kind.parameters());
    let with = |held: &Held, from: usize, clock: f64| {
        let mut held = held.clone();
        held.clocks.truncate(from);
        held.clocks.push(clock);
        (oracle(cell, arrivals, &held), held)
    };
    let worth = |outcome: &Outcome| if outcome.above == 0.0 { outcome.good } else { 0.0 };
    let most =
        |tried: Vec<(Outcome, Held)>| tried.into_iter().max_by(|a, b| worth(&a.0).total_cmp(&worth(&b.0))).expect("a board has clocks");
    let mut best;
    (best, held) = most(all.iter().map(|clock| with(&held, 0, *clock)).collect());
    for stretch in 1..STRETCHES {
        let at = held.clocks.last().and_then(|last| all.iter().position(|clock| clock == last)).unwrap_or(0);
        let near = all.iter().enumerate().filter(|(i, _)| *i != at && i.abs_diff(at) <= NEAR);
        let mut kept = held.clone();
        kept.clocks.push(all[at]);
        let tried = near.map(|(_, clock)| with(&held, stretch, *clock)).chain([(best, kept)]).collect();
        (best, held) = most(tried);
    }
    best
}
