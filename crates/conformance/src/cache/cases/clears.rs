//! Clears of tags and namespaces.

use crate::cache::prelude::*;

pub async fn a_cleared_tag_hides_its_entries_and_no_others(bench: &Bench) {
    bench.set("a", entry("a").tags(&["x", "y"])).await;
    bench.set("b", entry("b").tags(&["y"])).await;
    bench.set("c", "c").await;
    bench.clear_tag("x").await;
    let found = bench.get_all(&["a", "b", "c"]).await;
    let found: Vec<_> = found.iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, true]);
}

pub async fn what_is_kept_after_a_clear_is_found(bench: &Bench) {
    let before = bench.set("k", entry("old").tags(&["x"])).await;
    let clear = bench.clear_tag("x").await;
    let after = bench.set("k", entry("new").tags(&["x"])).await;
    assert!(before < clear && clear < after, "{before} {clear} {after}");
    assert_eq!(text(&bench.get("k").await.unwrap()), "new");
    let all = bench.clear(ClearTarget::All).await;
    assert!(after < all);
    assert_eq!(bench.get("k").await, None);
    bench.set("k", entry("newer").tags(&["x"])).await;
    assert_eq!(text(&bench.get("k").await.unwrap()), "newer");
}

pub async fn a_cleared_namespace_hides_every_entry_stale_ones_too(bench: &Bench) {
    bench.set("a", "a").await;
    bench
        .set("b", entry("b").ttl(ms(100)).stale_for(SECOND))
        .await;
    bench.elapse(ms(200)).await;
    bench.clear(ClearTarget::All).await;
    assert_eq!(bench.get("a").await, None);
    assert_eq!(bench.get_stale("b").await, None);
    assert_eq!(bench.delete("a").await, Deleted::Absent);
}

pub async fn a_tag_cleared_while_filling_refuses_the_fill(bench: &Bench) {
    let lease = bench.lease("k").await;
    let mut waiter = bench.wait("k").await;
    let next = bench.wait("k").await;
    bench.clear_tag("x").await;
    let late = bench.fill(lease, entry("old").tags(&["y", "x"])).await;
    assert_eq!(late, Err(LeaseEnd::Cleared));
    assert_eq!(bench.get("k").await, None);
    let Progress::Ended(Landing::Lease(lease)) = waiter.next().await else {
        panic!("the first in line computes");
    };
    bench.fill(lease, entry("new").tags(&["x"])).await.unwrap();
    assert_eq!(text(&next.value().await), "new");
    assert_eq!(text(&bench.get("k").await.unwrap()), "new");
}

pub async fn another_tag_cleared_while_filling_does_not(bench: &Bench) {
    let lease = bench.lease("k").await;
    bench.clear_tag("x").await;
    bench.fill(lease, entry("v").tags(&["y"])).await.unwrap();
    assert_eq!(text(&bench.get("k").await.unwrap()), "v");
}

pub async fn a_namespace_cleared_while_filling_ends_its_leases(bench: &Bench) {
    let lease = bench.lease("k").await;
    let first = bench.wait("k").await;
    let mut second = bench.wait("k").await;
    bench.clear(ClearTarget::All).await;
    assert_eq!(bench.fill(lease, "old").await, Err(LeaseEnd::Cleared));
    second.restarted(LeaseEnd::Cleared).await;
    let lease = first.lease().await;
    bench.fill(lease, "new").await.unwrap();
    assert_eq!(text(&second.value().await), "new");
}

pub async fn more_clears_than_are_remembered_hide_more_and_never_less(bench: &Bench) {
    bench.set("a", entry("a").tags(&["t0"])).await;
    bench.set("plain", "p").await;
    for tag in ["t0", "t1", "t2", "t3", "t4", "t5"] {
        bench.clear_tag(tag).await;
    }
    assert_eq!(bench.get("a").await, None);
    assert!(bench.get("plain").await.is_some());
    bench.set("a", entry("a").tags(&["t0"])).await;
    assert!(bench.get("a").await.is_some());
}
