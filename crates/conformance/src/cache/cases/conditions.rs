//! Writes under a condition.

use crate::cache::prelude::*;

pub async fn a_set_if_absent_is_made_once(bench: &Bench) {
    let absent = Precondition::Absent;
    let first = bench.set_if("k", entry("one").ttl(SECOND), absent).await;
    let Written::Stored(version) = first.unwrap() else {
        panic!("there was no entry");
    };
    let second = bench.set_if("k", "two", absent).await.unwrap();
    assert_eq!(second, Written::Mismatch(Some(version)));
    assert_eq!(text(&bench.get("k").await.unwrap()), "one");
    bench.elapse(SECOND).await;
    let third = bench.set_if("k", "three", absent).await.unwrap();
    assert!(matches!(third, Written::Stored(_)), "{third:?}");
}

pub async fn a_set_under_a_version_needs_that_version(bench: &Bench) {
    let missing = bench.set_if("k", "v", Precondition::Is(Version(1))).await;
    assert_eq!(missing.unwrap(), Written::Mismatch(None));
    let first = Version(bench.set("k", "one").await);
    let second = bench.set_if("k", "two", Precondition::Is(first)).await;
    let Written::Stored(second) = second.unwrap() else {
        panic!("the version was right");
    };
    let late = bench.set_if("k", "late", Precondition::Is(first)).await;
    assert_eq!(late.unwrap(), Written::Mismatch(Some(second)));
    assert_eq!(text(&bench.get("k").await.unwrap()), "two");
}

pub async fn a_delete_under_a_version_needs_that_version(bench: &Bench) {
    let first = Version(bench.set("k", "one").await);
    let second = Version(bench.set("k", "two").await);
    let late = bench.delete_if("k", Precondition::Is(first)).await;
    assert_eq!(late, Deleted::Mismatch(Some(second)));
    assert_eq!(text(&bench.get("k").await.unwrap()), "two");
    let right = bench.delete_if("k", Precondition::Is(second)).await;
    assert_eq!(right, Deleted::Gone);
    assert_eq!(bench.get("k").await, None);
}

pub async fn a_write_that_fails_its_condition_leaves_a_lease_alone(bench: &Bench) {
    let lease = bench.lease("k").await;
    let set = bench.set_if("k", "v", Precondition::Is(Version(1))).await;
    assert_eq!(set.unwrap(), Written::Mismatch(None));
    let delete = bench.delete_if("k", Precondition::Is(Version(1))).await;
    assert_eq!(delete, Deleted::Mismatch(None));
    bench.fill(lease, "filled").await.unwrap();
    assert_eq!(text(&bench.get("k").await.unwrap()), "filled");
}
