//! The processes of a stage: started on the loopback, ended by their numbers when dropped.

use crate::Result;
use serde::Serialize;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tempfile::TempDir;

/// How long a process may take to say its address. Reached only when it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it serves.
    pub address: String,
    /// Its own directory, when it has one, which goes with it.
    directory: Option<TempDir>,
}

impl Process {
    /// This program in another part, which says its address on the first line of standard output.
    pub fn part(name: &str, config: &impl Serialize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(name).arg(serde_json::to_string(config)?);
        // Its standard input ends with this process, and it with that.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::spawn(command)?;
        let stdout = process.child.stdout.take().ok_or("no output")?;
        process.address = address(stdout, |line| Some(line.to_owned()))?;
        Ok(process)
    }

    /// A daemon with these variables in its environment, and none of this process's.
    pub fn daemon(variables: &[(&str, String)]) -> Result<Self> {
        let mut command = Command::new(trellisd()?);
        command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.env_clear().envs(variables.iter().cloned());
        command.current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Self::spawn(command)?;
        let stderr = process.child.stderr.take().ok_or("no log")?;
        process.address = address(stderr, |line| {
            let (_, rest) = line.split_once("serving gRPC")?;
            let (_, rest) = rest.split_once("address=")?;
            let address = rest.split_whitespace().next()?;
            Some(address.trim_matches('"').to_owned())
        })?;
        Ok(process)
    }

    /// A Redis that keeps nothing on disk.
    pub fn redis() -> Result<Self> {
        let directory = TempDir::new()?;
        // It cannot choose a port by itself, so a free one is asked for.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]);
        command.arg(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Self::spawn(command)?;
        process.address = format!("127.0.0.1:{port}");
        process.directory = Some(directory);
        while TcpStream::connect(&process.address).is_err() {
            if process.child.try_wait()?.is_some() {
                return Err(format!("redis-server does not start on port {port}").into());
            }
            std::thread::yield_now();
        }
        Ok(process)
    }

    fn spawn(mut command: Command) -> Result<Self> {
        let child = command.spawn().map_err(|error| {
            format!(
                "{} does not start: {error}",
                command.get_program().display()
            )
        })?;
        Ok(Self {
            child,
            address: String::new(),
            directory: None,
        })
    }

    /// Processor time that it has used so far.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold anything; what follows its parenthesis are numbers.
        let (_, fields) = stat.rsplit_once(')').ok_or("no /proc/pid/stat")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> Result<u64> { Ok(fields.next().ok_or("too short")?.parse()?) };
        let used = ticks()? + ticks()?;
        Ok(Duration::from_micros(used * 1_000_000 / ticks_per_second()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Nobody writes to it any more.
        drop(self.directory.take());
    }
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// Processor time that the whole machine has used so far, over all cores.
pub fn machine_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("empty /proc/stat")?;
    let fields = line.split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else {
        return Err("too few fields in /proc/stat".into());
    };
    let busy = user + nice + system + irq + softirq + steal;
    Ok(Duration::from_micros(busy * 1_000_000 / ticks_per_second()))
}

/// The first line in which `find` sees an address. The rest is read too, so that nobody is held up.
fn address(
    output: impl std::io::Read + Send + 'static,
    find: impl Fn(&str) -> Option<String> + Send + 'static,
) -> Result<String> {
    let (found, address) = sync_channel(1);
    std::thread::spawn(move || read(output, find, &found));
    let address = address.recv_timeout(PATIENCE);
    Ok(address.map_err(|_| "a process ended, or hangs, before it said its address")?)
}

fn read(
    output: impl std::io::Read,
    find: impl Fn(&str) -> Option<String>,
    found: &SyncSender<String>,
) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(address) = find(&line) {
            // Nobody takes a second one.
            let _ = found.try_send(address);
        }
    }
}

/// The daemon's binary: `$TRELLISD`, or that beside this program.
fn trellisd() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TRELLISD") {
        return Ok(path.into());
    }
    let beside = std::env::current_exe()?.with_file_name("trellisd");
    if beside.exists() {
        return Ok(beside);
    }
    Err(format!("no {}: build it, or name one by TRELLISD", beside.display()).into())
}
