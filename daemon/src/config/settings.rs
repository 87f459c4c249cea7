//! Settings that were checked: whatever is here can be used as it is.

use crate::thermal::Mode;
use hearth_api::ModelName;
use hearth_api::topics::NodeName;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[node]`
    pub node: NodeName,
    /// `[mqtt]`
    pub mqtt: Option<Mqtt>,
    /// `[dbus]`
    pub dbus: Option<Bus>,
    /// `[models]`
    pub models: Models,
    /// `[limits]`
    pub limits: Limits,
    /// `[thermal]`
    pub thermal: Thermal,
    /// Folder for what lives as long as the boot does (the flight record).
    pub runtime_directory: PathBuf,
    /// Folder for what is kept (what was learnt of the board's heat, and its history).
    pub state_directory: PathBuf,
}

/// The broker, and who may be answered where.
#[derive(Debug, Clone, PartialEq)]
pub struct Mqtt {
    /// Where it is.
    pub broker: Broker,
    /// Patterns a response topic must match.
    pub response_topics: Vec<String>,
    /// Fleet groups this node serves in.
    pub groups: Vec<NodeName>,
    /// Requests in flight from the broker to us; exceeds the admission bound.
    pub receive_maximum: u16,
    /// Largest packet taken, in bytes.
    pub max_packet_bytes: u32,
    /// Keep-alive.
    pub keep_alive: Duration,
}

/// Where the broker is and how to be let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name and password.
    pub login: Option<(String, Secret)>,
    /// TLS; none is plain TCP.
    pub tls: Option<Tls>,
}

/// TLS to the broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// PEM file of the authorities that may have signed the broker's certificate.
    pub ca_file: PathBuf,
    /// Our certificate chain and key, PEM files, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A secret; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Which bus to serve on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bus {
    /// The system bus.
    System,
    /// The session bus.
    Session,
    /// A bus at this D-Bus address.
    Address(String),
    /// No bus daemon: serve peers on this unix socket.
    Peer(PathBuf),
}

/// Where models are and how much memory they may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Models {
    /// The store.
    pub directory: PathBuf,
    /// Memory for weights, scratch and queues; none: from the cgroup's limit or free memory, less a reserve.
    pub memory_bytes: Option<u64>,
    /// Loaded at boot and kept.
    pub pinned: Vec<ModelName>,
    /// Loaded even if they need more memory than there is.
    pub overcommit: Vec<ModelName>,
    /// Loaded at boot.
    pub preload: bool,
    /// Taken out of memory after this long without a request; none: only under pressure.
    pub idle_unload: Option<Duration>,
    /// Most memory the check of a new model may take.
    pub check_memory_bytes: u64,
    /// Longest the check of a new model may take.
    pub check_timeout: Duration,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Requests waiting or running.
    pub queue_requests: usize,
    /// Bytes they hold.
    pub queue_bytes: usize,
    /// Requests waiting for one model.
    pub queue_requests_per_model: usize,
    /// Largest payload.
    pub payload_bytes: usize,
    /// Deadline of a request that names none.
    pub default_timeout: Duration,
    /// The same of a chat request, which takes longer.
    pub chat_timeout: Duration,
    /// Compute threads; none: one for each core.
    pub threads: Option<u32>,
    /// How long a shutdown may take.
    pub shutdown: Duration,
}

/// Heat.
#[derive(Debug, Clone, PartialEq)]
pub struct Thermal {
    /// Under which the sysfs tree is; `/` but in tests.
    pub root: PathBuf,
    /// The user's limit in degrees Celsius; the lowest of the applicable limits counts.
    pub limit_celsius: Option<f64>,
    /// How often the sensors are read.
    pub interval: Duration,
    /// What the board is to be like; none: as power-profiles-daemon says, balanced where there is none.
    pub mode: Option<Mode>,
}

impl Limits {
    /// Compute threads: as configured, or one for each core this process may use.
    pub fn compute_threads(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        self.threads.unwrap_or(cores)
    }
}
