//! Three daemons on one Redis, each behind a proxy of its own, and what can be done to them; or, to see
//! what the checker makes of them, three daemons that share nothing, and one alone.

use crate::buckets;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::NamedTempFile;
use trellis_tests::daemon::Daemon;
use trellis_tests::proxy::Proxy;
use trellis_tests::redis::Redis;

/// Without the store nothing is admitted, so that what is admitted is never over. A busy machine is not
/// taken for a store that is away.
pub const STRICT: &[(&str, &str)] = &[
    ("TRELLIS_REDIS__STORE_TIMEOUT", "2s"),
    ("TRELLIS_LIMITS__FALLBACK", "fail"),
    ("TRELLIS_LIMITS__FALLBACK_HOLD", "0s"),
];

/// However busy the machine is, the store is not away: for what is measured without faults.
pub const PATIENT: &[(&str, &str)] = &[
    ("TRELLIS_REDIS__STORE_TIMEOUT", "10s"),
    ("TRELLIS_REDIS__DEATH_AFTER", "30s"),
];

/// Daemons of a cluster that shares a store.
const DAEMONS: usize = 3;

pub struct Cluster {
    redis: Option<Mutex<Redis>>,
    seats: Vec<Seat>,
    settings: &'static [(&'static str, &'static str)],
    /// Declares the limits.
    configuration: NamedTempFile,
    /// The run is over: nothing is started again.
    pub over: AtomicBool,
}

/// A place for a daemon.
struct Seat {
    proxy: Option<Proxy>,
    daemon: Mutex<Option<Daemon>>,
    /// Where it serves; `None` while it does not run.
    address: Mutex<Option<String>>,
}

impl Cluster {
    /// Daemons that share a Redis, with these settings; `None` when there is none.
    pub fn shared(settings: &'static [(&'static str, &'static str)]) -> Option<Self> {
        Some(Self::start(DAEMONS, Some(Redis::start()?), settings))
    }

    /// Daemons that share nothing.
    pub fn apart() -> Self {
        Self::start(DAEMONS, None, &[])
    }

    /// One daemon that needs no store.
    pub fn alone() -> Self {
        Self::start(1, None, &[])
    }

    /// How many there are.
    pub fn daemons(&self) -> usize {
        self.seats.len()
    }

    fn start(
        daemons: usize,
        redis: Option<Redis>,
        settings: &'static [(&'static str, &'static str)],
    ) -> Self {
        let seat = |_| Seat {
            proxy: redis.as_ref().map(|redis| Proxy::before(redis.port)),
            daemon: Mutex::new(None),
            address: Mutex::new(None),
        };
        let configuration = NamedTempFile::with_suffix(".toml").expect("a file can be made");
        std::fs::write(&configuration, buckets::configuration()).expect("and written");
        let cluster = Self {
            configuration,
            seats: (0..daemons).map(seat).collect(),
            redis: redis.map(Mutex::new),
            settings,
            over: AtomicBool::new(false),
        };
        for seat in 0..daemons {
            cluster.start_daemon(seat);
        }
        cluster
    }

    /// Where a daemon serves.
    pub fn address(&self, seat: usize) -> Option<String> {
        self.seats[seat].address.lock().clone()
    }

    /// Starts a daemon where none runs, and waits until it serves.
    pub fn start_daemon(&self, seat: usize) {
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        let place = &self.seats[seat];
        let port = place.proxy.as_ref().map(|proxy| proxy.port.to_string());
        let mut variables = self.settings.to_vec();
        if let Some(port) = &port {
            variables.push(("USE_DISTRIBUTED", "true"));
            variables.push(("REDIS_HOST", "127.0.0.1"));
            variables.push(("REDIS_PORT", port));
        }
        let configuration = self.configuration.path().to_string_lossy();
        let daemon = Daemon::start_with(&variables, &["--config", &configuration]);
        *place.address.lock() = Some(daemon.grpc.clone());
        *place.daemon.lock() = Some(daemon);
    }

    /// SIGKILL.
    pub fn kill_daemon(&self, seat: usize) {
        *self.seats[seat].address.lock() = None;
        // Dropping a daemon kills it.
        drop(self.seats[seat].daemon.lock().take());
    }

    /// Sends a signal by name to the daemon, if it runs.
    pub fn signal_daemon(&self, seat: usize, name: &str) {
        if let Some(daemon) = self.seats[seat].daemon.lock().as_ref() {
            daemon.signal(name);
        }
    }

    /// The link between a daemon and the store.
    pub fn link(&self, seat: usize) -> Option<&Proxy> {
        self.seats[seat].proxy.as_ref()
    }

    /// SIGKILL to the store.
    pub fn kill_store(&self) {
        if let Some(redis) = &self.redis {
            redis.lock().kill();
        }
    }

    /// Starts the killed store again.
    pub fn start_store(&self) {
        if let Some(redis) = &self.redis {
            redis.lock().restart();
        }
    }

    /// Sends a signal by name to the store.
    pub fn signal_store(&self, name: &str) {
        if let Some(redis) = &self.redis {
            redis.lock().signal(name);
        }
    }

    /// What is wrong with the daemons themselves: those that have ended, and what their logs tell of panics and of errors that
    /// a person must look at.
    pub fn harm(&self) -> Vec<String> {
        let mut harm = Vec::new();
        for (number, seat) in self.seats.iter().enumerate() {
            let mut place = seat.daemon.lock();
            let Some(daemon) = place.as_mut() else {
                harm.push(format!("daemon {number} does not run"));
                continue;
            };
            if !daemon.is_running() {
                harm.push(format!("daemon {number} has ended by itself"));
            }
            for text in ["panicked", " ERROR "] {
                let lines = daemon.log_with(text);
                harm.extend(lines.map(|line| format!("daemon {number}: {line}")));
            }
        }
        harm
    }

    /// Runs a command of the store, behind the daemons' backs.
    pub fn tell_store(&self, command: &[&str]) {
        if let Some(redis) = &self.redis {
            redis.lock().run(command);
        }
    }
}
