//! `just bench locks`: what locks cost, as ratios to baselines measured in the same run.
//!
//! Two servers run: the real `trellisd`, and a bare tonic server that answers messages of the same sizes on a
//! session stream and keeps nothing (`echo`). This process is the load generator; how it measures is in
//! `trellis_tests::bench`.
//!
//! Locks on Redis are measured against a plain lock straight on it: a Redis of its own, which keeps nothing on disk.
//!
//! With names of parts only those are measured: `just bench locks contended`. Locks in memory are the parts memory,
//! uncontended, contended, distinct and close; locks on Redis are redis and held. Takes about three minutes.
//!
//! Files: `echo` the floor, `session` the stream, `load` what is done on it, `memory` resident sizes, `shared` locks
//! on Redis and `direct` their floor, `held` what Redis does while they are held.

mod direct;
mod echo;
mod held;
mod load;
mod memory;
mod session;
mod shared;

use load::{CONNECTIONS, CONTENDERS, Load};
use std::time::Duration;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, ROUNDS, Sample, Samples, alternate, median};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::bench::{self, Result};

const ROUND: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    bench::main(&PARTS, echo::serve, run)
}

/// What is measured, in this order: in memory, and on Redis.
const PARTS: [&str; 7] = [
    "memory",
    "uncontended",
    "contended",
    "distinct",
    "close",
    "redis",
    "held",
];

async fn run(pinning: Pinning, parts: &[&str]) -> Result<()> {
    let mut table = Table::default();
    say(&format!("locks: {ROUNDS} alternating rounds; {pinning}"));
    if parts.contains(&"memory") {
        memory::measure(pinning, &mut table).await?;
    }
    let echo = Side::connect(vec![Server::echo(pinning)?]).await?;
    let trellis = Side::connect(vec![Server::trellis(pinning)?]).await?;
    say(&session::compare_sizes(&echo.load, &trellis.load).await?);
    if parts.contains(&"uncontended") {
        uncontended(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"contended") {
        contended(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"distinct") {
        distinct(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"close") {
        close("in memory", 5.0, [&echo, &trellis], &mut table).await?;
    }
    if parts.contains(&"redis") {
        shared::measure(pinning, &echo, &mut table).await?;
    }
    if parts.contains(&"held") {
        held::measure(pinning, &mut table).await?;
    }
    table.print();
    Ok(())
}

/// Servers, and sessions on them.
struct Side {
    servers: Vec<Server>,
    load: Load,
}

impl Side {
    async fn connect(servers: Vec<Server>) -> Result<Self> {
        let load = Load::open(&servers).await?;
        Ok(Self { servers, load })
    }

    /// Where several servers share the work the first stands for them.
    fn process(&self) -> u32 {
        self.servers[0].pid()
    }

    /// One message and its answer at a time, on one stream.
    fn round_trips(&self) -> Case<'_> {
        Case::new(self.process(), |deadline| self.load.round_trips(deadline))
    }

    /// One lock taken and given back at a time, on one stream.
    fn cycles(&self) -> Case<'_> {
        Case::new(self.process(), |deadline| self.load.cycles(deadline))
    }

    /// So many locks at a time on one stream, each taken and given back.
    fn lanes(&self) -> Case<'_> {
        Case::new(self.process(), |deadline| self.load.lanes(deadline))
    }

    /// As many sessions, each with a lock of its own.
    fn apart(&self) -> Case<'_> {
        Case::new(self.process(), |deadline| self.load.apart(deadline))
    }

    /// As many sessions, all of which want one lock.
    fn contended(&self) -> Case<'_> {
        Case::new(self.process(), |deadline| self.load.contended(deadline))
    }

    /// The same, all on one connection.
    fn contended_together(&self) -> Case<'_> {
        Case::new(self.process(), |deadline| {
            self.load.contended_together(deadline)
        })
    }

    /// A session that ends, and one that waits for it.
    fn closing(&self) -> Case<'_> {
        Case::new(self.process(), |deadline| self.load.closing(deadline))
    }
}

async fn uncontended(echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    let [echo, own] = alternate([echo.round_trips(), trellis.cycles()], ROUND).await?;
    let row = |what: &str| Row::new(format!("acquire + release: {what}"), "one round trip");
    let p50 = row("p50").target(Target::AtMost(2.2));
    table.add(p50.compare(&echo, &own, Sample::p50_micros, "µs"));
    table.add(row("p99").compare(&echo, &own, Sample::p99_micros, "µs"));
    let cpu = row("server CPU");
    table.add(cpu.compare(&echo, &own, Sample::cpu_micros_per_call, "µs"));
    Ok(())
}

async fn contended(echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    let cases = [
        echo.round_trips(),
        trellis.contended_together(),
        trellis.contended(),
    ];
    let [echo, together, spread] = alternate(cases, ROUND).await?;
    let spread_over = format!("{CONNECTIONS} connections");
    for (over, own) in [("one connection", &together), (&spread_over, &spread)] {
        let row = |what: &str| {
            let what = format!("{CONTENDERS} sessions on {over}, one lock: {what}");
            Row::new(what, "one round trip")
        };
        let handoffs = row("hand-offs/s").target(Target::AtLeast(0.8));
        table.add(handoffs.compare(&echo, own, Sample::kilocalls_per_second, "k"));
        let cpu = row("server CPU per hand-off");
        table.add(cpu.compare(&echo, own, Sample::cpu_micros_per_call, "µs"));
    }
    Ok(())
}

async fn distinct(echo: &Side, trellis: &Side, table: &mut Table) -> Result<()> {
    // A cycle is two messages, on the echo too.
    let [base, own] = alternate([echo.lanes(), trellis.lanes()], ROUND).await?;
    let row = |what: &str| {
        let what = format!("{CONTENDERS} locks on one session: {what}");
        Row::new(what, "echo stream / 2")
    };
    let cycles = row("cycles/s").target(Target::AtLeast(0.6));
    table.add(cycles.compare(&base, &own, Sample::kilocalls_per_second, "k"));
    let cpu = row("server CPU per cycle");
    table.add(cpu.compare(&base, &own, Sample::cpu_micros_per_call, "µs"));
    let [base, own] = alternate([echo.apart(), trellis.apart()], ROUND).await?;
    let row = Row::new(
        format!("{CONTENDERS} sessions with a lock each: cycles/s"),
        "echo streams / 2",
    );
    table.add(row.compare(&base, &own, Sample::kilocalls_per_second, "k"));
    Ok(())
}

/// From the clean end of a session to the grant of another that waits, for locks that are kept in this place.
async fn close(
    place: &str,
    most_ms: f64,
    [echo, trellis]: [&Side; 2],
    table: &mut Table,
) -> Result<()> {
    let [echo, own] = alternate([echo.round_trips(), trellis.closing()], ROUND).await?;
    let row = |what: &str| {
        let what = format!("clean end of a stream to the next grant, {place}: {what}");
        Row::new(what, "one round trip")
    };
    table.add(row("p50").compare(&echo, &own, Sample::p50_micros, "µs"));
    let tail = |samples: &Samples| {
        let tails = samples.iter().map(|sample| sample.p99_micros() / 1e3);
        median(&tails.collect::<Vec<_>>())
    };
    let p99 = row("p99")
        .target(Target::AtMost(most_ms))
        .beside(tail(&echo));
    table.add(p99.value(tail(&own), "ms"));
    Ok(())
}
