//! `just bench cache`: what the cache costs, as ratios to baselines measured in the same run.
//!
//! Two servers run: the real `trellisd`, and a bare tonic server that answers messages of the same sizes and
//! keeps nothing (`echo`). This process is the load generator; how it measures is in `trellis_tests::bench`.
//!
//! The shared cache is measured against a Redis of its own, which keeps nothing on disk, called straight. That
//! part is left out, and says so, where daemons on Redis keep their caches to themselves.
//!
//! With the name of a part (memory, hits, batch, waiters, shared) only that one is measured:
//! `cargo bench --package trellis-tests --bench cache -- hits`. Takes about a minute.
//!
//! Files: `echo` the floor, `messages` what is sent, `load` how it is sent, `flights` who computes and who
//! waits, `memory` resident sizes, `shared` the cache on Redis and `direct` its floor.

mod direct;
mod echo;
mod flights;
mod load;
mod memory;
mod messages;
mod shared;

use flights::Flights;
use load::{CALLS, Connections};
use messages::{BATCH, Size};
use std::time::Duration;
use trellis_proto::v1::Read;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, ROUNDS, Sample, Samples, alternate, median};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::bench::{self, Result};

const ROUND: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    bench::main(&PARTS, echo::serve, run)
}

/// What is measured, in this order.
const PARTS: [&str; 5] = ["memory", "hits", "batch", "waiters", "shared"];

async fn run(pinning: Pinning, parts: &[&str]) -> Result<()> {
    let mut table = Table::default();
    say(&format!("cache: {ROUNDS} alternating rounds; {pinning}"));
    if parts.contains(&"memory") {
        memory::measure(pinning, &mut table).await?;
    }
    let echo = Side::connect(Server::echo(pinning)?).await?;
    let trellis = Side::connect(Server::trellis(pinning)?).await?;
    for size in Size::BOTH {
        messages::fill(&trellis.connections, size, messages::KEYS).await?;
        say(&messages::compare_sizes(&echo.connections, &trellis.connections, size).await?);
    }
    if parts.contains(&"hits") {
        hits("in memory", &echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"batch") {
        batch(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"waiters") {
        let flights = Flights::open([&trellis.server, &trellis.server]).await?;
        waiters("the same daemon", &echo, &flights, &mut table).await?;
    }
    if parts.contains(&"shared") {
        shared::measure(pinning, &echo, &mut table).await?;
    }
    table.print();
    Ok(())
}

/// A server and the connections to it.
pub struct Side {
    server: Server,
    connections: Connections,
}

impl Side {
    async fn connect(server: Server) -> Result<Self> {
        let connections = Connections::open(&server).await?;
        Ok(Self {
            server,
            connections,
        })
    }

    /// Unary gets of keys by turns, so many in flight.
    fn gets(&self, size: Size, in_flight: usize) -> Case<'_> {
        self.reads(size, (in_flight, Read::Unspecified))
    }

    /// The same, read from there.
    fn reads(&self, size: Size, how: (usize, Read)) -> Case<'_> {
        Case::new(self.server.pid(), move |deadline| {
            self.connections.gets(size, how, deadline)
        })
    }

    /// Batches of gets, one at a time.
    fn batches(&self, read: Read) -> Case<'_> {
        Case::new(self.server.pid(), move |deadline| {
            self.connections.batches(read, deadline)
        })
    }

    /// One message on a Fetch stream and its answer at a time.
    fn round_trips(&self) -> Case<'_> {
        Case::new(self.server.pid(), |deadline| {
            self.connections.round_trips(deadline)
        })
    }
}

/// Hits that a daemon answers from its memory, which is `which` one.
async fn hits(which: &str, echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    for size in Size::BOTH {
        let row = |what: &str| Row::new(format!("hit {which}, {size}: {what}"), "echo");
        let cases = [echo.gets(size, CALLS), trellis.gets(size, CALLS)];
        let [base, own] = alternate(cases, ROUND).await?;
        let throughput = row(&format!("calls/s, {CALLS} in flight")).target(Target::AtLeast(0.8));
        table.add(throughput.compare(&base, &own, Sample::kilocalls_per_second, "k"));
        let cpu = row("server CPU per call");
        table.add(cpu.compare(&base, &own, Sample::cpu_micros_per_call, "µs"));
        let [base, own] = alternate([echo.gets(size, 1), trellis.gets(size, 1)], ROUND / 2).await?;
        table.add(row("p50, 1 in flight").compare(&base, &own, Sample::p50_micros, "µs"));
    }
    Ok(())
}

async fn batch(echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    let [base, own] = alternate(
        [
            echo.batches(Read::Unspecified),
            trellis.batches(Read::Unspecified),
        ],
        ROUND,
    )
    .await?;
    let row = |what: &str| {
        let what = format!("batch of {BATCH} hits in memory, {}: {what}", Size::Large);
        Row::new(what, "echo")
    };
    let p50 = row("p50").target(Target::AtMost(1.5));
    table.add(p50.compare(&base, &own, Sample::p50_micros, "µs"));
    let cpu = row("server CPU");
    table.add(cpu.compare(&base, &own, Sample::cpu_micros_per_call, "µs"));
    Ok(())
}

/// From a fill to the answer of a call that waits for it on `whose` daemon.
async fn waiters(whose: &str, echo: &Side, flights: &Flights, table: &mut Table) -> Result<()> {
    let own = Case::new(flights.process, |deadline| flights.run(deadline));
    let [base, own] = alternate([echo.round_trips(), own], ROUND).await?;
    let row = |what: &str| {
        let what = format!("fill to a waiting call's answer, {whose}: {what}");
        Row::new(what, "one round trip")
    };
    table.add(row("p50").compare(&base, &own, Sample::p50_micros, "µs"));
    let p99 = row("p99").target(Target::AtMost(2.0)).beside(tail(&base));
    table.add(p99.value(tail(&own), "ms"));
    Ok(())
}

/// The p99 of the middle round, in ms.
fn tail(samples: &Samples) -> f64 {
    let tails = samples.iter().map(|sample| sample.p99_micros() / 1e3);
    median(&tails.collect::<Vec<_>>())
}
