//! Activity: what the machine did between two looks: busy cores, clock, power, fan. Under a root path, as the sensors are.
//! Sources: `proc_stat(5)`, `proc_uptime(5)`; Documentation/admin-guide/pm/cpufreq.rst and Documentation/hwmon/sysfs-interface.rst of the Linux
//! kernel.

use super::{Board, Look, Reading};
use std::path::PathBuf;
use std::time::Duration;

/// Counts from look to look.
#[derive(Debug)]
pub(super) struct Activity {
    stat: PathBuf,
    uptime: PathBuf,
    before: Ticks,
}

/// CPU time of the whole machine since boot, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
    cores: u32,
}

impl Activity {
    /// Counts from now on.
    pub(super) fn new(root: &std::path::Path) -> Activity {
        let stat = root.join("proc/stat");
        let before = ticks(&stat);
        Activity { stat, uptime: root.join("proc/uptime"), before }
    }

    /// The board since the look before. Of the engine it knows nothing.
    pub(super) fn look(&mut self, board: &Board, reading: &Reading) -> Look {
        let now = ticks(&self.stat);
        let busy = now.since(self.before);
        self.before = now;
        Look {
            at: since_boot(&self.uptime),
            temperature: reading.hottest.as_ref().map(|(_, at)| *at),
            busy,
            clock: clock(board),
            watts: board.watts(),
            fan: board.fan_step(),
            steps: 0,
            throttled: reading.throttled.is_some_and(super::Throttled::now),
            complaint: if reading.hottest.is_some() { String::new() } else { reading.complaints.join(", ") },
        }
    }
}

impl Ticks {
    /// Mean busy cores since `before`; 0 where no tick has passed.
    fn since(self, before: Ticks) -> f64 {
        let (busy, all) = (self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all));
        if all == 0 { 0.0 } else { f64::from(self.cores) * busy as f64 / all as f64 }
    }
}

/// The lines `cpu` (the sum) and `cpu0`, `cpu1`, ... (one for each core that is online) of `/proc/stat`.
fn ticks(stat: &std::path::Path) -> Ticks {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    let mut lines = text.lines().take_while(|line| line.starts_with("cpu"));
    let counts: Vec<u64> = lines.next().unwrap_or_default().split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows (guests) is in user already.
    let all = counts.iter().take(8).sum();
    let idle: u64 = counts.iter().skip(3).take(2).sum();
    Ticks { busy: all - idle, all, cores: u32::try_from(lines.count()).unwrap_or(u32::MAX) }
}

/// Mean clock of the groups of cores, as a share of the top one; 1 where it is not told.
fn clock(board: &Board) -> f64 {
    let policies = board.frequencies();
    let shares = policies.iter().filter(|p| p.most_khz > 0).map(|p| f64::from(p.now_khz) / f64::from(p.most_khz));
    let (sum, count) = shares.fold((0.0, 0), |(sum, count), share| (sum + share, count + 1));
    if count == 0 { 1.0 } else { (sum / f64::from(count)).clamp(0.0, 1.0) }
}

/// Time since boot, suspend included, to a hundredth of a second: the first number of `/proc/uptime`, which the kernel has from
/// `CLOCK_BOOTTIME`; where there is no such file, that clock itself.
fn since_boot(uptime: &std::path::Path) -> Duration {
    let told = std::fs::read_to_string(uptime).ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
    if let Some(told) = told.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        return told;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_cores_are_what_was_not_idle() {
        let folder = tempfile::tempdir().unwrap();
        let stat = folder.path().join("proc/stat");
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let cores = "cpu0 1 0 0 0\ncpu1 1 0 0 0\ncpu2 1 0 0 0\ncpu3 1 0 0 0\nintr 99\n";
        let put = |line: &str| std::fs::write(&stat, format!("{line}\n{cores}")).unwrap();
        put("cpu  100 10 20 1000 30 1 2 3 50 0");
        let before = ticks(&stat);
        // 400 ticks on: 60 user, 10 nice, 20 system, 5 interrupts, 5 stolen; 290 idle and 10 waiting for a disk.
        put("cpu  160 20 40 1290 40 2 6 8 50 0");
        assert_eq!(ticks(&stat).since(before), 1.0);
        assert_eq!(before.since(before), 0.0);
        // A counter that goes back (a core that went offline) is no work.
        assert_eq!(before.since(ticks(&stat)), 0.0);
    }

    #[test]
    fn time_is_that_since_boot_where_the_root_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        std::fs::write(folder.path().join("proc/uptime"), "1234.56 4000.00\n").unwrap();
        assert_eq!(since_boot(&folder.path().join("proc/uptime")), Duration::from_millis(1_234_560));
    }

    #[test]
    fn a_machine_that_tells_nothing_is_at_its_top_clock_and_idle() {
        let board = Board::find(std::path::Path::new("/nonexistent"));
        let look = Activity::new(std::path::Path::new("/nonexistent")).look(&board, &board.read());
        assert_eq!((look.busy, look.clock, look.watts, look.fan, look.temperature), (0.0, 1.0, None, None, None));
        assert!(look.at > Duration::ZERO);
    }
}
