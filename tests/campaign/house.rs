//! The daemon, its folder on disk, and how it is killed and started again there.

use crate::clock::{Clock, pause};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use trellis_tests::daemon::Daemon;

pub struct House {
    folder: TempDir,
    daemon: Mutex<Option<Daemon>>,
    /// Which life it is, and where it serves; `None` while it does not.
    open: watch::Sender<Option<(u64, String)>>,
    lives: Mutex<u64>,
    /// How long each start took until it served, in µs.
    starts: Mutex<Vec<u64>>,
    /// Panics, and errors that a person must look at.
    harm: Mutex<Vec<String>>,
}

impl House {
    /// A daemon on a new folder. Its files are small, so that there are many, and topics and queues share partitions.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let mut text = String::new();
        let data = folder.path().join("data");
        let _ = writeln!(text, "data_dir = {:?}", data.display().to_string());
        let _ = writeln!(text, "[events]\npartitions = 2");
        let _ = writeln!(text, "[jobs]\npartitions = 2\ncheckpoint_bytes = 262144");
        let _ = writeln!(text, "reattach_time = \"300ms\"\nlease = \"1s\"");
        let _ = writeln!(text, "[disk]\nsegment_bytes = 1048576");
        let _ = writeln!(text, "[log]\nlevel = \"info\"");
        fs::write(folder.path().join("trellis.toml"), text).expect("and written to");
        let house = Self {
            folder,
            daemon: Mutex::default(),
            open: watch::Sender::new(None),
            lives: Mutex::default(),
            starts: Mutex::default(),
            harm: Mutex::default(),
        };
        house.start(Clock::start());
        house
    }

    fn configuration(&self) -> String {
        let path = self.folder.path().join("trellis.toml");
        path.display().to_string()
    }

    /// Starts it, and waits until it serves.
    pub fn start(&self, clock: Clock) {
        let begun = clock.now();
        let daemon = Daemon::start(&["--config", &self.configuration()]);
        self.starts.lock().push(clock.now() - begun);
        let address = daemon.grpc.clone();
        *self.daemon.lock() = Some(daemon);
        let mut lives = self.lives.lock();
        *lives += 1;
        self.open.send_replace(Some((*lives, address)));
    }

    /// Starts it, and kills it so much later, while it reads what it finds or has just begun to serve.
    pub async fn start_in_vain(&self, time: Duration) {
        let nowhere = "127.0.0.1:0";
        let arguments = ["--config", &self.configuration()];
        let daemon = Daemon::spawn(nowhere, nowhere, &arguments);
        pause(time).await;
        self.bury(daemon);
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.open.send_replace(None);
        let daemon = self.daemon.lock().take();
        if let Some(daemon) = daemon {
            self.bury(daemon);
        }
    }

    fn bury(&self, mut daemon: Daemon) {
        let mut harm = self.harm.lock();
        if !daemon.is_running() {
            harm.push("the daemon has ended by itself".to_owned());
        }
        daemon.signal("KILL");
        let (_, log) = daemon.wait();
        let bad = |line: &&str| line.contains("panicked") || line.contains(" ERROR ");
        harm.extend(log.lines().filter(bad).map(str::to_owned));
    }

    /// Takes the end of a log in the data directory away, as no disk does that has synced it: files that have just been begun, and the last
    /// half of the newest other one. Tells how many bytes.
    pub fn cut(&self, log: &str) -> u64 {
        const JUST_BEGUN: u64 = 64 * 1024;
        let folder = self.folder.path().join("data").join(log);
        let files = fs::read_dir(folder).expect("the daemon has made it");
        let paths = files.filter_map(|file| Some(file.ok()?.path()));
        let mut logs: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|it| it == "log"))
            .collect();
        logs.sort();
        let mut cut = 0;
        while let Some(newest) = logs.pop() {
            let file = fs::OpenOptions::new().write(true).open(&newest);
            let file = file.expect("a file can be opened");
            let length = file.metadata().expect("and measured").len();
            if length >= JUST_BEGUN || logs.is_empty() {
                file.set_len(length - length / 2).expect("and cut");
                return cut + length / 2;
            }
            fs::remove_file(newest).expect("and removed");
            cut += length;
        }
        cut
    }

    /// A connection of its own to the daemon, and which life of it that is. Waits for it.
    pub async fn channel(&self) -> (u64, Channel) {
        let mut open = self.open.subscribe();
        loop {
            let now = open.wait_for(Option::is_some).await;
            let now = now.expect("the house stands").clone();
            let (life, address) = now.expect("it was waited for");
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            let endpoint = endpoint.expect("an address of the daemon's");
            if let Ok(channel) = endpoint.connect().await
                && *open.borrow() == Some((life, address))
            {
                return (life, channel);
            }
            pause(Duration::from_millis(2)).await;
        }
    }

    /// How long each start after a kill took, in order of length.
    pub fn starts(&self) -> Vec<Duration> {
        let starts = self.starts.lock();
        let mut again: Vec<_> = starts.iter().skip(1).copied().collect();
        again.sort_unstable();
        again.into_iter().map(Duration::from_micros).collect()
    }

    /// What is wrong with the daemon itself.
    pub fn harm(&self) -> Vec<String> {
        self.harm.lock().clone()
    }
}
