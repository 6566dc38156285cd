//! One computes, the others wait.

use crate::cache::prelude::*;

pub async fn the_first_to_ask_computes_and_the_others_wait(bench: &Bench) {
    let lease = bench.lease("k").await;
    let (first, second) = (bench.wait("k").await, bench.wait("k").await);
    assert_eq!(bench.get("k").await, None);
    let filled = bench.fill(lease, "v").await.unwrap();
    assert_eq!(filled.waiters, 2);
    for waiter in [first, second] {
        let hit = waiter.value().await;
        assert_eq!((text(&hit), hit.source), ("v", Source::Coalesced));
        assert_eq!(hit.version, filled.version);
    }
    let (hit, _) = bench.ask(&["k"]).hit().await;
    assert_eq!((text(&hit), hit.version), ("v", filled.version));
}

pub async fn who_does_not_wait_is_told_that_the_key_is_busy(bench: &Bench) {
    let lease = bench.lease("k").await;
    let asked = bench.ask(&["k"]).without_waiting().one().await.unwrap();
    assert!(matches!(asked, Begun::Busy), "{asked:?}");
    bench.fill(lease, "v").await.unwrap();
    let (hit, _) = bench.ask(&["k"]).without_waiting().hit().await;
    assert_eq!(text(&hit), "v");
}

pub async fn a_request_for_many_keys_gets_each_its_own_answer(bench: &Bench) {
    bench.set("hit", "h").await;
    let busy = bench.lease("busy").await;
    let mut begun = bench.ask(&["busy", "hit", "miss"]).all().await;
    let miss = begun.pop().unwrap().unwrap();
    let hit = begun.pop().unwrap().unwrap();
    let waiting = begun.pop().unwrap().unwrap();
    let Begun::Lease(lease) = miss else {
        panic!("{miss:?}")
    };
    assert!(matches!(hit, Begun::Hit { .. }), "{hit:?}");
    let Begun::Waiting(waiting) = waiting else {
        panic!("{waiting:?}")
    };
    assert!(busy.id < lease.id);
    bench.fill(lease, "m").await.unwrap();
    bench.fill(busy, "b").await.unwrap();
    let value = crate::cache::waiter::Waiter(waiting).value().await;
    assert_eq!(text(&value), "b");
}

pub async fn a_value_that_is_not_kept_goes_to_those_who_wait(bench: &Bench) {
    let lease = bench.lease("k").await;
    let waiter = bench.wait("k").await;
    let filled = bench.try_fill(lease, "v", false).await.unwrap();
    assert_eq!(filled.unwrap().waiters, 1);
    assert_eq!(text(&waiter.value().await), "v");
    assert_eq!(bench.get("k").await, None);
}

pub async fn a_negative_result_goes_to_all_who_wait_and_is_kept(bench: &Bench) {
    let lease = bench.lease("k").await;
    let waiter = bench.wait("k").await;
    bench.fill(lease, negative().ttl(SECOND)).await.unwrap();
    assert_eq!(waiter.value().await.source, Source::Negative);
    assert_eq!(bench.ask(&["k"]).hit().await.0.source, Source::Negative);
    bench.elapse(SECOND).await;
    bench.lease("k").await;
}

pub async fn a_repeated_fill_gets_the_first_answer(bench: &Bench) {
    let lease = bench.lease("k").await;
    let waiter = bench.wait("k").await;
    let first = bench.fill(lease, "v").await;
    assert_eq!(bench.fill(lease, "other").await, first);
    assert_eq!(text(&waiter.value().await), "v");
    assert_eq!(text(&bench.get("k").await.unwrap()), "v");
    assert_eq!(bench.renew(lease).await, Err(LeaseEnd::Unknown));
}

pub async fn a_deleted_key_refuses_the_fill_and_restarts_its_line(bench: &Bench) {
    let lease = bench.lease("k").await;
    let (first, mut second) = (bench.wait("k").await, bench.wait("k").await);
    assert_eq!(bench.delete("k").await, Deleted::Absent);
    assert_eq!(bench.fill(lease, "old").await, Err(LeaseEnd::Deleted));
    assert_eq!(bench.get("k").await, None);
    second.restarted(LeaseEnd::Deleted).await;
    let again = first.lease().await;
    assert!(again.id > lease.id);
    bench.fill(again, "new").await.unwrap();
    assert_eq!(text(&second.value().await), "new");
    assert_eq!(bench.fill(lease, "old").await, Err(LeaseEnd::Deleted));
    assert_eq!(text(&bench.get("k").await.unwrap()), "new");
}

pub async fn a_set_ends_a_lease_and_serves_its_line(bench: &Bench) {
    let lease = bench.lease("k").await;
    let waiter = bench.wait("k").await;
    bench.set("k", "set").await;
    assert_eq!(bench.fill(lease, "old").await, Err(LeaseEnd::Replaced));
    assert_eq!(text(&waiter.value().await), "set");
    assert_eq!(text(&bench.get("k").await.unwrap()), "set");
}

pub async fn an_unknown_lease_is_told_so(bench: &Bench) {
    let mut lease = bench.lease("k").await;
    lease.id.0 += 1_000_000;
    assert_eq!(bench.fill(lease, "v").await, Err(LeaseEnd::Unknown));
    assert_eq!(bench.give_up(lease).await, Err(LeaseEnd::Unknown));
    assert_eq!(bench.renew(lease).await, Err(LeaseEnd::Unknown));
    let appended = bench.append(lease, 0, "v").await.unwrap();
    assert_eq!(appended, Err(LeaseEnd::Unknown));
    assert_eq!(bench.get("k").await, None);
}
