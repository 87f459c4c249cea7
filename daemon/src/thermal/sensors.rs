//! Readers of what Linux tells of heat, all under a root path: thermal zones with their trips, hwmon, cooling devices,
//! cpufreq, and the Raspberry Pi firmware's throttle bits.
//! Sources: Documentation/driver-api/thermal/sysfs-api.rst, Documentation/hwmon/sysfs-interface.rst,
//! Documentation/admin-guide/pm/cpufreq.rst of the Linux kernel; `vcgencmd get_throttled` of the Raspberry Pi documentation.

use super::Celsius;
use std::fs;
use std::path::{Path, PathBuf};

/// What a board has, found once at the start; its readings are taken again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// Model, as the device tree or DMI names it; `unknown` where neither does.
    pub name: String,
    /// The device tree's `compatible` strings, the most specific first.
    pub compatible: Vec<String>,
    /// Temperature sensors of the CPU or the chip it is on.
    sensors: Vec<Sensor>,
    /// Trip points of the zones those sensors are in, and critical limits of hwmon sensors.
    pub trips: Vec<Trip>,
    throttled: Option<PathBuf>,
    root: PathBuf,
}

#[derive(Debug, Clone, PartialEq)]
struct Sensor {
    name: String,
    file: PathBuf,
}

/// A temperature at which something happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Trip {
    /// Zone or chip, and what it is called there.
    pub name: String,
    /// What happens.
    pub kind: TripKind,
    /// When.
    pub at: Celsius,
}

/// What happens at a trip point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TripKind {
    /// A fan step.
    Active,
    /// The kernel throttles.
    Passive,
    /// A driver is told.
    Hot,
    /// The board is switched off.
    Critical,
}

/// One look at the sensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The hottest sensor that answered sensibly.
    pub hottest: Option<(String, Celsius)>,
    /// Sensors that exist.
    pub sensors: usize,
    /// Why some of them do not count: unreadable, or absurd.
    pub complaints: Vec<String>,
    /// The firmware's throttle bits, on a Raspberry Pi.
    pub throttled: Option<Throttled>,
}

/// The Raspberry Pi firmware's throttle bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled(pub u32);

impl Throttled {
    /// The supply voltage is too low, now.
    pub fn under_voltage(self) -> bool {
        self.0 & 1 != 0
    }

    /// Frequency capped, throttled, or at the soft temperature limit, now.
    pub fn now(self) -> bool {
        self.0 & 0b1110 != 0
    }

    /// The same, at some time since boot.
    pub fn since_boot(self) -> bool {
        self.0 & 0b1110 << 16 != 0
    }
}

/// Something that cools: a fan, or a processor that is slowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoolingDevice {
    /// What it is, such as `pwm-fan` or `cpufreq-cpu0`.
    pub kind: String,
    /// Its step now.
    pub state: u32,
    /// Its highest step.
    pub most: u32,
}

/// A group of cores that share a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrequencyPolicy {
    /// `policy0` and so on.
    pub name: String,
    /// Frequency now, in kHz.
    pub now_khz: u32,
    /// Frequency cap in force, in kHz.
    pub cap_khz: u32,
    /// Highest frequency of the hardware, in kHz.
    pub most_khz: u32,
    /// Frequencies it has, in kHz, ascending; empty where the driver names none.
    pub steps_khz: Vec<u32>,
    /// Where its cap is written.
    pub(super) cap_file: PathBuf,
}

/// Readings outside this range are a broken sensor's.
const SENSIBLE: std::ops::Range<f64> = -40.0..150.0;

impl Board {
    /// Looks for sensors under `root` (`/` but in tests).
    pub fn find(root: &Path) -> Board {
        let compatible = fs::read_to_string(root.join("proc/device-tree/compatible")).unwrap_or_default();
        let name = text(&root.join("proc/device-tree/model")).or_else(|| text(&root.join("sys/class/dmi/id/product_name")));
        let mut board = Board {
            name: name.unwrap_or_else(|| "unknown".into()),
            compatible: compatible.split('\0').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
            sensors: Vec::new(),
            trips: Vec::new(),
            throttled: throttle_file(root),
            root: root.to_path_buf(),
        };
        board.find_zones();
        if board.sensors.is_empty() {
            board.find_hwmon();
        }
        board
    }

    /// Zones of the CPU or its chip; where none has such a name, every zone.
    fn find_zones(&mut self) {
        let zones = numbered(&self.root.join("sys/class/thermal"), "thermal_zone");
        let named: Vec<(String, PathBuf)> = zones.into_iter().map(|z| (text(&z.join("type")).unwrap_or_default(), z)).collect();
        let any_cpu = named.iter().any(|(kind, _)| is_cpu(kind));
        for (kind, zone) in named.into_iter().filter(|(kind, _)| !any_cpu || is_cpu(kind)) {
            self.sensors.push(Sensor { name: kind.clone(), file: zone.join("temp") });
            for i in 0.. {
                let Some(what) = text(&zone.join(format!("trip_point_{i}_type"))) else { break };
                let at = millidegrees(&zone.join(format!("trip_point_{i}_temp"))).unwrap_or(Celsius(f64::NAN));
                let trip_kind = match what.as_str() {
                    "active" => TripKind::Active,
                    "passive" => TripKind::Passive,
                    "hot" => TripKind::Hot,
                    "critical" => TripKind::Critical,
                    _ => continue,
                };
                // Drivers write 0 or a negative number for a trip that is not set.
                if at.0 > 0.0 && SENSIBLE.contains(&at.0) {
                    self.trips.push(Trip { name: format!("{kind} trip {i}"), kind: trip_kind, at });
                }
            }
        }
    }

