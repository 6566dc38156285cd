//! The peer: beanstalkd, a job queue in memory that everybody can install, spoken to as straight as can be.

use crate::SUBMITTERS;
use crate::finished::Finished;
use crate::messages::PAYLOAD;
use crate::working::WORKERS;
use futures::future::try_join_all;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Pinning;
use trellis_tests::bench::rounds::{Done, now};

/// A running beanstalkd, with its workers at work.
pub struct Beanstalk {
    process: Child,
    submitters: Vec<Mutex<BufStream<TcpStream>>>,
    finished: Finished,
    workers: JoinSet<()>,
}

impl Beanstalk {
    /// Starts it; none where it is not installed.
    pub async fn start(pinning: Pinning) -> Result<Option<Self>> {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let mut command = Command::new("beanstalkd");
        command.args(["-l", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let Ok(process) = command.stderr(Stdio::null()).spawn() else {
            return Ok(None);
        };
        let mut peer = Self {
            process,
            submitters: Vec::new(),
            finished: Finished::default(),
            workers: JoinSet::new(),
        };
        pinning.give_server_core(peer.pid());
        for _ in 0..SUBMITTERS {
            peer.submitters.push(Mutex::new(connect(port).await?));
        }
        for _ in 0..WORKERS {
            let (stream, finished) = (connect(port).await?, peer.finished.clone());
            peer.workers
                .spawn(async move { drop(work(stream, &finished).await) });
        }
        Ok(Some(peer))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Puts jobs until the deadline, and waits until workers have finished them.
    pub async fn through(&self, deadline: Instant) -> Result<Done> {
        let before = self.finished.count();
        let lanes = self.submitters.iter().map(|stream| async move {
            let (mut stream, mut done) = (stream.lock().await, Done::default());
            let put = format!("put 0 0 60 {PAYLOAD}\r\n{}\r\n", "x".repeat(PAYLOAD));
            let (mut line, mut sent) = (String::new(), now());
            loop {
                stream.write_all(put.as_bytes()).await?;
                stream.flush().await?;
                answer(&mut stream, &mut line, "INSERTED").await?;
                let answered = now();
                done.add(answered - sent);
                sent = answered;
                if answered >= deadline {
                    return Result::Ok(done);
                }
            }
        });
        let done = Done::sum(try_join_all(lanes).await?);
        self.finished.until(before + done.calls).await?;
        Ok(done)
    }
}

impl Drop for Beanstalk {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect(port: u16) -> Result<BufStream<TcpStream>> {
    let begun = now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(BufStream::new(stream));
            }
            Err(error) if begun.elapsed() > Duration::from_secs(5) => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Reads the next line, which begins so.
async fn answer(stream: &mut BufStream<TcpStream>, line: &mut String, begins: &str) -> Result<()> {
    line.clear();
    stream.read_line(line).await?;
    if line.starts_with(begins) {
        return Ok(());
    }
    Err(format!("beanstalkd answers {line:?}").into())
}

/// Deletes each job as soon as it comes, and asks for the next one in the same write.
async fn work(mut stream: BufStream<TcpStream>, finished: &Finished) -> Result<()> {
    let (mut line, mut payload) = (String::new(), [0; PAYLOAD + 2]);
    stream.write_all(b"reserve\r\n").await?;
    loop {
        stream.flush().await?;
        answer(&mut stream, &mut line, "RESERVED").await?;
        let id = line.split(' ').nth(1).ok_or("a job without a number")?;
        let next = format!("delete {id}\r\nreserve\r\n");
        stream.read_exact(&mut payload).await?;
        stream.write_all(next.as_bytes()).await?;
        stream.flush().await?;
        answer(&mut stream, &mut line, "DELETED").await?;
        finished.add(1);
    }
}
