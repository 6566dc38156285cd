//! Whoever held the lease is gone: the first in line computes.

use crate::cache::prelude::*;

pub async fn a_holder_that_gives_up_is_followed_by_the_first_in_line(bench: &Bench) {
    let lease = bench.lease("k").await;
    let (first, mut second) = (bench.wait("k").await, bench.wait("k").await);
    assert_eq!(bench.give_up(lease).await, Ok(None));
    assert_eq!(bench.give_up(lease).await, Ok(None));
    second.restarted(LeaseEnd::GivenUp).await;
    let next = first.lease().await;
    assert_eq!(bench.fill(lease, "late").await, Err(LeaseEnd::GivenUp));
    bench.fill(next, "v").await.unwrap();
    assert_eq!(text(&second.value().await), "v");
}

pub async fn a_lease_given_up_with_nobody_in_line_is_free(bench: &Bench) {
    let lease = bench.lease("k").await;
    bench.give_up(lease).await.unwrap();
    let next = bench.lease("k").await;
    assert!(next.id > lease.id);
}

pub async fn a_lease_that_is_not_renewed_ends(bench: &Bench) {
    let lease = bench.ask(&["k"]).lease_ttl(SECOND).lease().await;
    bench.assert_told(lease.ttl, SECOND);
    let waiter = bench.wait("k").await;
    let next = waiter.lease().await;
    assert_eq!(bench.fill(lease, "late").await, Err(LeaseEnd::Expired));
    assert_eq!(bench.renew(lease).await, Err(LeaseEnd::Expired));
    bench.fill(next, "v").await.unwrap();
    assert_eq!(text(&bench.get("k").await.unwrap()), "v");
}

pub async fn a_lease_lives_to_the_end_of_its_ttl(bench: &Bench) {
    let lease = bench.ask(&["k"]).lease_ttl(SECOND).lease().await;
    bench.elapse_almost(SECOND).await;
    let busy = bench.ask(&["k"]).without_waiting().one().await.unwrap();
    assert!(matches!(busy, Begun::Busy), "{busy:?}");
    bench.elapse_the_rest().await;
    let next = bench.lease("k").await;
    assert!(next.id > lease.id);
}

pub async fn a_renewed_lease_lives_on_until_its_deadline(bench: &Bench) {
    let ask = bench.ask(&["k"]).lease_ttl(SECOND).deadline(ms(2_500));
    let lease = ask.lease().await;
    let waiter = bench.wait("k").await;
    for _ in 0..2 {
        bench.elapse(ms(800)).await;
        let renewed = bench.renew(lease).await.unwrap();
        assert_eq!(renewed.id, lease.id);
    }
    bench.elapse(ms(800)).await;
    let renewed = bench.renew(lease).await.unwrap();
    bench.assert_told(renewed.deadline, ms(100));
    bench.assert_told(renewed.ttl, ms(100));
    let next = waiter.lease().await;
    assert_eq!(bench.fill(lease, "late").await, Err(LeaseEnd::Deadline));
    bench.fill(next, "v").await.unwrap();
}

pub async fn the_line_is_served_in_order_of_arrival(bench: &Bench) {
    let mut lease = bench.lease("k").await;
    let mut line = Vec::new();
    for _ in 0..5 {
        line.push(bench.wait("k").await);
    }
    let last = line.pop().unwrap();
    for waiter in line {
        bench.give_up(lease).await.unwrap();
        lease = waiter.lease().await;
    }
    bench.fill(lease, "v").await.unwrap();
    assert_eq!(text(&last.value().await), "v");
}

pub async fn a_call_that_leaves_the_line_is_passed_over(bench: &Bench) {
    let lease = bench.lease("k").await;
    let (first, second) = (bench.wait("k").await, bench.wait("k").await);
    drop(first);
    bench.until_waiting(1).await;
    bench.give_up(lease).await.unwrap();
    second.lease().await;
}

pub async fn a_lease_that_nobody_received_goes_to_the_next(bench: &Bench) {
    let lease = bench.lease("k").await;
    let (first, second) = (bench.wait("k").await, bench.wait("k").await);
    bench.give_up(lease).await.unwrap();
    drop(first);
    let next = second.lease().await;
    bench.fill(next, "v").await.unwrap();
}

pub async fn abandoned_leases_are_given_up(bench: &Bench) {
    let (one, two) = (bench.lease("1").await, bench.lease("2").await);
    let (first, second) = (bench.wait("1").await, bench.wait("2").await);
    bench.port().abandon(&bench.namespace, &[one.id, two.id]);
    first.lease().await;
    second.lease().await;
    assert_eq!(bench.fill(one, "late").await, Err(LeaseEnd::GivenUp));
}
