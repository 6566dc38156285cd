//! A real `trellisd` process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long a process may take to do what it is waited for. Reached only when it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Path of the binary: `$TRELLISD`, or the one that cargo builds beside the tests.
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| std::env::var_os("TRELLISD").map_or_else(build, PathBuf::from))
        .clone()
}

fn build() -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "trellis-daemon",
            "--bin",
            "trellisd",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .unwrap();
    assert!(status.success(), "trellisd does not build");
    // The tests are at <target>/debug/deps/<name>.
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("trellisd")
}

/// A command for `trellisd` that inherits no setting from the environment.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let known = ["TRELLIS_", "REDIS_", "KAFKA_", "USE_DISTRIBUTED"];
        if known.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // Neither a `trellis.toml` nor a `.env` of the working directory takes part.
    command.current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running daemon.
pub struct Daemon {
    process: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    /// Address of the gRPC port.
    pub grpc: String,
    /// Address of the HTTP port.
    pub http: String,
}

impl Daemon {
    /// Starts a daemon with further arguments, on ports that the system chooses, and waits until it
    /// serves.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(&[], arguments)
    }

    /// As [`start`](Self::start), with these variables in the environment.
    pub fn start_with(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = command();
        command.envs(variables.iter().copied());
        let mut daemon = Self::launch(command, "127.0.0.1:0", "127.0.0.1:0", arguments);
        daemon.grpc = daemon.wait_for_address("serving gRPC");
        daemon.http = daemon.wait_for_address("serving HTTP");
        daemon
    }

    /// Starts a daemon on these addresses with further arguments, and waits for nothing: its log need
    /// not tell when it serves.
    pub fn spawn(grpc: &str, http: &str, arguments: &[&str]) -> Self {
        Self::launch(command(), grpc, http, arguments)
    }

    fn launch(mut command: Command, grpc: &str, http: &str, arguments: &[&str]) -> Self {
        let mut process = command
            .args(["--listen", grpc, "--http-listen", http])
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (lines, log) = sync_channel(100_000);
        let stderr = BufReader::new(process.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            log,
            seen: Vec::new(),
            grpc: grpc.to_owned(),
            http: http.to_owned(),
        }
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    fn wait_for_address(&mut self, message: &str) -> String {
        let line = self.wait_for_log(message);
        let (_, address) = line.split_once("address=").unwrap();
        address
            .split_whitespace()
            .next()
            .unwrap()
            .trim_matches('"')
            .to_owned()
    }

    /// Waits for a line of the log that contains `text`.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("no {text:?} in the log:\n{}", self.seen.join("\n"));
            });
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The lines that the log has by now with this text.
    pub fn log_with(&mut self, text: &str) -> impl Iterator<Item = String> {
        self.seen.extend(self.log.try_iter());
        let found = self.seen.iter().filter(move |line| line.contains(text));
        found.cloned().collect::<Vec<_>>().into_iter()
    }

    /// A connection of its own.
    pub async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Number of the process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal by name, for example `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end of the process; returns its status and the whole log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        // The log ends with the process.
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the daemon hangs:\n{}", self.seen.join("\n"))
                }
            }
        }
        let status = self.process.wait().unwrap();
        (status, self.seen.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
