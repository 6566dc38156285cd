//! The short forms of the campaigns, and that they find what is broken; the shares of daemons.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: a failure is a failed test, and seeds are printed"
)]
#![allow(
    dead_code,
    reason = "the long form is a program of its own, made of the same files"
)]

mod buckets;
mod calls;
mod checker;
mod checker_tests;
mod client;
mod clock;
mod cluster;
mod events;
mod events_tests;
mod fairness;
mod faults;
mod history;
mod house;
mod jobs;
mod jobs_tests;
mod killed;
mod link;
mod overshoot;
mod random;

use cluster::{Cluster, PATIENT, STRICT};
use fairness::{AMOUNT, Demand, jain, shares, stopped_head, totals};
use faults::{Counts, Fault};
use overshoot::Run;
use std::time::Duration;
use tokio::sync::RwLock;
use trellis_conformance::on_real_time;

/// Runs that load the machine go side by side; shares, which are counted by the period, are measured alone.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Nothing is wrong.
const NONE: Vec<String> = Vec::new();

/// `$TRELLIS_SEED`, or one that stays the same.
fn seed() -> u64 {
    let seed = std::env::var("TRELLIS_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn nothing_is_admitted_above_a_limit_whatever_breaks() {
    let _with_others = MACHINE.read().await;
    let Some(cluster) = Cluster::shared(STRICT) else {
        return;
    };
    let report = Run::short(seed()).on(cluster).await;
    println!("{}", report.text());
    assert_eq!(report.faults(), NONE, "{}", report.text());
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_forgets_what_has_been_used_is_found() {
    let _with_others = MACHINE.read().await;
    let Some(cluster) = Cluster::shared(STRICT) else {
        return;
    };
    let run = Run {
        acquires: 6_000,
        faults: Counts::new(),
        broken: true,
        ..Run::short(seed())
    };
    let report = run.on(cluster).await;
    println!("{}", report.text());
    assert!(report.over() > 0, "{}", report.text());
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn three_daemons_that_share_nothing_are_found() {
    let _with_others = MACHINE.read().await;
    let run = Run {
        acquires: 6_000,
        faults: Counts::from([(Fault::Stop, 1)]),
        ..Run::short(seed())
    };
    let report = run.on(Cluster::apart()).await;
    println!("{}", report.text());
    assert!(report.over() > 0, "{}", report.text());
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn one_daemon_alone_is_exercised_and_not_accused() {
    let _with_others = MACHINE.read().await;
    let run = Run {
        acquires: 15_000,
        faults: Counts::from([(Fault::Stop, 2)]),
        ..Run::short(seed())
    };
    let report = run.on(Cluster::alone()).await;
    println!("{}", report.text());
    assert_eq!(report.faults(), NONE, "{}", report.text());
}

/// Scaled: what holds for a minute holds for two seconds, in which callers come back to the line.
const PERIOD: history::Micros = 2_000_000;

/// Each daemon has 33 or 34 of each period.
fn all_thirds(periods: &[[u64; 3]]) -> bool {
    let third = |share: &u64| [33, 34].contains(share);
    let fair = |period: &[u64; 3]| period.iter().sum::<u64>() == AMOUNT && period.iter().all(third);
    periods.iter().all(fair)
}

/// Each daemon has, of all periods up to any, a third to within one unit: one that was not scheduled for 50 ms
/// at the end of a period, and was passed over, had its unit at the beginning of the next.
fn next_made_up(periods: &[[u64; 3]]) -> bool {
    let (mut sums, mut all) = ([0; 3], 0);
    periods.iter().all(|period| {
        for (sum, share) in sums.iter_mut().zip(period) {
            *sum += share;
        }
        all += AMOUNT;
        let third = |sum: &u64| (3 * sum).abs_diff(all) <= 3;
        sums.iter().sum::<u64>() == all && sums.iter().all(third)
    })
}

#[test]
fn a_third_is_told_from_what_is_none() {
    let turns = [[34, 33, 33], [33, 34, 33], [33, 33, 34]];
    let late = [[33, 33, 34], [34, 34, 32], [33, 33, 34]];
    assert!(all_thirds(&turns) && next_made_up(&turns));
    assert!(!all_thirds(&late) && next_made_up(&late));
    for unfair in [[[34, 34, 32]; 2], [[33, 33, 33]; 2], [[40, 30, 30]; 2]] {
        assert!(!all_thirds(&unfair) && !next_made_up(&unfair));
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn three_saturating_daemons_are_admitted_a_third_each_in_every_period() {
    let _alone = MACHINE.write().await;
    on_real_time(async || {
        let Some(cluster) = Cluster::shared(PATIENT) else {
            return;
        };
        // What was not evened out while callers were lining up is evened out first.
        let shares = shares(&cluster, "shared", PERIOD, [Demand::Saturating; 3], 16).await;
        println!("{shares:?}");
        let settled = shares
            .windows(10)
            .any(|ten| all_thirds(ten) || next_made_up(ten));
        assert!(settled, "{shares:?}");
    })
    .await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_one_daemon_does_not_want_goes_to_the_others() {
    let _alone = MACHINE.write().await;
    let Some(cluster) = Cluster::shared(PATIENT) else {
        return;
    };
    let idle = [Demand::Saturating, Demand::Idle, Demand::Saturating];
    let idle = totals(&shares(&cluster, "idle", PERIOD, idle, 3).await);
    println!("one idle: {idle:?}");
    assert_eq!(idle, [3 * AMOUNT / 2, 0, 3 * AMOUNT / 2]);
    let modest = [Demand::Modest(10), Demand::Saturating, Demand::Saturating];
    let modest = totals(&shares(&cluster, "modest", PERIOD, modest, 3).await);
    let index = jain(&modest[1..]);
    println!("one modest: {modest:?}, Jain {index:.4}");
    assert!(modest[0] >= 3 * 10 / 2, "{modest:?}");
    assert!(index >= 0.99, "{modest:?}");
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn bursts_of_equal_demand_are_admitted_equal_shares() {
    let _alone = MACHINE.write().await;
    let Some(cluster) = Cluster::shared(PATIENT) else {
        return;
    };
    let demands = [true, false, true].map(|first| Demand::Bursts { first });
    let together = totals(&shares(&cluster, "bursty", PERIOD, demands, 6).await);
    println!("bursty: {together:?}, Jain {:.4}", jain(&together));
    assert!(jain(&[together[0], together[2]]) >= 0.99, "{together:?}");
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn the_line_goes_on_when_the_daemon_at_its_head_is_stopped() {
    let _alone = MACHINE.write().await;
    let Some(cluster) = Cluster::shared(PATIENT) else {
        return;
    };
    let late = stopped_head(&cluster, "line").await;
    println!("the line goes on {late:?} late");
    assert!(late < Duration::from_secs(1), "{late:?}");
}
