//! `just bench jobs`: what jobs cost, as ratios to baselines measured in the same run.
//!
//! The real `trellisd` runs beside a bare tonic server that answers submissions with messages of the same size and keeps nothing
//! (`echo`), and beside beanstalkd where it is installed (`apt-get install beanstalkd`). In a data directory, submissions are
//! compared with a bare group commit. This process is the load generator; how it measures is in `trellis_tests::bench`.
//!
//! With the name of a part (rate, limit, ack, pickup, killed, pending, disk, restart) only that one is measured:
//! `cargo bench --package trellis-tests --bench jobs -- rate`. Takes about three minutes.
//!
//! Files: `echo` the floor, `beanstalk` the peer, `messages` what is sent, `submitting`, `streaming` and `working` how, `finished` what is counted,
//! `pending` many jobs that wait, `killed` a worker that is gone, `disk` the data directory, `../log/bare.rs` the plain group commit.

#[path = "../log/bare.rs"]
mod bare;
mod beanstalk;
mod disk;
mod echo;
mod finished;
mod killed;
mod messages;
mod pending;
mod streaming;
mod submitting;
mod working;

use beanstalk::Beanstalk;
use messages::QUEUE;
use std::time::Duration;
use streaming::Streams;
use submitting::Submitters;
use tokio::sync::Mutex;
use trellis_proto::v1::JobServiceSubmitRequest;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, ROUNDS, Sample, alternate, median};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::bench::{self, Result};
use working::{Idle, WORKERS, Workers};

/// Streams that submitters share, and that workers share: a program has one of each.
const STREAMS: usize = 4;

/// Submitters at once.
const SUBMITTERS: usize = 64;

const ROUND: Duration = Duration::from_millis(500);

/// Jobs that a start finds.
const MANY: usize = 1_000_000;

fn main() -> Result<()> {
    bench::main(&PARTS, echo::serve, run)
}

/// What is measured, in this order.
const PARTS: [&str; 8] = [
    "rate", "limit", "ack", "pickup", "killed", "pending", "disk", "restart",
];

