//! What a daemon admits while its store is away, and when it goes by the store again.

use super::store::*;
use super::*;

#[tokio::test(start_paused = true)]
async fn without_the_store_a_daemon_admits_its_share_and_says_so_and_the_store_learns_of_it_once() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 10).await, 10);
    store.up.send_replace(false);
    // The second of three daemons: a third of the 90 that were left.
    assert_eq!(admitted(&limits, 100).await, 30);
    let refused = limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
    assert!(
        matches!(refused.scope, Scope::Degraded { .. }),
        "{refused:?}"
    );
    assert!(limits.fallback().unwrap().outage.is_some() && *store.apart.lock());
    *store.lose_answers.lock() = 3;
    store.up.send_replace(true);
    until_closed(&limits).await;
    let merged = store.merged.lock().clone();
    assert_eq!(merged.len(), 1);
    assert_eq!((merged[0].1.len(), merged[0].1[0].amount), (1, 30));
    let shared = limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
    assert_eq!(shared.scope, Scope::Local, "that of the store in this test");
    assert!(!*store.apart.lock());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_begins_with_nothing_admits_nothing_before_units_come_back() {
    let policy = FallbackPolicy {
        level: Level::Empty,
        ..FallbackPolicy::default()
    };
    let (store, limits, _) = daemon(Settings::default(), policy);
    assert_eq!(admitted(&limits, 10).await, 10);
    store.up.send_replace(false);
    assert_eq!(admitted(&limits, 50).await, 0);
    pass(Duration::from_secs(61)).await;
    assert_eq!(admitted(&limits, 50).await, 33);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_never_joined_has_no_share_unless_it_is_given_one() {
    for (permille, wanted) in [(0, None), (100, Some(10))] {
        let policy = FallbackPolicy {
            unjoined_permille: permille,
            ..FallbackPolicy::default()
        };
        let (store, limits, _) = daemon(Settings::default(), policy);
        (*store.place.lock(), *store.acknowledged.lock()) = (None, None);
        store.up.send_replace(false);
        if let Some(wanted) = wanted {
            assert_eq!(admitted(&limits, 50).await, wanted);
        } else {
            let refused = limits
                .clone()
                .acquire(take(1, Mode::Try))
                .await
                .unwrap_err();
            assert_eq!(refused.code, ErrorCode::StoreUnavailable);
            assert!(refused.retry_after.is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_hold_the_policy_decides() {
    for fail_after_hold in [false, true] {
        let policy = FallbackPolicy {
            fail_after_hold,
            ..FallbackPolicy::default()
        };
        let (store, limits, _) = daemon(Settings::default(), policy);
        store.up.send_replace(false);
        assert_eq!(admitted(&limits, 5).await, 5);
        pass(Duration::from_secs(61)).await;
        let late = limits.clone().acquire(take(1, Mode::Try)).await;
        assert_eq!(late.is_err(), fail_after_hold);
        let _ = store.clock.mono();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_in_the_store_goes_on_here_with_the_time_that_it_has_left() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 100).await, 100);
    let began = tokio::time::Instant::now();
    let wait = Mode::Wait(Micros::from_secs(90));
    let waiting = spawn({
        let limits = limits.clone();
        async move { limits.acquire(take(1, wait)).await }
    });
    pass(Duration::from_secs(5)).await;
    store.up.send_replace(false);
    let acquired = waiting.await.unwrap().unwrap();
    assert!(
        matches!(acquired.outcome, Outcome::Granted(_)),
        "{acquired:?}"
    );
    assert!(matches!(acquired.scope, Scope::Degraded { .. }));
    assert!(began.elapsed() < Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_and_goes_does_not_make_the_scope_come_and_go() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    for _ in 0..200 {
        store.up.send_replace(false);
        pass(Duration::from_millis(50)).await;
        store.up.send_replace(true);
        pass(Duration::from_millis(50)).await;
    }
    let outages = limits.fallback().unwrap().outages;
    assert!(outages <= 5, "{outages} in twenty seconds");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_one_call_and_is_well_is_used_again_after_the_dwell() {
    let (store, limits, _) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    *store.refuse.lock() = 1;
    let denied = limits.clone().acquire(take(99, Mode::Try)).await.unwrap();
    assert!(matches!(denied.outcome, Outcome::Denied(_)), "{denied:?}");
    assert!(matches!(denied.scope, Scope::Degraded { .. }));
    // Nothing was spent, and its health never changed: nobody but the breaker's own clock says when.
    until_closed(&limits).await;
    assert_eq!(status(&limits).outages, 1);
}
