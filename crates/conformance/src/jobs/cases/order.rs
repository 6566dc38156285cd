//! Who is next.

use crate::jobs::prelude::*;
use tokio::time::Instant;
use trellis_core::FairKey;

pub async fn the_highest_priority_goes_first_and_then_who_came_first(bench: &Bench) {
    for (data, priority) in [("a", 5), ("b", 9), ("c", 5), ("d", 0), ("e", 9)] {
        let job = bench.job_with(data, |job| job.priority = priority);
        bench.submit(job).await;
    }
    assert_eq!(bench.names(10).await, ["b", "e", "a", "c", "d"]);
}

pub async fn fair_keys_take_turns_by_their_weights(bench: &Bench) {
    for (key, weight, count) in [("a", 1, 20), ("b", 2, 8), ("c", 1, 4)] {
        for _ in 0..count {
            let job = bench.job_with(key, |job| {
                let fair_key = FairKey::new(key, "fair_key").unwrap();
                job.options.turn = Some(Turn { fair_key, weight });
            });
            bench.submit(job).await;
        }
    }
    let order = bench.names(16).await;
    let count = |key: &str| order.iter().filter(|it| *it == key).count();
    assert!((3..=5).contains(&count("a")), "{order:?}");
    assert!((7..=8).contains(&count("b")), "{order:?}");
    assert!((3..=4).contains(&count("c")), "{order:?}");
}

pub async fn a_delayed_job_runs_at_its_time(bench: &Bench) {
    let first = bench.submit(bench.job("now")).await;
    let now = bench.look(first).await.submitted;
    let asked = Instant::now();
    let delayed = bench.job_with("later", |job| job.run_at = Some(now + SECOND));
    let later = bench.submit(delayed).await;
    let view = bench.look(later).await;
    assert_eq!(
        (view.state, view.ready_at),
        (JobState::Delayed, Some(now + SECOND))
    );
    assert_eq!(bench.names(10).await, ["now"]);
    let got = bench.one().await;
    assert_eq!(got.job, later);
    bench.assert_took(asked, Instant::now(), SECOND);
}
