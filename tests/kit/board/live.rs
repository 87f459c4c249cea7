//! The virtual board beside a real daemon: reads the daemon's CPU time, lets the board warm up by it, writes the tree that the
//! daemon reads its sensors from, and slows the daemon, as the board's firmware or a capped clock would, by stopping it for part
//! of the time. Its time may run faster than the wall's.

use super::{Kind, VirtualBoard};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One turn: read, step, write, stop the daemon for a part of it.
const TURN: Duration = Duration::from_millis(20);
/// When the board was booted, s: its clock does not begin with the test.
const BOOTED: f64 = 1000.0;
/// Of the air, °C.
const AMBIENT: f64 = 25.0;
/// What no one may write, root included: stands for a `scaling_max_freq` that is read-only.
const READ_ONLY: &str = "/proc/sys/kernel/ngroups_max";
/// Bits of `get_throttled`: the frequency is capped, and it is throttled.
const THROTTLED: u32 = 0b110;

/// What a board went through.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Record {
    /// The highest temperature of the die, °C.
    pub hottest: f64,
    /// Of the board's time, s.
    pub seconds: f64,
    /// Of the board's time, with the die at or above where the firmware throttles, s.
    pub seconds_above: f64,
    /// Of the board's time, with the clock held down by the firmware, s.
    pub seconds_throttled: f64,
    /// J.
    pub energy: f64,
    /// Work of the daemon: seconds of a core at the top clock.
    pub core_seconds: f64,
}

/// A board that lives until it is dropped.
pub struct LiveBoard {
    root: PathBuf,
    record: Arc<Mutex<Record>>,
    attach: Sender<u32>,
    turning: Option<JoinHandle<anyhow::Result<()>>>,
}

impl LiveBoard {
    /// A board in air of 25 °C, with a tree in `root` like the captured one of its kind. Its time is `speed` times the wall's.
    /// `cores` of this machine stand for all of its own. `capped`: its clock may be capped by writing into the tree.
    pub fn start(kind: Kind, seed: u64, speed: f64, cores: u32, capped: bool, root: &Path) -> anyhow::Result<LiveBoard> {
        let like = if matches!(kind, Kind::Pi4Bare | Kind::Pi4Fan) { "pi4" } else { "pi5" };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("boards").join(like), root)?;
        let board = VirtualBoard::new(kind, AMBIENT, seed);
        let record = Arc::new(Mutex::new(Record::default()));
        let (attach, attached) = channel();
        let mut life = Life {
            tree: Tree::new(root, f64::from(cores), capped)?,
            board,
            cores: f64::from(cores),
            speed,
            at: BOOTED,
            record: record.clone(),
            daemon: None,
        };
        life.tree.first(&life.board)?;
        life.tree.write(&mut life.board, life.at)?;
        let turning = Some(std::thread::spawn(move || life.turn(&attached)));
        Ok(LiveBoard { root: root.to_path_buf(), record, attach, turning })
    }

    /// Where its tree is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// From now on this process heats it.
    pub fn attach(&self, pid: u32) -> anyhow::Result<()> {
        self.attach.send(pid).context("the board has stopped")
    }

    /// What it went through since this was asked last.
    pub fn record(&self) -> Record {
        std::mem::take(&mut self.record.lock().expect("no one panics with it"))
    }

    /// Ends its life, and says what went wrong in it.
    pub fn stop(mut self) -> anyhow::Result<()> {
        drop(std::mem::replace(&mut self.attach, channel().0));
        let turning = self.turning.take().expect("it is stopped once");
        turning.join().map_err(|_| anyhow::anyhow!("the board's thread panicked"))?
    }
}

struct Life {
    board: VirtualBoard,
    tree: Tree,
    cores: f64,
    speed: f64,
    at: f64,
    record: Arc<Mutex<Record>>,
    daemon: Option<Daemon>,
}

struct Daemon {
    pid: Pid,
    spent: Duration,
}

