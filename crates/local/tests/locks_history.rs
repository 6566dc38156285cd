//! Random histories of a lock in memory are linearizable, and the check finds out rules that are broken.

use std::sync::Arc;
use trellis_conformance::locks::history::{Broken, is_linearizable, record};
use trellis_conformance::locks::{Bench, Subject};
use trellis_conformance::{Pace, PausedClock, spawn};
use trellis_local::{MemoryLocks, MemoryLocksConfig};

const SEEDS: u64 = 300;

fn bench() -> Bench {
    let clock = Arc::new(PausedClock::new());
    let locks = Arc::new(MemoryLocks::new(MemoryLocksConfig::default(), clock));
    let timers = locks.clone();
    spawn(async move { timers.run().await });
    Bench::new(Subject::new(vec![locks], Pace::Virtual))
}

/// How many of the histories cannot have happened one after the other; with nothing broken, none may.
async fn impossible(broken: Broken) -> usize {
    let mut impossible = 0;
    for seed in 0..SEEDS {
        let history = record(&bench(), seed, broken).await;
        if !is_linearizable(&history) {
            assert_ne!(broken, Broken::Nothing, "seed {seed}: {history:#?}");
            impossible += 1;
        }
    }
    impossible
}

#[tokio::test(start_paused = true)]
async fn every_history_can_have_happened_one_after_the_other() {
    assert_eq!(impossible(Broken::Nothing).await, 0);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_are_not_done_are_found_out() {
    assert!(impossible(Broken::Renewals).await > 0);
}

#[tokio::test(start_paused = true)]
async fn releases_of_somebody_elses_lease_are_found_out() {
    assert!(impossible(Broken::Releases).await > 0);
}
