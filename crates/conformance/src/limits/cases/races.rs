//! Many calls at once: the sum is exact.

use crate::limits::prelude::*;

pub async fn concurrent_tries_of_many_sizes_never_exceed_the_limit(bench: &Bench) {
    for (round, limit) in (0..5_i64).zip(["a", "b", "c", "d", "e"]) {
        bench.declare(limit, window(1_000, HOUR)).await;
        let sizes: Vec<i64> = (0..60)
            .map(|call| 1 + (call * 37 + round * 11) % 97)
            .collect();
        let calls: Vec<_> = sizes
            .iter()
            .map(|size| bench.take(limit, *size).start())
            .collect();
        let (mut admitted, mut smallest_denied) = (0, i64::MAX);
        for (size, call) in sizes.iter().zip(calls) {
            match call.result().await.unwrap().outcome {
                Outcome::Granted(_) => admitted += size,
                Outcome::Denied(_) => smallest_denied = smallest_denied.min(*size),
                other => panic!("neither granted nor denied: {other:?}"),
            }
        }
        let left = bench.remaining(limit).await;
        assert_eq!(left, 1_000 - admitted, "{limit}");
        assert!(left >= 0, "{limit} is over by {left}");
        assert!(
            left < smallest_denied,
            "{smallest_denied} denied, {left} left"
        );
    }
}

pub async fn sixty_four_concurrent_waiters_are_all_served(bench: &Bench) {
    bench.declare("tokens", rate(100, SECOND, 10)).await;
    let started = Instant::now();
    let calls: Vec<_> = (0..64)
        .map(|call| bench.take("tokens", 1 + call % 3).wait(HOUR).start())
        .collect();
    let (mut sum, mut last) = (0, started);
    for (size, call) in (0..64).map(|call| 1 + call % 3).zip(calls) {
        let (_, granted) = call.granted().await;
        sum += size;
        last = last.max(granted);
    }
    // A burst of 10, the others as they are refilled.
    assert_eq!(sum, 127);
    bench.assert_took(started, last, ms(1_170));
    assert_eq!(bench.peek("tokens").await.waiters, 0);
}

pub async fn concurrent_holders_never_exceed_the_slots(bench: &Bench) {
    bench.declare("slots", slots(3)).await;
    let holders: Vec<_> = (0..30)
        .map(|_| {
            let bench = bench.clone();
            let ask = bench.take("slots", 1).wait(HOUR).reserve(HOUR);
            spawn(async move {
                let grant = ask.granted().await;
                bench.settle(grant.id(), []).await.unwrap();
                grant.charges[0].remaining
            })
        })
        .collect();
    for holder in holders {
        let left = holder.await.unwrap();
        assert!((0..3).contains(&left), "{left} slots left");
    }
    assert_eq!(bench.remaining("slots").await, 3);
}

pub async fn concurrent_settles_of_one_reservation_settle_it_once(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 80).reserve(HOUR).granted().await;
    let settles: Vec<_> = (0..10)
        .map(|call| {
            let (bench, id) = (bench.clone(), grant.id().clone());
            let actual = [used("tokens", call)];
            spawn(async move { bench.settle(&id, actual).await })
        })
        .collect();
    let mut won = Vec::new();
    for settle in settles {
        match settle.await.unwrap() {
            Ok(settled) => won.push(settled.charges[0].actual),
            Err(error) => assert_eq!(error.code, ErrorCode::ReservationSettled),
        }
    }
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(bench.remaining("tokens").await, 100 - won[0]);
}

pub async fn concurrent_repeats_of_one_call_are_charged_once(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let ask = bench.take("tokens", 10).reserve(HOUR).request_id("r");
    let calls: Vec<_> = (0..10).map(|_| ask.clone().start()).collect();
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.granted().await.0.id().clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.remaining("tokens").await, 90);
}
