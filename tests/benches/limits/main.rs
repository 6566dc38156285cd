//! `just bench limits`: what limits cost, as ratios to baselines measured in the same run.
//!
//! Two servers run: the real `trellisd`, with tracing and histograms on, and a bare tonic server that
//! answers the same messages and does nothing else (`echo`), the floor of what gRPC costs. This process
//! is the load generator; how it measures is in `trellis_tests::bench`.
//!
//! The shared mode is measured against the same scripts called straight from this process, on a Redis of its
//! own, which keeps nothing on disk.
//!
//! With the name of a part (memory, unary, streams, charges, redis, leased) only that one is measured:
//! `cargo bench --package trellis-tests --bench limits -- streams`.
//!
//! Takes less than two minutes.
//!
//! Files: `echo` the floor, `messages` what is sent, `load` how it is sent, `memory` resident sizes,
//! `distributed` the shared mode and `direct` its floor, `leased` slices of a hot limit.

mod direct;
mod distributed;
mod echo;
mod leased;
mod load;
mod memory;
mod messages;

use load::{CALLS, Connections, STREAMS, Shape};
use messages::Work;
use std::time::Duration;
use trellis_proto::v1::Outcome;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, ROUNDS, Sample, alternate};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::bench::{self, Result};

fn main() -> Result<()> {
    bench::main(&PARTS, echo::serve, run)
}

/// What is measured, in this order.
const PARTS: [&str; 6] = ["memory", "unary", "streams", "charges", "redis", "leased"];

async fn run(pinning: Pinning, parts: &[&str]) -> Result<()> {
    let mut table = Table::default();
    say(&format!("limits: {ROUNDS} alternating rounds; {pinning}"));
    if parts.contains(&"memory") {
        memory::measure(pinning, &mut table).await?;
    }
    let (echo, trellis) = (Server::echo(pinning)?, Server::trellis(pinning)?);
    let echo = Side::connect(&echo).await?;
    let trellis = Side::connect(&trellis).await?;
    messages::declare(&trellis.connections).await?;
    for line in messages::compare_sizes(&echo.connections, &trellis.connections).await? {
        say(&line);
    }
    if parts.contains(&"unary") {
        unary(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"streams") {
        streams(&echo, &trellis, &mut table).await?;
    }
    if parts.contains(&"charges") {
        charges(&trellis, &mut table).await?;
    }
    if parts.contains(&"redis") {
        distributed::measure(pinning, &echo, &mut table).await?;
    }
    if parts.contains(&"leased") {
        leased::measure(pinning, &trellis, &mut table).await?;
    }
    table.print();
    Ok(())
}

/// A server and the connections to it.
struct Side<'a> {
    server: &'a Server,
    connections: Connections,
}

impl<'a> Side<'a> {
    async fn connect(server: &'a Server) -> Result<Self> {
        let connections = Connections::open(&server.address).await?;
        Ok(Self {
            server,
            connections,
        })
    }

    fn case(&'a self, shape: Shape, work: &'a Work) -> Case<'a> {
        Case::new(self.server.pid(), move |deadline| {
            self.connections.run(shape, work, deadline)
        })
    }
}

async fn unary(echo: &Side<'_>, trellis: &Side<'_>, table: &mut Table) -> Result<()> {
    let work = Work::admitted(1);
    for (calls, length) in [(CALLS, 600), (1, 300)] {
        let shape = Shape::Unary(calls);
        let cases = [echo.case(shape, &work), trellis.case(shape, &work)];
        let [echo, trellis] = alternate(cases, Duration::from_millis(length)).await?;
        let row = |what: &str| Row::new(format!("unary, {calls} in flight: {what}"), "echo");
        if calls == 1 {
            let row = row("p50").target(Target::AtMost(1.15));
            table.add(row.compare(&echo, &trellis, Sample::p50_micros, "µs"));
            continue;
        }
        let throughput = row("calls/s").target(Target::AtLeast(0.90));
        table.add(throughput.compare(&echo, &trellis, Sample::kilocalls_per_second, "k"));
        let cpu = row("server CPU per call").target(Target::AtMost(1.15));
        table.add(cpu.compare(&echo, &trellis, Sample::cpu_micros_per_call, "µs"));
        table.add(row("server busy").compare(&echo, &trellis, Sample::busy_percent, "%"));
    }
    Ok(())
}

async fn streams(echo: &Side<'_>, trellis: &Side<'_>, table: &mut Table) -> Result<()> {
    let work = Work::admitted(1);
    let cases = [
        echo.case(Shape::Streams, &work),
        trellis.case(Shape::Streams, &work),
        trellis.case(Shape::Pipelines, &work),
    ];
    let [echo, trellis, typed] = alternate(cases, Duration::from_millis(600)).await?;
    let row = |what: &str| Row::new(format!("{STREAMS} x {CALLS} streamed: {what}"), "echo");
    let throughput = row("calls/s").target(Target::AtLeast(0.60));
    table.add(throughput.compare(&echo, &trellis, Sample::kilocalls_per_second, "k"));
    let cpu = row("server CPU per call");
    table.add(cpu.compare(&echo, &trellis, Sample::cpu_micros_per_call, "µs"));
    table.add(row("server busy").compare(&echo, &trellis, Sample::busy_percent, "%"));
    let pipeline = row("calls/s, typed handle");
    table.add(pipeline.compare(&echo, &typed, Sample::kilocalls_per_second, "k"));
    Ok(())
}

/// What the work itself costs: trellisd against trellisd.
async fn charges(trellis: &Side<'_>, table: &mut Table) -> Result<()> {
    let (one, four) = (Work::admitted(1), Work::admitted(4));
    let denied = Work::of(messages::denied(), Outcome::Denied);
    let (length, unary) = (Duration::from_millis(450), Shape::Unary(CALLS));

    let cases = [trellis.case(unary, &one), trellis.case(unary, &four)];
    let [base, more] = alternate(cases, length).await?;
    let row = |what: &str| Row::new(format!("four charges: {what}"), "one charge");
    let time = row("time per call").target(Target::AtMost(1.5));
    table.add(time.compare(&base, &more, Sample::micros_per_call, "µs"));
    let cpu = row("server CPU per call");
    table.add(cpu.compare(&base, &more, Sample::cpu_micros_per_call, "µs"));

    let cases = [trellis.case(unary, &one), trellis.case(unary, &denied)];
    let [base, refused] = alternate(cases, length).await?;
    let row = |what: &str| Row::new(format!("a denied call: {what}"), "admitted");
    let cpu = row("server CPU per call").target(Target::NotAbove(1.0));
    table.add(cpu.compare(&base, &refused, Sample::cpu_micros_per_call, "µs"));
    let cases = [
        trellis.case(Shape::Streams, &one),
        trellis.case(Shape::Streams, &denied),
    ];
    let [base, refused] = alternate(cases, length).await?;
    let cpu = row("server CPU, streamed");
    table.add(cpu.compare(&base, &refused, Sample::cpu_micros_per_call, "µs"));

    let spread = Work::spread();
    let cases = [
        trellis.case(Shape::Streams, &spread),
        trellis.case(Shape::Streams, &one),
    ];
    let [base, hot] = alternate(cases, length).await?;
    let over = format!("over {} limits", messages::LIMITS);
    let row = Row::new("one hot limit, streamed: calls/s".into(), &over);
    let row = row.target(Target::AtLeast(0.70));
    table.add(row.compare(&base, &hot, Sample::kilocalls_per_second, "k"));
    Ok(())
}
