//! `just bench events`: what events cost, as ratios to baselines measured in the same run.
//!
//! Two servers run: the real `trellisd`, and a bare tonic server that answers messages of the same sizes and keeps nothing (`echo`).
//! A third one, with a `data_dir`, is compared with a bare group commit: writers put bytes into a buffer, one thread writes it to
//! the end of a file, syncs and wakes them. This process is the load generator; how it measures is in `trellis_tests::bench`.
//!
//! With the name of a part (publish, disk, catchup, follow, readers, stalled, restart) only that one is measured:
//! `cargo bench --package trellis-tests --bench events -- publish`. Takes about two minutes.
//!
//! Files: `echo` the floor, `messages` what is sent, `publishing` and `reading` how, `disk` the data directory, `../log/bare.rs` the
//! plain group commit.

#[path = "../log/bare.rs"]
mod bare;
mod disk;
mod echo;
mod messages;
mod publishing;
mod reading;

use publishing::{IN_FLIGHT, Publishers, STREAMS};
use reading::Readers;
use std::time::Duration;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, ROUNDS, Sample, Samples, alternate, median};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::bench::{self, Result};

const ROUND: Duration = Duration::from_millis(500);

/// Readers of one topic, those that read and those that do not.
const READERS: usize = 100;

/// Events a second that a topic with so many readers gets.
const PACE: u32 = 2_000;

/// Events that are caught up with.
const MANY: usize = 1_000_000;

fn main() -> Result<()> {
    bench::main(&PARTS, echo::serve, run)
}

/// What is measured, in this order.
const PARTS: [&str; 7] = [
    "publish", "follow", "readers", "stalled", "catchup", "disk", "restart",
];

async fn run(pinning: Pinning, parts: &[&str]) -> Result<()> {
    let mut table = Table::default();
    say(&format!("events: {ROUNDS} alternating rounds; {pinning}"));
    let (echo, trellis) = (Server::echo(pinning)?, Server::trellis(pinning)?);
    let (echo, trellis) = (Side::connect(echo).await?, Side::connect(trellis).await?);
    say(&messages::compare_sizes(&echo.server, &trellis.server).await?);
    if parts.contains(&"publish") {
        publish(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"follow") {
        follow(&trellis, &mut table).await?;
    }
    if parts.contains(&"readers") {
        readers(&trellis, &mut table).await?;
    }
    if parts.contains(&"stalled") {
        stalled(&trellis, &mut table).await?;
    }
    if parts.contains(&"catchup") {
        // A daemon of its own, with room for all of them.
        let large =
            Server::trellis_with(pinning, &[("TRELLIS_EVENTS__MEMORY_BYTES", "34359738368")])?;
        catch_up(&echo, &Side::connect(large).await?, &mut table).await?;
    }
    if parts.contains(&"disk") {
        disk::measure(pinning, &echo, &mut table).await?;
    }
    if parts.contains(&"restart") {
        disk::restart(pinning, &mut table).await?;
    }
    table.print();
    Ok(())
}

/// A server, and publishers on it.
pub struct Side {
    server: Server,
    publishers: Publishers,
}

impl Side {
    async fn connect(server: Server) -> Result<Self> {
        let publishers = Publishers::open(&server).await?;
        Ok(Self { server, publishers })
    }

    /// So many events in flight on each of so many streams, a topic each.
    fn publishes(&self, streams: usize, in_flight: usize) -> Case<'_> {
        Case::new(self.server.pid(), move |deadline| {
            self.publishers.run(0..streams, in_flight, deadline)
        })
    }
}