    /// hwmon chips of the CPU.
    fn find_hwmon(&mut self) {
        for chip in numbered(&self.root.join("sys/class/hwmon"), "hwmon") {
            let name = text(&chip.join("name")).unwrap_or_default();
            if !is_cpu(&name) {
                continue;
            }
            // Channels may have gaps (coretemp skips cores that do not exist), so look at each number.
            for i in (1..=64).filter(|i| chip.join(format!("temp{i}_input")).exists()) {
                let label = text(&chip.join(format!("temp{i}_label"))).unwrap_or_else(|| format!("temp{i}"));
                // k10temp's Tctl may carry an offset for fans; Tdie is the true one where it exists.
                let label = format!("{name} {label}");
                if let Some(at) = millidegrees(&chip.join(format!("temp{i}_crit"))).filter(|at| at.0 > 0.0 && SENSIBLE.contains(&at.0)) {
                    self.trips.push(Trip { name: label.clone(), kind: TripKind::Critical, at });
                }
                self.sensors.push(Sensor { name: label, file: chip.join(format!("temp{i}_input")) });
            }
        }
    }

    /// Whether there is any sensor at all.
    pub fn has_sensor(&self) -> bool {
        !self.sensors.is_empty()
    }

    /// Reads every sensor now.
    pub fn read(&self) -> Reading {
        let mut reading = Reading { hottest: None, sensors: self.sensors.len(), complaints: Vec::new(), throttled: None };
        for sensor in &self.sensors {
            match millidegrees(&sensor.file) {
                Some(at) if SENSIBLE.contains(&at.0) => {
                    if reading.hottest.as_ref().is_none_or(|(_, hottest)| at > *hottest) {
                        reading.hottest = Some((sensor.name.clone(), at));
                    }
                }
                Some(at) => reading.complaints.push(format!("{} says {at}, which cannot be", sensor.name)),
                None => reading.complaints.push(format!("{} cannot be read", sensor.name)),
            }
        }
        let bits = self.throttled.as_ref().and_then(|file| text(file));
        reading.throttled = bits.and_then(|b| u32::from_str_radix(b.trim_start_matches("0x"), 16).ok()).map(Throttled);
        reading
    }

    /// What cools this board, and how hard it works now.
    pub fn cooling_devices(&self) -> Vec<CoolingDevice> {
        let devices = numbered(&self.root.join("sys/class/thermal"), "cooling_device");
        devices
            .into_iter()
            .filter_map(|d| {
                Some(CoolingDevice {
                    kind: text(&d.join("type"))?,
                    state: number(&d.join("cur_state"))?,
                    most: number(&d.join("max_state"))?,
                })
            })
            .collect()
    }

    /// The fan's step, where there is one: 0 is off.
    pub fn fan_step(&self) -> Option<u32> {
        self.cooling_devices().into_iter().find(|device| device.kind.contains("fan")).map(|device| device.state)
    }

    /// Power of the board in W, where a hwmon chip measures it: its first channel.
    pub fn watts(&self) -> Option<f64> {
        let chips = numbered(&self.root.join("sys/class/hwmon"), "hwmon");
        let micro = chips.iter().find_map(|chip| number(&chip.join("power1_input")).or_else(|| number(&chip.join("power1_average"))))?;
        Some(f64::from(micro) / 1e6)
    }

    /// Clocks of the cores.
    pub fn frequencies(&self) -> Vec<FrequencyPolicy> {
        let policies = numbered(&self.root.join("sys/devices/system/cpu/cpufreq"), "policy");
        policies
            .into_iter()
            .filter_map(|p| {
                Some(FrequencyPolicy {
                    name: p.file_name()?.to_string_lossy().into_owned(),
                    now_khz: number(&p.join("scaling_cur_freq"))?,
                    cap_khz: number(&p.join("scaling_max_freq"))?,
                    most_khz: number(&p.join("cpuinfo_max_freq"))?,
                    steps_khz: steps(&p.join("scaling_available_frequencies")),
                    cap_file: p.join("scaling_max_freq"),
                })
            })
            .collect()
    }
}

/// Names that drivers give to sensors of the CPU or the chip it is on.
fn is_cpu(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["cpu", "soc", "package", "core", "x86_pkg_temp", "k10temp", "zenpower", "cluster"].iter().any(|part| name.contains(part))
}

/// Where the Raspberry Pi firmware driver shows its bits: below the `soc` bus, whose name differs by model.
fn throttle_file(root: &Path) -> Option<PathBuf> {
    let buses = fs::read_dir(root.join("sys/devices/platform")).ok()?.filter_map(Result::ok).map(|e| e.path());
    let firmware = buses
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("soc")))
        .flat_map(|bus| fs::read_dir(bus).into_iter().flatten());
    firmware.filter_map(Result::ok).map(|e| e.path().join("get_throttled")).find(|f| f.exists())
}

/// Entries of a folder called `<prefix><number>`, by number.
fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|e| Some((e.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?, e.path()))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn text(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.trim_end_matches(['\0', '\n', ' ']).to_owned())
}

/// Frequencies in a file, ascending.
fn steps(file: &Path) -> Vec<u32> {
    let mut steps: Vec<u32> = text(file).unwrap_or_default().split_whitespace().filter_map(|step| step.parse().ok()).collect();
    steps.sort_unstable();
    steps
}

fn number(file: &Path) -> Option<u32> {
    text(file)?.parse().ok()
}

fn millidegrees(file: &Path) -> Option<Celsius> {
    text(file)?.parse::<i64>().ok().map(|m| Celsius(m as f64 / 1000.0))
}
