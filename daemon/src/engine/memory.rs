//! How much memory the models may take: what the configuration says, or what the cgroup and the board leave free.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// Kept free for requests, doors and the rest of the board: an eighth, within these bounds.
const RESERVE: std::ops::RangeInclusive<u64> = 32 * MIB..=512 * MIB;
/// Where nothing can be read of the board's memory.
const UNKNOWN: u64 = 256 * MIB;

/// Where a budget comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `models.memory_bytes`
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
        let (bytes, source) = [cgroup, available].into_iter().flatten().min_by_key(|(bytes, _)| *bytes).unwrap_or((UNKNOWN, Source::Unknown));
        let reserve = (bytes / 8).clamp(*RESERVE.start(), *RESERVE.end());
        MemoryBudget { bytes: bytes.saturating_sub(reserve), source }
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Configured => "models.memory_bytes",
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
