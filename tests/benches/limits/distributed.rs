//! The shared mode: what limits cost through a daemon that has Redis decide each call, against the same scripts
//! called straight.
//!
//! Redis has a core of its own; whoever calls it, the daemon or this process, shares the other with the
//! load generator, so that both ways leave the store the same.

use crate::Side;
use crate::direct::Direct;
use crate::load::{CALLS, STREAMS, Shape};
use crate::messages::{self, Work};
use std::time::Duration;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, Sample, alternate, p50_of_both};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::redis::Redis;

const ROUND: Duration = Duration::from_millis(500);

/// Starts a store and a daemon on it, beside the echo.
pub async fn measure(pinning: Pinning, echo: &Side<'_>, table: &mut Table) -> Result<()> {
    let Some(redis) = Redis::in_memory() else {
        say("distributed: left out, there is no redis-server");
        return Ok(());
    };
    pinning.give_server_core(redis.pid());
    let daemon = Server::distributed(pinning, redis.port)?;
    let direct = Direct::open(redis.port).await?;
    let trellis = Side::connect(&daemon).await?;
    let limits = (0..4).map(|number| messages::exact(messages::limit(number)));
    trellis.connections.declare(limits).await?;
    let bench = Bench {
        redis: &redis,
        direct: &direct,
        trellis: &trellis,
        echo,
        one: Work::admitted(1),
    };
    bench.streams(table).await?;
    bench.unary(table).await?;
    bench.one_at_a_time(table).await?;
    bench.charges(table).await
}

struct Bench<'a> {
    redis: &'a Redis,
    direct: &'a Direct,
    trellis: &'a Side<'a>,
    echo: &'a Side<'a>,
    one: Work,
}

impl Bench<'_> {
    /// The same limit, straight.
    fn straight(&self, in_flight: usize) -> Case<'_> {
        Case::new(self.redis.pid(), move |deadline| async move {
            self.direct
                .run(&messages::limit(0), in_flight, deadline)
                .await
        })
    }

    async fn streams(&self, table: &mut Table) -> Result<()> {
        let before = self.redis.scripts();
        let cases = [
            self.straight(STREAMS * CALLS),
            self.trellis.case(Shape::Streams, &self.one),
        ];
        let [direct, own] = alternate(cases, ROUND).await?;
        let row = |what: &str| {
            Row::new(
                format!("Redis, exact, {STREAMS} x {CALLS} streamed: {what}"),
                "straight",
            )
        };
        let throughput = row("calls/s").target(Target::AtLeast(0.60));
        table.add(throughput.compare(&direct, &own, Sample::kilocalls_per_second, "k"));
        let cpu = row("CPU, of Redis and of trellisd");
        table.add(cpu.compare(&direct, &own, Sample::cpu_micros_per_call, "µs"));
        // Of both sides together: neither sends anything else.
        let sent = self.redis.scripts() - before;
        let calls = direct.warm + own.warm + direct.calls() + own.calls();
        #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
        let each = sent as f64 / calls as f64;
        let row = Row::new("Redis, exact: scripts called per acquire".into(), "");
        table.add(row.target(Target::AtMost(1.01)).value(each, ""));
        Ok(())
    }

    async fn unary(&self, table: &mut Table) -> Result<()> {
        let shape = Shape::Unary(CALLS);
        let cases = [
            self.straight(CALLS),
            self.echo.case(shape, &self.one),
            self.trellis.case(shape, &self.one),
        ];
        let [direct, echo, own] = alternate(cases, ROUND).await?;
        let one_after_the_other = direct.iter().zip(echo.iter()).map(|(direct, echo)| {
            let (direct, echo) = (direct.kilocalls_per_second(), echo.kilocalls_per_second());
            1.0 / (1.0 / direct + 1.0 / echo)
        });
        let base: Vec<f64> = one_after_the_other.collect();
        let own: Vec<f64> = own.iter().map(Sample::kilocalls_per_second).collect();
        let row = Row::new(
            format!("Redis, exact, unary, {CALLS} in flight: calls/s"),
            "1/(1/straight + 1/echo)",
        );
        table.add(row.target(Target::AtLeast(0.80)).figures(&base, &own, "k"));
        Ok(())
    }

    async fn one_at_a_time(&self, table: &mut Table) -> Result<()> {
        let shape = Shape::Unary(1);
        let cases = [
            self.straight(1),
            self.echo.case(shape, &self.one),
            self.trellis.case(shape, &self.one),
        ];
        let [direct, echo, own] = alternate(cases, ROUND * 3 / 5).await?;
        let base = p50_of_both(&direct, &echo);
        let own: Vec<f64> = own.iter().map(Sample::p50_micros).collect();
        let row = Row::new(
            "Redis, exact, unary, 1 in flight: p50".into(),
            "straight + echo",
        );
        table.add(row.target(Target::AtMost(1.2)).figures(&base, &own, "µs"));
        Ok(())
    }

    async fn charges(&self, table: &mut Table) -> Result<()> {
        let four = Work::admitted(4);
        let shape = Shape::Unary(CALLS);
        let cases = [
            self.trellis.case(shape, &self.one),
            self.trellis.case(shape, &four),
        ];
        let [one, four] = alternate(cases, ROUND).await?;
        let row = Row::new(
            "Redis, exact, four charges: time per call".into(),
            "one charge",
        );
        let row = row.target(Target::AtMost(1.6));
        table.add(row.compare(&one, &four, Sample::micros_per_call, "µs"));
        Ok(())
    }
}
