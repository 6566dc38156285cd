//! Every bound is an error of its own that changes nothing, and passes when there is room again.

use crate::limits::prelude::*;

pub async fn a_call_above_the_bound_on_waiters_is_refused(bench: &Bench) {
    let bench = &bench.on_one_daemon();
    let max = Settings::default().machine.max_waiters;
    bench.declare("tokens", window(1, HOUR)).await;
    bench.take("tokens", 1).granted().await;
    let mut waiting: Vec<_> = (0..max)
        .map(|_| bench.take("tokens", 1).wait(HOUR).start())
        .collect();
    bench.until_waiting("tokens", max).await;
    let error = bench.take("tokens", 1).wait(HOUR).error().await;
    assert_eq!(error.code, ErrorCode::TooManyWaiters);
    assert!(error.retry_after.is_some());
    bench.take("tokens", 1).denied().await;
    assert_eq!(bench.peek("tokens").await.waiters, max);
    waiting.remove(0).cancel().await;
    bench.until_waiting("tokens", max - 1).await;
    let _waiting = bench.take("tokens", 1).wait(HOUR).start();
    bench.until_waiting("tokens", max).await;
}

pub async fn a_limit_above_the_bound_is_refused(bench: &Bench) {
    let max = Settings::default().machine.max_limits;
    for index in 0..max {
        bench
            .declare(&format!("limit-{index}"), window(10, HOUR))
            .await;
    }
    let set = bench.set("more", window(10, HOUR)).send().await;
    assert_eq!(code(set), ErrorCode::TooManyLimits);
    let both = [charge("limit-0", 1), inline("more", 1, window(10, HOUR))];
    assert_eq!(bench.ask(both).error().await.code, ErrorCode::TooManyLimits);
    assert_eq!(bench.remaining("limit-0").await, 10);
    bench.declare("limit-0", window(20, HOUR)).await;
    bench.delete("limit-0").await;
    bench.declare("more", window(10, HOUR)).await;
}

pub async fn a_bucket_above_the_bound_is_refused_until_one_is_idle_and_full(bench: &Bench) {
    let max = Settings::default().machine.max_buckets;
    bench.declare("per-user", window(10, SECOND)).await;
    bench.declare("other", window(10, SECOND)).await;
    for index in 0..max {
        let charge = keyed("per-user", &format!("user-{index}"), 1);
        bench.ask([charge]).granted().await;
    }
    let both = [keyed("per-user", "user-0", 1), charge("other", 1)];
    let error = bench.ask(both).error().await;
    assert_eq!(error.code, ErrorCode::TooManyBuckets);
    assert!(error.retry_after.is_some());
    let first = bench.peek_at("per-user", "user-0").await.unwrap();
    assert_eq!(first.remaining, 9);
    bench.elapse(SECOND).await;
    bench.elapse(bench.tolerance()).await;
    bench.take("other", 1).granted().await;
}

pub async fn a_reservation_above_the_bound_is_refused(bench: &Bench) {
    let machine = Settings::default().machine;
    bench.declare("tokens", window(1_000, HOUR)).await;
    for _ in 0..machine.max_reservations {
        bench.take("tokens", 1).reserve(SECOND).granted().await;
    }
    let left = bench.remaining("tokens").await;
    let error = bench.take("tokens", 1).reserve(SECOND).error().await;
    assert_eq!(error.code, ErrorCode::TooManyReservations);
    assert!(error.retry_after.is_some());
    assert_eq!(bench.remaining("tokens").await, left);
    bench.take("tokens", 1).granted().await;
    let forgotten = Micros(SECOND.0 + machine.settle_window.0);
    bench.elapse(forgotten).await;
    bench.elapse(bench.tolerance()).await;
    bench.take("tokens", 1).reserve(SECOND).granted().await;
}

pub async fn a_request_id_above_the_bound_is_refused_and_none_is_forgotten_early(bench: &Bench) {
    let machine = Settings::default().machine;
    bench.declare("tokens", window(100, HOUR)).await;
    let named = |index: usize| bench.take("tokens", 1).request_id(&format!("r-{index}"));
    for index in 0..machine.max_request_ids {
        named(index).granted().await;
    }
    let left = bench.remaining("tokens").await;
    let error = named(machine.max_request_ids).error().await;
    assert_eq!(error.code, ErrorCode::TooManyRequestIds);
    assert!(error.retry_after.is_some());
    named(0).granted().await;
    assert_eq!(bench.remaining("tokens").await, left);
    bench.elapse(machine.request_window).await;
    bench.elapse(bench.tolerance()).await;
    named(machine.max_request_ids).granted().await;
}

pub async fn a_namespace_above_the_bound_is_refused(bench: &Bench) {
    let max = Settings::default().max_namespaces;
    let spaces: Vec<_> = (0..max)
        .map(|index| bench.beside(&format!("{index}")))
        .collect();
    for space in &spaces {
        space.declare("tokens", window(10, HOUR)).await;
    }
    let more = bench.beside("more");
    let set = more.set("tokens", window(10, HOUR)).send().await;
    assert_eq!(code(set), ErrorCode::TooManyNamespaces);
    let asked = more
        .ask([inline("tokens", 1, window(10, HOUR))])
        .error()
        .await;
    assert_eq!(asked.code, ErrorCode::TooManyNamespaces);
    spaces[0].delete("tokens").await;
    more.declare("tokens", window(10, HOUR)).await;
}
