//! The cap of the clock: what may be written to cpufreq's `scaling_max_freq`, if this process may write there at all (the unit
//! may not, but with the drop-in `clock-cap.conf`). What it found there comes back when it ends.
//! Source: Documentation/admin-guide/pm/cpufreq.rst of the Linux kernel.

use super::{Board, ClockStep, FrequencyPolicy};
use std::io;
use std::path::PathBuf;

/// Steps to choose from where a driver names none: shares of the top clock.
const STEPS: [f64; 6] = [0.4, 0.5, 0.6, 0.75, 0.9, 1.0];
/// The lowest step that is used: below it power hardly falls, and everything becomes slow.
const LOWEST: f64 = 0.3;

/// The right to cap the clock of every group of cores.
#[derive(Debug)]
pub(super) struct ClockCap {
    policies: Vec<FrequencyPolicy>,
    /// Where the caps that were found are noted while others are in force, for whoever starts after a kill.
    note: PathBuf,
    /// The share in force; not a number where another process left one.
    now: f64,
}

impl ClockCap {
    /// The cap of this board; none where there is nothing to cap, or writing is refused. `note` is a file in a folder that
    /// lasts as long as the boot: a process that was killed has left the caps that it had found there.
    pub(super) fn open(board: &Board, note: PathBuf) -> Option<ClockCap> {
        let mut policies = board.frequencies();
        let noted = std::fs::read_to_string(&note).unwrap_or_default();
        for policy in &mut policies {
            let before = noted.lines().find_map(|line| line.strip_prefix(&policy.name)?.trim().parse().ok());
            policy.cap_khz = before.unwrap_or(policy.cap_khz).min(policy.most_khz);
        }
        policies.retain(|policy| policy.cap_khz > 0);
        let writable = |policy: &FrequencyPolicy| std::fs::OpenOptions::new().write(true).open(&policy.cap_file).is_ok();
        if policies.is_empty() || !policies.iter().all(writable) {
            return None;
        }
        let mut cap = ClockCap { policies, note, now: 1.0 };
        if !noted.is_empty() {
            cap.now = f64::NAN;
            cap.set(1.0).ok()?;
        }
        Some(cap)
    }

    /// The steps there are, as shares of the cap that was found; those of the fastest group of cores.
    pub(super) fn steps(&self) -> Vec<ClockStep> {
        let Some(fastest) = self.policies.iter().max_by_key(|policy| policy.cap_khz) else { return Vec::new() };
        let top = f64::from(fastest.cap_khz);
        let mut shares: Vec<f64> = fastest.steps_khz.iter().map(|step| f64::from(*step) / top).filter(|share| *share < 1.0).collect();
        if shares.is_empty() {
            shares = STEPS.into();
        } else {
            shares.push(1.0);
        }
        shares.into_iter().filter(|share| *share >= LOWEST).map(|clock| ClockStep { clock, volts: None }).collect()
    }

    /// Caps every group of cores at this share of what was found.
    pub(super) fn set(&mut self, share: f64) -> io::Result<()> {
        if share == self.now {
            return Ok(());
        }
        if self.now == 1.0 {
            // Before the first write: a kill between the two leaves a note that says what is so.
            let found: Vec<String> = self.policies.iter().map(|policy| format!("{} {}\n", policy.name, policy.cap_khz)).collect();
            std::fs::write(&self.note, found.concat())?;
        }
        self.write(share)?;
        self.now = share;
        if share == 1.0 {
            // What was found is in force again.
            std::fs::remove_file(&self.note)?;
        }
        Ok(())
    }

    fn write(&self, share: f64) -> io::Result<()> {
        for policy in &self.policies {
            std::fs::write(&policy.cap_file, format!("{:.0}", share * f64::from(policy.cap_khz)))?;
        }
        Ok(())
    }
}

impl Drop for ClockCap {
    fn drop(&mut self) {
        if let Err(error) = self.set(1.0) {
            tracing::warn!("the clock's cap was not taken back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn board(root: &Path) -> Board {
        let policy = root.join("sys/devices/system/cpu/cpufreq/policy0");
        fs::create_dir_all(&policy).unwrap();
        for (file, text) in [
            ("scaling_cur_freq", "1500000"),
            ("scaling_max_freq", "1500000"),
            ("cpuinfo_max_freq", "1800000"),
            ("scaling_available_frequencies", "600000 1000000 1500000 1800000 "),
        ] {
            fs::write(policy.join(file), text).unwrap();
        }
        Board::find(root)
    }

    #[test]
    fn a_cap_is_kept_below_what_was_found_and_comes_back_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (board, note) = (board(folder.path()), folder.path().join("note"));
        let in_force = || board.frequencies()[0].cap_khz;
        let mut cap = ClockCap::open(&board, note.clone()).unwrap();
        // The user's own cap of 1.5 GHz is the top.
        let steps: Vec<f64> = cap.steps().iter().map(|step| (step.clock * 15.0).round()).collect();
        assert_eq!(steps, [6.0, 10.0, 15.0]);
        cap.set(2.0 / 3.0).unwrap();
        assert_eq!((in_force(), note.exists()), (1_000_000, true));
        drop(cap);
        assert_eq!((in_force(), note.exists()), (1_500_000, false));
    }

    #[test]
    fn after_a_kill_the_first_cap_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (board, note) = (board(folder.path()), folder.path().join("note"));
        let mut cap = ClockCap::open(&board, note.clone()).unwrap();
        cap.set(0.4).unwrap();
        std::mem::forget(cap);
        let cap = ClockCap::open(&board, note).unwrap();
        assert_eq!((cap.steps().len(), board.frequencies()[0].cap_khz), (3, 1_500_000));
    }

    #[test]
    fn where_there_is_no_clock_there_is_no_cap() {
        assert!(ClockCap::open(&Board::find(Path::new("/nonexistent")), "/nonexistent/note".into()).is_none());
    }
}
