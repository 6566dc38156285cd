//! Locks that daemons share through Redis, against a plain lock straight on it and hops to the echo.
//!
//! Redis has a core of its own; whoever calls it, a daemon or this process, shares the other with the load
//! generator, so that both ways leave the store the same. Of three daemons one alone works in the first part.

use crate::direct::Direct;
use crate::load::CONTENDERS;
use crate::{Side, close};
use std::time::Duration;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, Sample, alternate};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::redis::Redis;

const ROUND: Duration = Duration::from_millis(500);

/// Starts a store and three daemons on it, beside the echo.
pub async fn measure(pinning: Pinning, echo: &Side, table: &mut Table) -> Result<()> {
    let Some(redis) = Redis::in_memory() else {
        say("locks on Redis: left out, there is no redis-server");
        return Ok(());
    };
    pinning.give_server_core(redis.pid());
    let mut daemons = Vec::new();
    for _ in 0..3 {
        daemons.push(Server::distributed(pinning, redis.port)?);
    }
    let daemons = Side::connect(daemons).await?;
    let direct = Direct::open(redis.port).await?;
    let bench = Bench {
        redis: &redis,
        direct: &direct,
        daemons: &daemons,
        echo,
    };
    bench.uncontended(table).await?;
    bench.contended(table).await?;
    close("on Redis", 20.0, [echo, &daemons], table).await
}

struct Bench<'a> {
    redis: &'a Redis,
    direct: &'a Direct,
    daemons: &'a Side,
    echo: &'a Side,
}

impl Bench<'_> {
    async fn uncontended(&self, table: &mut Table) -> Result<()> {
        let before = self.redis.scripts();
        let cases = [
            Case::new(self.redis.pid(), |deadline| self.direct.cycles(deadline)),
            self.echo.round_trips(),
            Case::new(self.redis.pid(), |deadline| {
                self.daemons.load.cycles(deadline)
            }),
        ];
        let [straight, hop, own] = alternate(cases, ROUND).await?;
        let sent = self.redis.scripts() - before;
        let row = |what: &str, against: &str| {
            Row::new(format!("Redis: acquire + release: {what}"), against)
        };
        for (what, figure) in [
            ("p50", Sample::p50_micros as fn(&Sample) -> f64),
            ("p99", Sample::p99_micros),
        ] {
            let rounds = straight.iter().zip(hop.iter());
            let base: Vec<f64> = rounds
                .map(|(straight, hop)| figure(straight) + 2.0 * figure(hop))
                .collect();
            let own: Vec<f64> = own.iter().map(figure).collect();
            let row = row(what, "SET NX + script + 2 round trips");
            let row = if what == "p50" {
                row.target(Target::AtMost(1.3))
            } else {
                row
            };
            table.add(row.figures(&base, &own, "µs"));
        }
        let cpu = row("CPU of Redis", "SET NX + script");
        table.add(cpu.compare(&straight, &own, Sample::cpu_micros_per_call, "µs"));
        // Beside the one of each cycle straight.
        let cycles = straight.warm + straight.calls();
        let own_cycles = own.warm + own.calls();
        #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
        let each = (sent - cycles) as f64 / own_cycles as f64;
        table.add(row("scripts", "").value(each, ""));
        Ok(())
    }

    async fn contended(&self, table: &mut Table) -> Result<()> {
        let cases = [
            Case::new(self.redis.pid(), |deadline| self.direct.hand_offs(deadline)),
            self.echo.round_trips(),
            Case::new(self.redis.pid(), |deadline| {
                self.daemons.load.contended(deadline)
            }),
        ];
        let [straight, hop, own] = alternate(cases, ROUND).await?;
        let row = |what: &str, against: &str| {
            let what = format!("Redis: {CONTENDERS} sessions on three daemons, one lock: {what}");
            Row::new(what, against)
        };
        let rounds = straight.iter().zip(hop.iter());
        let base: Vec<f64> = rounds
            .map(|(straight, hop)| straight.micros_per_call() + hop.micros_per_call())
            .collect();
        let mean: Vec<f64> = own.iter().map(Sample::micros_per_call).collect();
        let hand_off = row("mean hand-off", "script + round trip");
        let hand_off = hand_off.target(Target::AtMost(1.5));
        table.add(hand_off.figures(&base, &mean, "µs"));
        let cpu = row("CPU of Redis", "script");
        table.add(cpu.compare(&straight, &own, Sample::cpu_micros_per_call, "µs"));
        let evenness = own.iter().map(Sample::evenness);
        let least = evenness.fold(f64::INFINITY, f64::min);
        let even = row("Jain's index, least of the rounds", "");
        table.add(even.target(Target::AtLeast(0.99)).value(least, ""));
        Ok(())
    }
}
