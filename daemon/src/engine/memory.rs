//! How much memory the models may take: what the configuration says, or what the cgroup and the board leave free; and
//! who leaves when one more wants room.

use hearth_api::ModelName;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const MIB: u64 = 1 << 20;
/// Kept free for requests, doors and the rest of the board: an eighth, within these bounds.
const RESERVE: std::ops::RangeInclusive<u64> = 32 * MIB..=512 * MIB;
/// Where nothing can be read of the board's memory.
const UNKNOWN: u64 = 256 * MIB;

/// Where a budget comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `models.memory_mb`
    Configured,
    /// `memory.max` of the daemon's cgroup or one above it, less the reserve.
    Cgroup,
    /// `MemAvailable` when the daemon started, less the reserve.
    Available,
    /// Neither could be read.
    Unknown,
}

/// Memory for the models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryBudget {
    /// In bytes.
    pub(super) bytes: u64,
    /// Where it comes from.
    pub(super) source: Source,
}

impl MemoryBudget {
    /// The budget of this process, `configured` or found out from the kernel's files under `root` (`/` but in tests).
    pub(super) fn new(configured: Option<u64>, root: &Path) -> MemoryBudget {
        if let Some(bytes) = configured {
            return MemoryBudget { bytes, source: Source::Configured };
        }
        let cgroup = cgroup_limit(root).map(|bytes| (bytes, Source::Cgroup));
        let available = memory_available(root).map(|bytes| (bytes, Source::Available));
        let (bytes, source) =
            [cgroup, available].into_iter().flatten().min_by_key(|(bytes, _)| *bytes).unwrap_or((UNKNOWN, Source::Unknown));
        let reserve = (bytes / 8).clamp(*RESERVE.start(), *RESERVE.end());
        MemoryBudget { bytes: bytes.saturating_sub(reserve), source }
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Configured => "models.memory_mb",
            Source::Cgroup => "the cgroup's limit less a reserve",
            Source::Available => "the board's free memory less a reserve",
            Source::Unknown => "a guess: neither the cgroup's limit nor /proc/meminfo can be read",
        };
        write!(f, "{} ({source})", mib(self.bytes))
    }
}

/// Bytes as a person reads them.
pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

/// The lowest `memory.max` of the process's cgroup (version 2) and those above it.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = root.join("sys/fs/cgroup");
    let mut directory: PathBuf = mount.join(path);
    let mut lowest = None::<u64>;
    loop {
        let limit = fs::read_to_string(directory.join("memory.max")).ok().and_then(|text| text.trim().parse().ok());
        lowest = lowest.into_iter().chain(limit).min();
        if directory == mount || !directory.pop() {
            return lowest;
        }
    }
}

fn memory_available(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A model in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident<'a> {
    pub(super) name: &'a ModelName,
    pub(super) bytes: u64,
    /// Never leaves.
    pub(super) pinned: bool,
    /// A step of it is at work: its memory would not be free at once.
    pub(super) running: bool,
    /// Requests wait for it.
    pub(super) has_work: bool,
    pub(super) last_used: Instant,
}

/// Whether there is room for one more model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Once these have left; often nobody has to.
    After(Vec<ModelName>),
    /// Not before some of the others have less to do.
    Later,
    /// Not even if everyone left who can; this many bytes could be had.
    Never { available: u64 },
}

