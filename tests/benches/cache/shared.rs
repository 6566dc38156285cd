//! The cache that daemons share through Redis, against Redis called straight and one hop to the echo.
//!
//! Redis has a core of its own; whoever calls it, a daemon or this process, shares the other with the load
//! generator, so that both ways leave the store the same. Shared reads ask with `read = SHARED`, since a daemon answers its
//! second read of a key from its own copy otherwise; those are measured as near hits.

use crate::direct::Direct;
use crate::flights::{Fetching, Flights};
use crate::messages::{self, BATCH, KEYS, Size};
use crate::{Side, hits, waiters};
use std::time::Duration;
use trellis_proto::v1::key_answer::Answer;
use trellis_proto::v1::{Read, ScopeKind, Source, StatsRequest};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::{Case, Sample, alternate, median, p50_of_both};
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::redis::Redis;

const ROUND: Duration = Duration::from_millis(300);

/// Batches of a round that Redis is asked for straight.
const BATCHES: usize = 20;

/// Times that missing keys are asked for.
const TRIES: usize = 21;

/// Starts a store and daemons on it, beside the echo.
pub async fn measure(pinning: Pinning, echo: &Side, table: &mut Table) -> Result<()> {
    let Some(redis) = Redis::in_memory() else {
        say("shared cache: left out, there is no redis-server");
        return Ok(());
    };
    pinning.give_server_core(redis.pid());
    let first = Side::connect(Server::distributed(pinning, redis.port)?).await?;
    if scope(&first).await? != ScopeKind::Shared {
        say("shared cache: left out, the scope of its answers is not SHARED");
        return Ok(());
    }
    let second = Side::connect(Server::distributed(pinning, redis.port)?).await?;
    let third = Side::connect(Server::distributed(pinning, redis.port)?).await?;
    for size in Size::BOTH {
        messages::fill(&first.connections, size, KEYS).await?;
    }
    let direct = Direct::open(redis.port).await?;
    one_at_a_time(&direct, echo, &second, table).await?;
    batches(&direct, echo, &second, table).await?;
    let flights = Flights::open([&first.server, &second.server]).await?;
    waiters("another daemon", echo, &flights, table).await?;
    missing(&redis, &[&first, &second, &third], table).await?;
    let near = Side::connect(Server::sharing(pinning, redis.port)?).await?;
    if is_near(&near).await? {
        hits("near", echo, &near, table).await?;
    } else {
        say("near hits: left out, a second read is not answered from the daemon's own copy");
    }
    Ok(())
}

async fn scope(daemon: &Side) -> Result<ScopeKind> {
    let namespace = messages::NAMESPACE.into();
    let mut client = daemon.connections.client(0);
    let stats = client.stats(StatsRequest { namespace }).await?.into_inner();
    Ok(stats.scope.ok_or("an answer without a scope")?.kind())
}

/// Reads every key once, and tells whether a second read needs Redis.
async fn is_near(daemon: &Side) -> Result<bool> {
    let mut near = true;
    for size in Size::BOTH {
        for key in KEYS.map(|number| size.key(number)) {
            let mut client = daemon.connections.client(0);
            let request = messages::get(key, Read::Near);
            client.get(request.clone()).await?;
            let again = client.get(request).await?.into_inner();
            near &= again.entry.ok_or("a miss")?.source() == Source::Near;
        }
    }
    Ok(near)
}

async fn one_at_a_time(
    direct: &Direct,
    echo: &Side,
    daemon: &Side,
    table: &mut Table,
) -> Result<()> {
    let cases = [
        Case::new(daemon.server.pid(), |deadline| direct.gets(deadline)),
        echo.gets(Size::Small, 1),
        daemon.reads(Size::Small, (1, Read::Shared)),
    ];
    let [straight, hop, own] = alternate(cases, ROUND).await?;
    let own: Vec<f64> = own.iter().map(Sample::p50_micros).collect();
    let what = format!(
        "hit in Redis (read = SHARED), {}, 1 in flight: p50",
        Size::Small
    );
    let row = Row::new(what, "GET + echo").target(Target::AtMost(1.5));
    table.add(row.figures(&p50_of_both(&straight, &hop), &own, "µs"));
    Ok(())
}