impl Life {
    fn turn(&mut self, attached: &Receiver<u32>) -> anyhow::Result<()> {
        let mut before = Instant::now();
        loop {
            // The share of the turn in which the daemon runs is the clock.
            let clock = self.board.clock();
            let stopped = if clock < 1.0 { self.daemon.as_ref().map(|daemon| daemon.pid) } else { None };
            if let Some(pid) = stopped {
                kill_process(pid, Signal::STOP).ok();
                std::thread::sleep(TURN.mul_f64(1.0 - clock));
                kill_process(pid, Signal::CONT).ok();
            }
            match attached.recv_timeout(TURN.mul_f64(if stopped.is_some() { clock } else { 1.0 })) {
                Ok(pid) => {
                    self.daemon = Some(Daemon { pid: Pid::from_raw(pid.cast_signed()).context("no process")?, spent: cpu_time(pid) })
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let elapsed = before.elapsed();
            before = Instant::now();
            self.step(elapsed, clock)?;
        }
    }

    /// `wall` has passed at this clock.
    fn step(&mut self, wall: Duration, clock: f64) -> anyhow::Result<()> {
        let spent = self.daemon.as_mut().map_or(Duration::ZERO, |daemon| {
            let now = cpu_time(daemon.pid.as_raw_pid().cast_unsigned());
            now.saturating_sub(std::mem::replace(&mut daemon.spent, now))
        });
        let seconds = wall.as_secs_f64() * self.speed;
        // While it is stopped it is not idle: it is the same work, slowed down.
        let busy = (spent.as_secs_f64() / (wall.as_secs_f64() * clock)).min(self.cores);
        let all = f64::from(self.board.parameters().cores);
        let energy = self.board.energy();
        self.board.step(Duration::from_secs_f64(seconds), busy * all / self.cores, 0.0);
        self.at += seconds;
        self.tree.busy += busy * seconds;
        self.tree.all += self.cores * seconds;
        {
            let mut record = self.record.lock().expect("no one panics with it");
            record.hottest = record.hottest.max(self.board.temperature());
            record.seconds += seconds;
            record.seconds_above += if self.board.temperature() >= self.board.parameters().throttle_from { seconds } else { 0.0 };
            record.seconds_throttled += if self.board.throttled() { seconds } else { 0.0 };
            record.energy += self.board.energy() - energy;
            record.core_seconds += spent.as_secs_f64();
        }
        self.tree.write(&mut self.board, self.at)
    }
}

/// CPU time of all threads of a process.
fn cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    let spent = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    // The first number: nanoseconds on a CPU. Threads that have ended are missing; the engine's live as long as it does.
    spent.filter_map(|text| text.split(' ').next()?.parse().ok().map(Duration::from_nanos)).sum()
}

/// The files that change.
struct Tree {
    root: PathBuf,
    cores: f64,
    /// Seconds of a core, of the board's time.
    busy: f64,
    all: f64,
    capped: bool,
    /// Where the firmware's bits are, within the root.
    bits: PathBuf,
    /// Those that stay since boot.
    since_boot: u32,
}

const CAP: &str = "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq";

impl Tree {
    fn new(root: &Path, cores: f64, capped: bool) -> anyhow::Result<Tree> {
        let bits = find(&root.join("sys/devices/platform"), "get_throttled").context("the captured tree has no get_throttled")?;
        let bits = bits.strip_prefix(root)?.to_path_buf();
        Ok(Tree { root: root.to_path_buf(), cores, busy: 0.0, all: 0.0, capped, bits, since_boot: 0 })
    }

    /// What changes only when somebody else writes it.
    fn first(&self, board: &VirtualBoard) -> anyhow::Result<()> {
        let parameters = board.parameters();
        let kilohertz: Vec<String> = parameters.clocks.iter().map(|step| format!("{:.0}", step.megahertz * 1000.0)).collect();
        let top = format!("{:.0}", parameters.top() * 1000.0);
        self.put("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", &top)?;
        if self.capped {
            self.put(CAP, &top)?;
        } else {
            fs::remove_file(self.root.join(CAP))?;
            std::os::unix::fs::symlink(READ_ONLY, self.root.join(CAP))?;
        }
        self.put("sys/devices/system/cpu/cpufreq/policy0/scaling_available_frequencies", &kilohertz.join(" "))
    }

    fn write(&mut self, board: &mut VirtualBoard, at: f64) -> anyhow::Result<()> {
        let top = board.parameters().top() * 1000.0;
        let cap = fs::read_to_string(self.root.join(CAP)).unwrap_or_default();
        if let (true, Ok(kilohertz)) = (self.capped, cap.trim().parse::<f64>()) {
            board.set_cap(kilohertz / top);
        }
        let now = if board.throttled() { THROTTLED } else { 0 };
        self.since_boot |= now << 16;
        self.put(&self.bits, &format!("{:x}", now | self.since_boot))?;
        self.put("sys/class/thermal/thermal_zone0/temp", &format!("{:.0}", board.sensor() * 1000.0))?;
        self.put("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", &format!("{:.0}", board.clock() * top))?;
        if let Some(step) = board.fan() {
            self.put("sys/class/thermal/cooling_device0/cur_state", &step.to_string())?;
        }
        self.put("proc/uptime", &format!("{at:.2} 0.00"))?;
        let (busy, idle) = (self.busy * 100.0, (self.all - self.busy) * 100.0);
        let lines = (0..self.cores as u32).map(|core| format!("cpu{core} 0 0 0 0 0 0 0 0 0 0\n")).collect::<String>();
        self.put("proc/stat", &format!("cpu  {busy:.0} 0 0 {idle:.0} 0 0 0 0 0 0\n{lines}"))
    }

    /// Replaced as a whole: a reader finds the old or the new, as in the kernel's own.
    fn put(&self, file: impl AsRef<Path>, text: &str) -> anyhow::Result<()> {
        let file = self.root.join(file);
        fs::create_dir_all(file.parent().context("a file in the tree")?)?;
        let part = file.with_extension("part");
        fs::write(&part, format!("{text}\n"))?;
        Ok(fs::rename(&part, &file)?)
    }
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries.find_map(|entry| if entry.file_name() == name { Some(entry.path()) } else { find(&entry.path(), name) })
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
