//! A hot limit that three daemons on one Redis share, each spending a slice of it, against one daemon that
//! has it in its memory, and against three that have a third each in theirs: the difference of these two is what
//! three processes cost that have one core, whatever they do. Left out where the daemons lease nothing, which shows in what Redis is asked.

use crate::Side;
use crate::load::{CALLS, Connections, STREAMS, Shape};
use crate::messages::{self, Work};
use std::time::Duration;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, Sample, Samples, alternate, now};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::redis::Redis;

const ROUND: Duration = Duration::from_millis(400);

/// Scripts an acquire above which nothing is leased.
const LEASES: f64 = 0.5;

/// Measures on daemons of its own, beside the one in memory.
pub async fn measure(pinning: Pinning, memory: &Side<'_>, table: &mut Table) -> Result<()> {
    let Some(redis) = Redis::in_memory() else {
        return Ok(());
    };
    let mut daemons = Vec::new();
    for _ in 0..3 {
        daemons.push(Server::sharing(pinning, redis.port)?);
    }
    let addresses: Vec<&str> = daemons
        .iter()
        .map(|daemon| daemon.address.as_str())
        .collect();
    let shared = Connections::open_all(&addresses).await?;
    let apart = Apart::start(pinning).await?;
    let bench = Bench {
        redis: &redis,
        apart: &apart,
        // What the three have in common is the core; the first stands for them.
        process: daemons[0].pid(),
        shared: &shared,
        memory,
    };
    // Any limit will do to see how much one daemon does, and whether the others ask Redis for each.
    let [alone, ..] = bench
        .run("unbounded", u32::MAX, u32::MAX, Shape::Streams)
        .await?;
    if bench.asked("unbounded").await? > LEASES {
        say("leased: left out, the daemons ask Redis for every acquire");
        return Ok(());
    }
    let mut speeds: Vec<f64> = alone.iter().map(Sample::kilocalls_per_second).collect();
    speeds.sort_by(f64::total_cmp);
    let speed = speeds[speeds.len() / 2] * 1e3;
    for (name, demand) in [("half", 0.5), ("twice", 2.0)] {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "calls a second"
        )]
        let rate = (speed / demand) as u32;
        bench.rows(name, demand, rate, table).await?;
    }
    Ok(())
}

/// Three daemons that share nothing but the core.
struct Apart {
    servers: Vec<Server>,
    each: Vec<Connections>,
    all: Connections,
}

impl Apart {
    async fn start(pinning: Pinning) -> Result<Self> {
        let (mut servers, mut each) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let server = Server::trellis(pinning)?;
            each.push(Connections::open(&server.address).await?);
            servers.push(server);
        }
        let addresses = servers.iter().map(|server| server.address.as_str());
        let all = Connections::open_all(&addresses.collect::<Vec<_>>()).await?;
        Ok(Self { servers, each, all })
    }
}

struct Bench<'a> {
    redis: &'a Redis,
    apart: &'a Apart,
    process: u32,
    shared: &'a Connections,
    memory: &'a Side<'a>,
}

impl Bench<'_> {
    /// One limit of so many a second, in memory, in three memories, and shared.
    async fn run(&self, name: &str, rate: u32, burst: u32, shape: Shape) -> Result<[Samples; 3]> {
        let limit = messages::hot(name, rate, burst);
        self.memory.connections.declare([limit.clone()]).await?;
        self.shared.declare([limit]).await?;
        for one in &self.apart.each {
            let third = messages::hot(name, rate / 3, burst / 3);
            one.declare([third]).await?;
        }
        let work = Work::any(name);
        let work = &work;
        let shared = Case::new(self.process, move |deadline| {
            self.shared.run(shape, work, deadline)
        });
        let apart = Case::new(self.apart.servers[0].pid(), move |deadline| {
            self.apart.all.run(shape, work, deadline)
        });
        alternate([self.memory.case(shape, work), apart, shared], ROUND).await
    }

    /// Scripts that Redis runs for one acquire of a limit that has been hot.
    async fn asked(&self, name: &str) -> Result<f64> {
        let before = self.redis.scripts();
        let done = self
            .shared
            .run(Shape::Streams, &Work::any(name), now() + ROUND)
            .await?;
        #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
        Ok((self.redis.scripts() - before) as f64 / done.calls as f64)
    }

    async fn rows(&self, name: &str, demand: f64, rate: u32, table: &mut Table) -> Result<()> {
        let burst = rate / 10;
        let against = |what: &str, against: &str| {
            let what = format!("leased by three, demand {demand}x: {what}");
            Row::new(what, against)
        };
        let row = |what: &str| against(what, "in memory");
        let [memory, apart, shared] = self.run(name, rate, burst, Shape::Streams).await?;
        let what = format!("{STREAMS} x {CALLS} streamed, calls/s");
        let throughput = row(&what).target(Target::AtLeast(0.80));
        table.add(throughput.compare(&memory, &shared, Sample::kilocalls_per_second, "k"));
        let throughput = against(&what, "three in memory");
        table.add(throughput.compare(&apart, &shared, Sample::kilocalls_per_second, "k"));
        let over: f64 = shared.iter().map(|sample| sample.over(rate, burst)).sum();
        table.add(row("over").target(Target::AtMost(0.0)).value(over, ""));
        let asked = self.asked(name).await?;
        let scripts = row("scripts per acquire").target(Target::AtMost(0.01));
        table.add(scripts.value(asked, ""));
        let [memory, _, shared] = self.run(name, rate, burst, Shape::Unary(1)).await?;
        let p50 = row("unary, 1 in flight, p50").target(Target::AtMost(1.25));
        table.add(p50.compare(&memory, &shared, Sample::p50_micros, "µs"));
        Ok(())
    }
}
