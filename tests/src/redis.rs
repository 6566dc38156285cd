//! A real `redis-server` process: a directory of its own, a free port, and where it is to be killed
//! everything written before it is acknowledged, so that it has lost nothing when it is started again.
//!
//! A missing `redis-server` makes a test print `ignored: no redis-server` and return, since the standard
//! harness cannot report that at run time; `TRELLIS_REQUIRE=redis` turns it into a failure.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Everything is written before it is acknowledged, so that it outlives the server's process. It need not
/// outlive the machine, so nothing waits for the disk.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "no"];

/// Nothing is kept on disk.
const IN_MEMORY: &[&str] = &["--appendonly", "no"];

/// A running server.
pub struct Redis {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    dir: TempDir,
    keeps: &'static [&'static str],
    child: Child,
}

impl Redis {
    /// Starts a server; `None` when there is no `redis-server` and none is required.
    pub fn start() -> Option<Self> {
        Self::start_with(DURABLE)
    }

    /// As [`start`](Self::start), for a server that need not outlive its end.
    pub fn in_memory() -> Option<Self> {
        Self::start_with(IN_MEMORY)
    }

    fn start_with(keeps: &'static [&'static str]) -> Option<Self> {
        if !available() {
            return None;
        }
        let dir = TempDir::new().unwrap();
        // It cannot choose a port by itself, so a free one is asked for, and another if it was taken since.
        let (port, child) = (0..20).find_map(|_| {
            let port = free_port();
            Some((port, launch(&dir, port, keeps)?))
        })?;
        Some(Self {
            port,
            dir,
            keeps,
            child,
        })
    }

    /// Number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command through `redis-cli`; returns what it prints.
    pub fn run(&self, command: &[&str]) -> String {
        run(self.port, command)
    }

    /// One look at what it did so far.
    pub fn stats(&self) -> Stats {
        Stats(self.run(&["INFO", "stats"]))
    }

    /// Scripts that it was asked to run so far. What scripts themselves call is not counted.
    pub fn scripts(&self) -> u64 {
        let stats = self.run(&["INFO", "commandstats"]);
        let lines = stats.lines();
        let called = lines.filter(|line| line.starts_with("cmdstat_eval"));
        called
            .filter_map(|line| {
                let (_, rest) = line.split_once("calls=")?;
                rest.split(',').next()?.parse::<u64>().ok()
            })
            .sum()
    }

    /// Sends a signal by name, for example `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.unwrap().success());
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the killed server again, on its port and its directory.
    pub fn restart(&mut self) {
        let child = (0..50).find_map(|_| launch(&self.dir, self.port, self.keeps));
        self.child = child.expect("Redis does not start again");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server did, as `INFO stats` tells it.
pub struct Stats(String);

impl Stats {
    /// A figure of it; NaN where there is none.
    pub fn figure(&self, name: &str) -> f64 {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let line = lines.find(|(field, _)| *field == name);
        line.and_then(|(_, figure)| figure.trim().parse().ok())
            .unwrap_or(f64::NAN)
    }
}

/// Runs a command on the server of this port through `redis-cli`; returns what it prints.
pub fn run(port: u16, command: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(command)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[expect(
    clippy::print_stdout,
    reason = "the only way to report a test as ignored at run time"
)]
fn available() -> bool {
    let found = Command::new("redis-server").arg("--version").output();
    if found.is_err() {
        let required = std::env::var("TRELLIS_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|name| name == "redis");
        assert!(!required, "no redis-server");
        println!("ignored: no redis-server");
    }
    found.is_ok()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts the process and waits until it listens; `None` when it ended instead.
fn launch(dir: &TempDir, port: u16, keeps: &[&str]) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--daemonize", "no", "--save", ""])
        .args(keeps)
        .arg("--dir")
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::yield_now();
    }
}
