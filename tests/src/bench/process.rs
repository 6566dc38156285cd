//! The servers: processes of their own on a core of their own, ended by their number when dropped.

use super::{Result, echo};
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long a server may take to say its address. Reached only when it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

const ANY_PORT: [&str; 4] = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];

/// How long a daemon waits for its store: longer than a machine with other work keeps a call waiting; that
/// shows in the figures, not as an error.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(2);

const LOAD_CORE: &str = "0";
const SERVER_CORE: &str = "1";

/// Whether the servers and the load generator have a core each.
#[derive(Clone, Copy, Debug)]
pub enum Pinning {
    /// By `taskset`, the same way for both servers.
    Pinned,
    /// There is no `taskset`, or only one core.
    Free,
}

impl Pinning {
    /// Gives this process its core, where that is possible. Threads made later inherit it.
    pub fn apply() -> Self {
        let runs = |mut taskset: Command| {
            let quiet = taskset.stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        };
        let mut other = Command::new("taskset");
        other.args(["-c", SERVER_CORE, "true"]);
        let mut own = Command::new("taskset");
        own.args(["-a", "-c", "-p", LOAD_CORE, &std::process::id().to_string()]);
        let pinned = runs(other) && runs(own);
        if pinned { Self::Pinned } else { Self::Free }
    }

    /// Gives a running process the servers' core.
    pub fn give_server_core(self, pid: u32) {
        if matches!(self, Self::Pinned) {
            let mut taskset = Command::new("taskset");
            taskset.args(["-a", "-c", "-p", SERVER_CORE, &pid.to_string()]);
            // Without it the figures are worse, which is no reason to have none.
            let _ = taskset.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }

    /// A command for a server.
    fn command(self, core: &str, program: PathBuf) -> Command {
        let mut command = match self {
            // It becomes the program, so the child's number is the program's.
            Self::Pinned => {
                let mut command = Command::new("taskset");
                command.args(["-c", core]).arg(program);
                command
            }
            Self::Free => Command::new(program),
        };
        // No setting, no `trellis.toml` and no `.env` of the caller's takes part.
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).current_dir("/");
        command
    }
}

impl fmt::Display for Pinning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => write!(
                formatter,
                "load generator pinned to core {LOAD_CORE}, servers to core {SERVER_CORE} (taskset)"
            ),
            Self::Free => formatter.write_str("nothing pinned: no taskset, or no second core"),
        }
    }
}

/// A running server.
pub struct Server {
    process: Child,
    /// Where it serves gRPC.
    pub address: String,
}

impl Server {
    /// This program as the bare echo.
    pub fn echo(pinning: Pinning) -> Result<Self> {
        let mut command = pinning.command(SERVER_CORE, std::env::current_exe()?);
        command.arg(echo::ARGUMENT);
        Self::start(command)
    }

    /// The daemon: `$TRELLISD`, or the release build.
    pub fn trellis(pinning: Pinning) -> Result<Self> {
        Self::trellis_with(pinning, &[])
    }

    /// The daemon under these settings.
    pub fn trellis_with(pinning: Pinning, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = pinning.command(SERVER_CORE, trellisd()?);
        command.args(ANY_PORT).envs(settings.iter().copied());
        Self::start(command)
    }

    /// The daemon on the Redis of this port, which has the servers' core for itself.
    pub fn distributed(pinning: Pinning, redis: u16) -> Result<Self> {
        Self::on_redis(pinning.command(LOAD_CORE, trellisd()?), redis)
    }

    /// One of several daemons on the Redis of this port, with the servers' core.
    pub fn sharing(pinning: Pinning, redis: u16) -> Result<Self> {
        Self::on_redis(pinning.command(SERVER_CORE, trellisd()?), redis)
    }

    fn on_redis(mut command: Command, redis: u16) -> Result<Self> {
        command.args(ANY_PORT).env("USE_DISTRIBUTED", "true");
        command.env("REDIS_PORT", redis.to_string());
        let timeout = format!("{}ms", STORE_TIMEOUT.as_millis());
        command.env("TRELLIS_REDIS__STORE_TIMEOUT", timeout);
        Self::start(command)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let stderr = process.stderr.take();
        // From here on the process is ended whatever happens.
        let mut server = Self {
            process,
            address: String::new(),
        };
        let log = BufReader::new(stderr.ok_or("no log")?);
        let (found, address) = sync_channel(1);
        std::thread::spawn(move || read(log.lines().map_while(std::io::Result::ok), &found));
        server.address = address
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("{command:?} does not say its address"))?;
        Ok(server)
    }

    /// A connection to it of its own.
    pub async fn connect(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
        Ok(endpoint.connect().await?)
    }

    /// Its resident size in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = line
            .and_then(|line| line.trim().strip_suffix("kB"))
            .ok_or("no VmRSS in /proc")?
            .trim()
            .parse()?;
        Ok(kilobytes * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How long the threads of a process have run so far.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended since; what it ran was little.
        let stat = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let ran = stat.split(' ').next().and_then(|ran| ran.parse().ok());
        nanos += ran.unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Reads a log to its end, so that the writer is never held up, and hands on the address in it.
fn read(lines: impl Iterator<Item = String>, found: &SyncSender<String>) {
    for line in lines {
        let address = line
            .split_once("address=")
            .filter(|_| line.contains(echo::SERVING))
            .and_then(|(_, rest)| rest.split_whitespace().next());
        if let Some(address) = address {
            // Nobody takes a second one.
            let _ = found.try_send(address.trim_matches('"').to_owned());
        }
    }
}

/// Path of the daemon's release binary, built if need be.
fn trellisd() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRELLISD") {
        return Ok(path.into());
    }
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--bin", "trellisd"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()?;
    if !build.success() {
        return Err("trellisd does not build".into());
    }
    // This program is <target>/release/deps/<name>.
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(2).ok_or("no target folder")?;
    Ok(folder.join("trellisd"))
}
