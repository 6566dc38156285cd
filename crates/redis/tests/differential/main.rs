//! The scripts and the pure machine give the same answers on the same random calls.
//!
//! The scripts run on a real server, with the test's time instead of the store's. Whatever both are asked
//! must end alike: outcome, levels, times, errors, who is granted at which microsecond, and what every
//! bucket shows afterwards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod operations;
mod run;
mod scripts;

use run::Run;
use scripts::Scripts;
use std::collections::BTreeMap;
use support::{Daemon, Server};

/// Runs of random calls, each from a seed of its own.
const SEEDS: u64 = 25;
const STEPS: usize = 300;

/// `TRELLIS_SEEDS=7-7` runs one again, `TRELLIS_SEEDS=1000-2000` many others.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let asked = std::env::var("TRELLIS_SEEDS").ok();
    let bounds = asked.as_deref().and_then(|asked| asked.split_once('-'));
    let bounds = bounds.and_then(|(from, to)| Some(from.parse().ok()?..=to.parse().ok()?));
    bounds.unwrap_or(1..=SEEDS)
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn scripts_and_machine_give_the_same_answers() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut daemons = Vec::new();
    let mut handles = Vec::new();
    for name in scripts::NAMES {
        let daemon = Daemon::on(&server, name).await;
        handles.push((daemon.store.clone(), daemon.attached().await.incarnation));
        daemons.push(daemon);
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in seeds() {
        // Every other run has three daemons, of which each makes some of the calls.
        let count = if seed % 2 == 0 { 1 } else { 3 };
        let scripts = Scripts::new(&handles[..count], &format!("seed-{seed}"), None);
        let mut run = Run::new(scripts, seed);
        run.declare().await;
        for _ in 0..STEPS {
            run.step().await;
        }
        for (what, count) in run.seen() {
            *seen.entry(what.clone()).or_default() += count;
        }
    }
    // Runs in which nothing happens show nothing.
    for what in [
        "decided 1",
        "decided 2",
        "waited 1",
        "waited 3",
        "waited 4",
        "settled",
        "extended 1",
        "taken back",
    ] {
        assert!(
            seen.get(what).is_some_and(|count| *count > 2),
            "too few: {what}"
        );
    }
}