/// Makes room for `needed` bytes: the idle leave first, the longest unused of them before the others; those that have
/// work only when the model has waited for its turn (`take_turns`).
pub(super) fn make_room(budget: u64, needed: u64, residents: &[Resident], take_turns: bool) -> Room {
    let pinned: u64 = residents.iter().filter(|r| r.pinned).map(|r| r.bytes).sum();
    let available = budget.saturating_sub(pinned);
    if needed > available {
        return Room::Never { available };
    }
    let mut held: u64 = residents.iter().map(|r| r.bytes).sum();
    let mut candidates: Vec<&Resident> = residents.iter().filter(|r| !r.pinned && !r.running && (take_turns || !r.has_work)).collect();
    candidates.sort_by_key(|r| (r.has_work, r.last_used));
    let mut leave = Vec::new();
    for candidate in candidates {
        if held.saturating_add(needed) <= budget {
            break;
        }
        held -= candidate.bytes;
        leave.push(candidate.name.clone());
    }
    if held.saturating_add(needed) <= budget { Room::After(leave) } else { Room::Later }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn board(cgroup: &[(&str, &str)], available_kib: Option<u64>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: String, text: String| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup".into(), "0::/system.slice/hearthd.service\n".into());
        for (directory, limit) in cgroup {
            write(format!("sys/fs/cgroup/{directory}/memory.max"), format!("{limit}\n"));
        }
        if let Some(kib) = available_kib {
            write("proc/meminfo".into(), format!("MemTotal:  8000000 kB\nMemAvailable:   {kib} kB\n"));
        }
        root
    }

    #[test]
    fn what_is_configured_counts() {
        let board = board(&[], Some(1));
        assert_eq!(MemoryBudget::new(Some(7), board.path()), MemoryBudget { bytes: 7, source: Source::Configured });
    }

    #[test]
    fn the_tighter_of_cgroup_and_free_memory_counts_less_a_reserve() {
        let service = "system.slice/hearthd.service";
        let tight = board(&[(service, "max"), ("system.slice", "268435456")], Some(4 << 20));
        assert_eq!(MemoryBudget::new(None, tight.path()), MemoryBudget { bytes: 224 * MIB, source: Source::Cgroup });
        let wide = board(&[(service, "max")], Some(1 << 20));
        assert_eq!(MemoryBudget::new(None, wide.path()), MemoryBudget { bytes: 896 * MIB, source: Source::Available });
        let large = board(&[(service, "1099511627776")], Some(16 << 20));
        assert_eq!(MemoryBudget::new(None, large.path()).bytes, 15_872 * MIB);
    }

    #[test]
    fn a_board_that_tells_nothing_gets_a_guess() {
        let silent = board(&[], None);
        let budget = MemoryBudget::new(None, silent.path());
        assert_eq!(budget, MemoryBudget { bytes: 224 * MIB, source: Source::Unknown });
        assert!(budget.to_string().starts_with("224.0 MiB (a guess"));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(MemoryBudget::new(None, Path::new("/")).bytes > 0);
    }

    #[test]
    fn the_longest_unused_idle_model_leaves_first() {
        let names: Vec<ModelName> = ["a", "b", "c", "d"].iter().map(|n| ModelName::new(n).unwrap()).collect();
        let start = Instant::now();
        let resident = |i: usize, age: u64| Resident {
            name: &names[i],
            bytes: 10,
            pinned: false,
            running: false,
            has_work: false,
            last_used: start + Duration::from_secs(100 - age),
        };
        let (a, b) = (resident(0, 50), resident(1, 60));
        let busy = Resident { has_work: true, ..resident(2, 90) };
        let pinned = Resident { pinned: true, ..resident(3, 99) };
        let all = [a, b, busy, pinned];
        let leave = |indices: &[usize]| Room::After(indices.iter().map(|i| names[*i].clone()).collect());
        assert_eq!(make_room(50, 10, &all, false), leave(&[]));
        assert_eq!(make_room(40, 10, &all, false), leave(&[1]));
        assert_eq!(make_room(40, 20, &all, false), leave(&[1, 0]));
        assert_eq!(make_room(40, 30, &all, false), Room::Later);
        assert_eq!(make_room(40, 30, &all, true), leave(&[1, 0, 2]));
        assert_eq!(make_room(40, 31, &all, true), Room::Never { available: 30 });
        let running = Resident { running: true, ..a };
        assert_eq!(make_room(20, 10, &[running, pinned], true), Room::Later);
    }
}