async fn run(pinning: Pinning, parts: &[&str]) -> Result<()> {
    let mut table = Table::default();
    say(&format!("jobs: {ROUNDS} alternating rounds; {pinning}"));
    let (echo, trellis) = (Server::echo(pinning)?, Server::trellis(pinning)?);
    let (echo, trellis) = (Side::connect(echo).await?, Side::connect(trellis).await?);
    say(&messages::compare_sizes(&echo.server, &trellis.server).await?);
    if parts.contains(&"rate") {
        rate(pinning, &trellis, &mut table).await?;
    }
    if parts.contains(&"limit") {
        charged(&trellis, &mut table).await?;
    }
    if parts.contains(&"ack") {
        acknowledged(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"pickup") {
        pick_up(&trellis, &mut table).await?;
    }
    if parts.contains(&"killed") {
        killed::measure(&trellis.server, &mut table).await?;
    }
    if parts.contains(&"pending") {
        pending::measure(pinning, &mut table).await?;
    }
    if parts.contains(&"disk") {
        disk::measure(pinning, &echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"restart") {
        disk::restart(pinning, &mut table).await?;
    }
    table.print();
    Ok(())
}

/// A server, and submitters on it.
pub struct Side {
    server: Server,
    submitters: Submitters,
}

impl Side {
    async fn connect(server: Server) -> Result<Self> {
        let submitters = Submitters::open(&server).await?;
        Ok(Self { server, submitters })
    }

    /// One job in flight; what becomes of the jobs does not matter.
    fn submits<'a>(&'a self, queue: &'a str) -> Case<'a> {
        Case::new(self.server.pid(), move |deadline| {
            self.submitters.run(queue, deadline)
        })
    }
}

/// Whole lives of jobs, from their submission to their acknowledged end, over streams.
pub struct Lives {
    pid: u32,
    job: JobServiceSubmitRequest,
    streams: Streams,
    workers: Workers,
}

impl Lives {
    /// Of jobs of one queue.
    async fn open(server: &Server, queue: &str, job: JobServiceSubmitRequest) -> Result<Self> {
        Ok(Self {
            pid: server.pid(),
            job,
            streams: Streams::open(server, STREAMS).await?,
            workers: Workers::open(server, queue, STREAMS, WORKERS / STREAMS).await?,
        })
    }

    fn case(&self) -> Case<'_> {
        Case::new(self.pid, |deadline| {
            let finished = &self.workers.finished;
            self.streams.through(&self.job, finished, deadline)
        })
    }
}

async fn rate(pinning: Pinning, trellis: &Side, table: &mut Table) -> Result<()> {
    let lives = Lives::open(&trellis.server, QUEUE, messages::submit(QUEUE)).await?;
    let what = format!("{SUBMITTERS} submitters, {WORKERS} workers, in memory");
    let row = |of: &str| Row::new(format!("{what}: {of}"), "beanstalkd");
    let Some(peer) = Beanstalk::start(pinning).await? else {
        say("beanstalkd is not installed: the rate stands for itself");
        let [own] = alternate([lives.case()], ROUND).await?;
        let rates: Vec<f64> = own.iter().map(Sample::kilocalls_per_second).collect();
        table.add(Row::new(format!("{what}: jobs/s"), "").value(median(&rates), "k"));
        return Ok(());
    };
    let peers = Case::new(peer.pid(), |deadline| peer.through(deadline));
    let [base, own] = alternate([peers, lives.case()], ROUND).await?;
    let rate = row("jobs/s").target(Target::AtLeast(2.0));
    table.add(rate.compare(&base, &own, Sample::kilocalls_per_second, "k"));
    let cpu = row("server CPU per job");
    table.add(cpu.compare(&base, &own, Sample::cpu_micros_per_call, "µs"));
    Ok(())
}

/// Jobs that charge a limit which has enough for all, against jobs that charge nothing.
async fn charged(trellis: &Side, table: &mut Table) -> Result<()> {
    const QUEUE: &str = "charged";
    messages::declare(&trellis.server).await?;
    let free = Lives::open(&trellis.server, "free", messages::submit("free")).await?;
    let charged = Lives::open(&trellis.server, QUEUE, messages::charged(QUEUE)).await?;
    let [base, own] = alternate([free.case(), charged.case()], ROUND).await?;
    let row = Row::new("a limit on every job: jobs/s".into(), "no limit");
    let row = row.target(Target::AtLeast(0.85));
    table.add(row.compare(&base, &own, Sample::kilocalls_per_second, "k"));
    Ok(())
}

async fn acknowledged(echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    let cases = [
        echo.submits("acknowledged"),
        trellis.submits("acknowledged"),
    ];
    let [base, own] = alternate(cases, ROUND).await?;
    let row = Row::new("a submission, 1 in flight: p50".into(), "echo");
    let row = row.target(Target::AtMost(1.3));
    table.add(row.compare(&base, &own, Sample::p50_micros, "µs"));
    Ok(())
}

async fn pick_up(trellis: &Side, table: &mut Table) -> Result<()> {
    let queue = "idle";
    let worker = Mutex::new(Idle::open(&trellis.server, queue).await?);
    let case = Case::new(trellis.server.pid(), |deadline| {
        trellis.submitters.picked_up(queue, &worker, deadline)
    });
    let [begun] = alternate([case], ROUND).await?;
    let millis = |of: fn(&Sample) -> f64| {
        let figures: Vec<f64> = begun.iter().map(|sample| of(sample) / 1e3).collect();
        median(&figures)
    };
    let row = |what: &str| Row::new(format!("submission to an idle worker's start: {what}"), "");
    let p50 = row("p50").target(Target::AtMost(0.25));
    table.add(p50.value(millis(Sample::p50_micros), "ms"));
    let p99 = row("p99").target(Target::AtMost(0.5));
    table.add(p99.value(millis(Sample::p99_micros), "ms"));
    Ok(())
}
