//! What held locks cost Redis while nothing is done: a few sessions hold many, and are kept alive.

use crate::session::{Session, Ttl};
use std::time::Duration;
use tokio::time::interval;
use trellis_tests::bench::Result;
use trellis_tests::bench::process::{Pinning, Server};
use trellis_tests::bench::rounds::now;
use trellis_tests::bench::table::{Row, Table, Target, say};
use trellis_tests::redis::Redis;

/// How many are held when Redis is watched.
const HELD: [u32; 3] = [1_000, 10_000, 100_000];

/// That hold equally many.
const SESSIONS: u32 = 4;

/// Acquires in flight on one session.
const IN_FLIGHT: u32 = 250;

/// For how long Redis is watched. Every session is kept alive once meanwhile: a third of its TTL.
const IDLE: Duration = Duration::from_secs(10);

/// What Redis does then, of what it does with the fewest held: more by no more than a sweep, which comes when it comes.
const CONSTANT: f64 = 1.25;

/// Starts a store and a daemon on it.
pub async fn measure(pinning: Pinning, table: &mut Table) -> Result<()> {
    let Some(redis) = Redis::in_memory() else {
        say("held locks on Redis: left out, there is no redis-server");
        return Ok(());
    };
    pinning.give_server_core(redis.pid());
    let server = Server::distributed(pinning, redis.port)?;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let channel = server.connect().await?;
        sessions.push(Session::open(channel, Ttl::Usual).await?);
    }
    let row = |held: u32, against: &str| {
        Row::new(format!("Redis: commands/s, {held} held locks"), against)
    };
    let none = commands_per_second(&redis, &mut sessions).await?;
    table.add(row(0, "").value(none, ""));
    let (mut held, mut fewest) = (0, None);
    for count in HELD {
        while held < count {
            for session in &mut sessions {
                session.hold(held..held + IN_FLIGHT).await?;
                held += IN_FLIGHT;
            }
            keep_alive(&mut sessions).await?;
        }
        let own = commands_per_second(&redis, &mut sessions).await?;
        let Some(of_fewest) = fewest else {
            table.add(row(count, "").value(own, ""));
            fewest = Some(own);
            continue;
        };
        let row = row(count, &format!("{} held", HELD[0])).target(Target::AtMost(CONSTANT));
        table.add(row.figures(&[of_fewest], &[own], ""));
    }
    Ok(())
}

/// Commands that Redis carries out in a second in which nobody asks for anything, those of scripts included.
async fn commands_per_second(redis: &Redis, sessions: &mut [Session]) -> Result<f64> {
    let commands = || redis.stats().figure("total_commands_processed");
    let mut halves = interval(IDLE / 2);
    // The first is at once.
    halves.tick().await;
    let (before, since) = (commands(), now());
    halves.tick().await;
    keep_alive(sessions).await?;
    halves.tick().await;
    Ok((commands() - before) / (now() - since).as_secs_f64())
}

async fn keep_alive(sessions: &mut [Session]) -> Result<()> {
    for session in sessions {
        session.keep_alive().await?;
    }
    Ok(())
}
