//! One `redis-server` process in a directory of its own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub struct Server {
    pub port: u16,
    dir: TempDir,
    args: Vec<String>,
    child: Child,
}

impl Server {
    /// Starts a server that keeps nothing on disk; `None` when there is no `redis-server`.
    pub fn start() -> Option<Self> {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    pub fn start_with(args: &[&str]) -> Option<Self> {
        if Command::new("redis-server")
            .arg("--version")
            .output()
            .is_err()
        {
            let required = std::env::var("TRELLIS_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name == "redis"),
                "no redis-server"
            );
            println!("ignored: no redis-server");
            return None;
        }
        let dir = TempDir::new().unwrap();
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        // Redis cannot choose a port by itself, so a free one is asked for, and another if it was taken since.
        let (port, child) = (0..20).find_map(|_| {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            Some((port, launch(&dir, port, &args)?))
        })?;
        Some(Self {
            port,
            dir,
            args,
            child,
        })
    }

    /// Runs a command through `redis-cli`.
    pub fn run(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli")
            .args(["-p", &port])
            .args(command)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the killed server again, on its port and its directory, with further arguments.
    pub fn restart(&mut self, further: &[&str]) {
        let mut args = self.args.clone();
        args.extend(further.iter().map(|&arg| arg.to_owned()));
        self.child = (0..50)
            .find_map(|_| launch(&self.dir, self.port, &args))
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the process and waits until it listens; `None` when it ended instead.
fn launch(dir: &TempDir, port: u16, args: &[String]) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--daemonize",
            "no",
        ])
        .arg("--dir")
        .arg(dir.path())
        .args(args)
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