async fn batches(direct: &Direct, echo: &Side, daemon: &Side, table: &mut Table) -> Result<()> {
    let cases = [
        Case::new(daemon.server.pid(), |_| direct.batches(BATCHES)),
        echo.batches(Read::Unspecified),
        daemon.batches(Read::Shared),
    ];
    let [straight, hop, own] = alternate(cases, ROUND).await?;
    let own: Vec<f64> = own.iter().map(Sample::p50_micros).collect();
    let what = format!(
        "batch of {BATCH} hits in Redis (read = SHARED), {}: p50",
        Size::Large
    );
    let row = Row::new(what, "MGET + echo").target(Target::AtMost(1.5));
    table.add(row.figures(&p50_of_both(&straight, &hop), &own, "µs"));
    Ok(())
}

/// What Redis is asked for when three daemons want the same keys that nobody has. A round trip is at least one read of
/// a socket by Redis. Beats of the daemons and requests that come in pieces are reads too: before the first leases, where
/// they are as many as the round trips, the least of many tries is told, else the middle one.
async fn missing(redis: &Redis, daemons: &[&Side; 3], table: &mut Table) -> Result<()> {
    let mut streams = Vec::new();
    for daemon in daemons {
        streams.push(Fetching::open(daemon.server.connect().await?).await?);
    }
    let (mut first, mut commands, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TRIES {
        let keys: Vec<_> = (0..BATCH)
            .map(|key| format!("missing.{turn}.{key}"))
            .collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let before = Counters::of(redis);
        let mut leases = answered(&mut streams[0], &keys).await?;
        let looked = Counters::of(redis);
        first.push(looked.reads - before.reads - LOOK_READS);
        for stream in &mut streams[1..] {
            leases.extend(answered(stream, &keys).await?);
        }
        if leases.len() != BATCH {
            return Err(format!("{} leases for {BATCH} keys", leases.len()).into());
        }
        for &lease in &leases {
            streams[0].fill(lease)?;
        }
        for _ in &leases {
            streams[0].filled().await?;
        }
        for stream in &mut streams[1..] {
            for _ in &keys {
                stream.hit().await?;
            }
        }
        let after = Counters::of(redis);
        commands.push(after.commands - before.commands - 2.0);
        reads.push(after.reads - before.reads - 2.0 * LOOK_READS);
    }
    let row = |what: &str| Row::new(format!("{BATCH} missing keys: {what}"), "");
    let trips = row("round trips before the first daemon has its leases");
    let least = first.iter().copied().fold(f64::INFINITY, f64::min);
    table.add(trips.target(Target::AtMost(3.0)).value(least, ""));
    let rest = row("round trips of three daemons, fills and wakes included");
    table.add(rest.value(median(&reads), ""));
    let rest = row("Redis commands, those of scripts included");
    table.add(rest.value(median(&commands), ""));
    Ok(())
}

/// Asks for keys; returns the leases that came, once each key is leased or being computed.
async fn answered(stream: &mut Fetching, keys: &[&str]) -> Result<Vec<i64>> {
    stream.fetch(keys)?;
    let mut leases = Vec::new();
    for _ in keys {
        match stream.key().await? {
            Answer::Lease(lease) => leases.push(lease.lease),
            Answer::Computing(_) => {}
            other => return Err(format!("a missing key is answered {other:?}").into()),
        }
    }
    Ok(leases)
}

/// Reads of a look at the counters: its command, and the end of the connection of the look before.
const LOOK_READS: f64 = 2.0;

/// What Redis did so far.
struct Counters {
    reads: f64,
    commands: f64,
}

impl Counters {
    fn of(redis: &Redis) -> Self {
        let stats = redis.stats();
        Self {
            reads: stats.figure("total_reads_processed"),
            commands: stats.figure("total_commands_processed"),
        }
    }
}
