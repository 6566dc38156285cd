//! What is spent without the store, and what of it the store is told.

use super::store::*;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_reservation_made_here_is_settled_here_and_what_comes_back_is_not_merged() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    store.up.send_replace(false);
    let mut request = take(20, Mode::Try);
    request.reservation_ttl = Some(Micros::from_secs(60));
    let acquired = limits.clone().acquire(request).await.unwrap();
    let Outcome::Granted(Some(granted)) = acquired.outcome else {
        panic!("{acquired:?}");
    };
    let settle = Settle {
        namespace: Namespace::new("test", "namespace").unwrap(),
        reservation: granted.id,
        usage: Usage::RefundAll,
    };
    let settled = limits.settle(settle).await.unwrap();
    assert_eq!(settled.charges[0].refunded, 20);
    store.up.send_replace(true);
    until_closed(&limits).await;
    assert!(store.merged.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_has_come_back_with_time_is_not_owed() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 10).await, 10);
    store.up.send_replace(false);
    assert_eq!(admitted(&limits, 100).await, 30);
    pass(Duration::from_secs(61)).await;
    // The window has room for this daemon's third of it again.
    assert_eq!(admitted(&limits, 20).await, 20);
    store.up.send_replace(true);
    until_closed(&limits).await;
    assert_eq!(merged_units(&store), [20], "of the 50 that were spent");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_its_answer_again_and_is_owed_once() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    store.up.send_replace(false);
    let mut request = take(20, Mode::Try);
    request.reservation_ttl = Some(Micros::from_secs(60));
    request.request_id = Some(RequestId::new("r", "request_id").unwrap());
    let mut ids = Vec::new();
    for _ in 0..3 {
        let acquired = limits.clone().acquire(request.clone()).await.unwrap();
        let Outcome::Granted(Some(granted)) = acquired.outcome else {
            panic!("{acquired:?}");
        };
        ids.push(granted.id);
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(status(&limits).unmerged_units, 20);
    let settle = Settle {
        namespace: Namespace::new("test", "namespace").unwrap(),
        reservation: ids.remove(0),
        usage: Usage::Actual(vec![ActualAmount {
            limit: Name::new("api", "limit").unwrap(),
            key: Key::new("", "key").unwrap(),
            amount: 15,
        }]),
    };
    for _ in 0..3 {
        let settled = limits.settle(settle.clone()).await.unwrap();
        assert_eq!(settled.charges[0].refunded, 5);
    }
    assert_eq!(status(&limits).unmerged_units, 15);
    store.up.send_replace(true);
    until_closed(&limits).await;
    assert_eq!(merged_units(&store), [15]);
}

#[tokio::test(start_paused = true)]
async fn slots_that_are_held_here_are_held_in_the_store_too_those_that_were_freed_are_not() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    let slots = |amount| {
        let mut request = take(amount, Mode::Try);
        let nine = ConcurrencySpec::new(9).unwrap();
        request.charges[0].spec = Some(LimitSpec::Concurrency(nine));
        request.reservation_ttl = Some(Micros::from_secs(60));
        request
    };
    store.up.send_replace(false);
    let mut held = Vec::new();
    for _ in 0..2 {
        let acquired = limits.clone().acquire(slots(1)).await.unwrap();
        let Outcome::Granted(Some(granted)) = acquired.outcome else {
            panic!("{acquired:?}");
        };
        held.push(granted.id);
    }
    let settle = Settle {
        namespace: Namespace::new("test", "namespace").unwrap(),
        reservation: held.remove(0),
        usage: Usage::RefundAll,
    };
    limits.settle(settle).await.unwrap();
    store.up.send_replace(true);
    until_closed(&limits).await;
    let merged = store.merged.lock().clone();
    let spent = &merged[0].1[0];
    assert_eq!((merged.len(), spent.amount), (1, 1));
    let left = Micros::from_secs(55);
    assert!(spent.held_for > left && spent.held_for <= Micros::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_ends_merges_first() {
    let (store, limits, ending) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    store.up.send_replace(false);
    assert_eq!(admitted(&limits, 5).await, 5);
    store.up.send_replace(true);
    // Before the dwell is over.
    ending.stop.cancel();
    ending.ended.await.unwrap();
    assert_eq!(merged_units(&store), [5]);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_ends_while_its_store_is_away_ends_all_the_same() {
    let (store, limits, ending) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    store.up.send_replace(false);
    assert_eq!(admitted(&limits, 5).await, 5);
    ending.stop.cancel();
    ending.ended.await.unwrap();
    assert!(store.merged.lock().is_empty());
    assert_eq!(status(&limits).unmerged_units, 5, "and it says so");
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_since_when_why_and_what_is_spent_and_owed() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 10).await, 10);
    let share = Some(Share { index: 1, count: 3 });
    let closed = FallbackStatus {
        outage: None,
        share,
        outages: 0,
        decisions: 0,
        unmerged_buckets: 0,
        unmerged_units: 0,
    };
    assert_eq!(status(&limits), closed);
    store.up.send_replace(false);
    let began = store.clock.now().wall;
    assert_eq!(admitted(&limits, 7).await, 7);
    let open = FallbackStatus {
        outage: Some((began, "cut off".into())),
        outages: 1,
        decisions: 7,
        unmerged_buckets: 1,
        unmerged_units: 7,
        ..closed
    };
    assert_eq!(status(&limits), open);
    (*store.place.lock(), *store.acknowledged.lock()) = (None, None);
    assert_eq!(status(&limits).share, None, "a daemon that never joined");
}