async fn publish(echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    let cases = [
        echo.publishes(STREAMS, IN_FLIGHT),
        trellis.publishes(STREAMS, IN_FLIGHT),
    ];
    let [base, own] = alternate(cases, ROUND).await?;
    let row = |what: &str| {
        let what = format!("{STREAMS} x {IN_FLIGHT} published in memory: {what}");
        Row::new(what, "echo streams")
    };
    let rate = row("events/s").target(Target::AtLeast(0.5));
    table.add(rate.compare(&base, &own, Sample::kilocalls_per_second, "k"));
    let cpu = row("server CPU per event");
    table.add(cpu.compare(&base, &own, Sample::cpu_micros_per_call, "µs"));
    let [base, own] = alternate([echo.publishes(1, 1), trellis.publishes(1, 1)], ROUND).await?;
    let row = Row::new(
        "published in memory, 1 in flight: p50".into(),
        "echo stream",
    );
    table.add(row.compare(&base, &own, Sample::p50_micros, "µs"));
    Ok(())
}

/// The middle of the rounds' figures, in milliseconds.
fn millis(samples: &Samples, of: impl Fn(&Sample) -> f64) -> f64 {
    let figures: Vec<_> = samples.iter().map(|sample| of(sample) / 1e3).collect();
    median(&figures)
}

async fn follow(trellis: &Side, table: &mut Table) -> Result<()> {
    let readers = Readers::open(&trellis.server, "followed", 1).await?;
    let case = Case::new(trellis.server.pid(), |deadline| {
        reading::follow(&trellis.publishers, &readers, deadline)
    });
    let [told] = alternate([case], ROUND).await?;
    let row = |what: &str| Row::new(format!("publish to subscriber, idle: {what}"), "");
    let p50 = row("p50").target(Target::AtMost(0.25));
    table.add(p50.value(millis(&told, Sample::p50_micros), "ms"));
    let p99 = row("p99").target(Target::AtMost(1.0));
    table.add(p99.value(millis(&told, Sample::p99_micros), "ms"));
    Ok(())
}

async fn readers(trellis: &Side, table: &mut Table) -> Result<()> {
    let readers = Readers::open(&trellis.server, "popular", READERS).await?;
    let paced = |topic: &'static str| {
        Case::new(trellis.server.pid(), move |deadline| {
            trellis.publishers.paced(topic, PACE, deadline)
        })
    };
    let [alone, popular] = alternate([paced("unread"), paced("popular")], ROUND).await?;
    let what = format!("published at {PACE}/s to {READERS} readers: p50");
    let row = Row::new(what, "without readers").target(Target::AtMost(1.2));
    table.add(row.compare(&alone, &popular, Sample::p50_micros, "µs"));
    readers.end();
    Ok(())
}

async fn stalled(trellis: &Side, table: &mut Table) -> Result<()> {
    let stalled = Readers::stalled(&trellis.server, &messages::topic(1), READERS).await?;
    let publishes = |topic: usize| {
        Case::new(trellis.server.pid(), move |deadline| {
            let stream = topic..topic + 1;
            trellis.publishers.run(stream, IN_FLIGHT, deadline)
        })
    };
    let [alone, ignored] = alternate([publishes(0), publishes(1)], ROUND).await?;
    stalled.end();
    let what = format!("published to {READERS} stalled readers: events/s");
    let row = Row::new(what, "without readers").target(Target::AtLeast(0.95));
    table.add(row.compare(&alone, &ignored, Sample::kilocalls_per_second, "k"));
    Ok(())
}

async fn catch_up(echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    trellis.publishers.fill("many", MANY).await?;
    let (mut base, mut own) = (Vec::new(), Vec::new());
    let page = reading::catch_up(&trellis.server, "many", MANY).await?.page;
    for _ in 0..ROUNDS {
        own.push(reading::catch_up(&trellis.server, "many", MANY).await?.rate);
        let topic = echo::many(MANY, page);
        base.push(reading::catch_up(&echo.server, &topic, MANY).await?.rate);
    }
    let what = format!("caught up with {MANY} events: events/s");
    let row = Row::new(what, "bare server stream").target(Target::AtLeast(0.5));
    table.add(row.figures(&base, &own, "k"));
    Ok(())
}
