//! Many calls at once: each key is computed once.

use crate::cache::prelude::*;
use crate::cache::waiter::Waiter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Gets keys or computes them, each in a while; fills its own leases before it awaits others.
async fn get_or_compute(bench: Bench, keys: Vec<String>, computed: Arc<AtomicUsize>) {
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut waiting = Vec::new();
    for (name, begun) in keys.iter().zip(bench.ask(&names).all().await) {
        match begun.unwrap() {
            Begun::Hit { hit, .. } => assert_eq!(text(&hit), name),
            Begun::Waiting(waiter) => waiting.push((name, Waiter(waiter))),
            Begun::Lease(lease) => {
                computed.fetch_add(1, Ordering::Relaxed);
                bench.elapse(ms(20)).await;
                bench.fill(lease, entry(name.clone())).await.unwrap();
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for (name, waiter) in waiting {
        assert_eq!(text(&waiter.value().await), name);
    }
}

pub async fn twenty_equal_calls_compute_once(bench: &Bench) {
    let computed = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let keys = vec!["k".to_owned()];
            spawn(get_or_compute(bench.clone(), keys, computed.clone()))
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(computed.load(Ordering::Relaxed), 1);
}

pub async fn overlapping_batches_compute_every_key_once_in_any_order(bench: &Bench) {
    let computed = Arc::new(AtomicUsize::new(0));
    let names: Vec<String> = (0..12).map(|number| format!("k{number}")).collect();
    let calls: Vec<_> = (0..6)
        .map(|call| {
            let mut keys: Vec<_> = names.iter().skip(call).take(8).cloned().collect();
            match call % 3 {
                0 => {}
                1 => keys.reverse(),
                _ => keys.rotate_left(3),
            }
            spawn(get_or_compute(bench.clone(), keys, computed.clone()))
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(computed.load(Ordering::Relaxed), 12);
    assert_eq!(bench.stats().await.leases, 0);
}

pub async fn concurrent_sets_under_one_version_are_won_by_one(bench: &Bench) {
    let version = Version(bench.set("k", "first").await);
    let calls: Vec<_> = (0..10)
        .map(|number| {
            let (bench, draft) = (bench.clone(), entry(format!("{number}")));
            let condition = Precondition::Is(version);
            spawn(async move { bench.set_if("k", draft, condition).await.unwrap() })
        })
        .collect();
    let mut won = 0;
    for call in calls {
        won += usize::from(matches!(call.await.unwrap(), Written::Stored(_)));
    }
    assert_eq!(won, 1);
}

pub async fn deletes_that_race_fills_never_leave_an_older_value(bench: &Bench) {
    for round in 0..20 {
        let name = format!("k{round}");
        let lease = bench.lease(&name).await;
        let fill = {
            let bench = bench.clone();
            spawn(async move { bench.fill(lease, "old").await })
        };
        let delete = {
            let (bench, name) = (bench.clone(), name.clone());
            spawn(async move { bench.delete(&name).await })
        };
        let (filled, deleted) = (fill.await.unwrap(), delete.await.unwrap());
        match filled {
            Ok(_) => assert_eq!(deleted, Deleted::Gone),
            Err(end) => assert_eq!((end, deleted), (LeaseEnd::Deleted, Deleted::Absent)),
        }
        assert_eq!(bench.get(&name).await, None);
    }
}
