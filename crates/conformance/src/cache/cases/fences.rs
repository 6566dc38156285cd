//! Writes under a lock.

use crate::cache::prelude::*;
use trellis_core::Error;

/// What a stale write must be refused with.
#[track_caller]
fn assert_stale(error: &Error, least: u64) {
    assert_eq!(error.code, ErrorCode::StaleFence);
    let violation = error.violation.as_ref().unwrap();
    assert_eq!(violation.field, "fence.token");
    let says = format!("must be at least {least}");
    assert!(violation.allowed.starts_with(&says), "{violation:?}");
}

async fn set(bench: &Bench, value: &'static str, lock: &str, token: u64) -> Result<(), Error> {
    let draft = entry(value).under(lock, token);
    let set = bench.set_if("k", draft, Precondition::Always).await?;
    assert!(matches!(set, Written::Stored(_)), "{set:?}");
    Ok(())
}

pub async fn a_write_under_a_lock_that_was_granted_since_is_refused(bench: &Bench) {
    set(bench, "first", "a", 5).await.unwrap();
    set(bench, "next", "a", 9).await.unwrap();
    // A paused holder resumes and writes.
    let late = set(bench, "late", "a", 5).await.unwrap_err();
    assert_stale(&late, 9);
    assert_eq!(text(&bench.get("k").await.unwrap()), "next");
    // The same grant may write again; locks do not know each other, nor do namespaces; without a lock nothing is asked.
    set(bench, "again", "a", 9).await.unwrap();
    set(bench, "other", "b", 1).await.unwrap();
    set(&bench.beside("other"), "there", "a", 1).await.unwrap();
    bench.set("k", "none").await;
}

pub async fn a_refused_fill_leaves_its_lease_and_a_repeated_one_gets_its_answer(bench: &Bench) {
    set(bench, "v", "a", 9).await.unwrap();
    let lease = bench.lease("computed").await;
    let late = bench
        .try_fill(lease, entry("late").under("a", 8), true)
        .await;
    assert_stale(&late.unwrap_err(), 9);
    assert_eq!(bench.get("computed").await, None);
    bench.renew(lease).await.unwrap();
    let draft = || entry("right").under("a", 10);
    let filled = bench.fill(lease, draft()).await.unwrap();
    assert_stale(&set(bench, "late", "a", 9).await.unwrap_err(), 10);
    // Its answer was lost, and others have written since.
    set(bench, "v", "a", 11).await.unwrap();
    assert_eq!(bench.fill(lease, draft()).await.unwrap(), filled);
    assert_eq!(text(&bench.get("computed").await.unwrap()), "right");
}

pub async fn a_token_counts_as_seen_whatever_becomes_of_the_write(bench: &Bench) {
    let draft = entry("v").under("a", 7);
    let missed = bench.set_if("k", draft, Precondition::Is(Version(1))).await;
    assert_eq!(missed.unwrap(), Written::Mismatch(None));
    assert_stale(&set(bench, "late", "a", 6).await.unwrap_err(), 7);
}

pub async fn a_clear_forgets_no_token(bench: &Bench) {
    set(bench, "v", "a", 7).await.unwrap();
    bench.clear(ClearTarget::All).await;
    bench.clear_tag("tag").await;
    bench.delete("k").await;
    assert_stale(&set(bench, "late", "a", 6).await.unwrap_err(), 7);
}

pub async fn locks_above_the_bound_are_forgotten_and_more_is_refused(bench: &Bench) {
    // Four are remembered.
    for token in 1..=6 {
        set(bench, "v", &format!("l{token}"), token).await.unwrap();
    }
    // The two with the lowest tokens are not: they, and locks never seen, need at least the higher of these.
    for lock in ["l1", "never"] {
        assert_stale(&set(bench, "late", lock, 1).await.unwrap_err(), 2);
    }
    assert_stale(&set(bench, "late", "l3", 2).await.unwrap_err(), 3);
    set(bench, "v", "l2", 2).await.unwrap();
    set(bench, "v", "never", 7).await.unwrap();
}

pub async fn a_namespace_with_tokens_is_not_dropped(bench: &Bench) {
    let full = bench.beside("fenced");
    set(&full, "v", "a", 7).await.unwrap();
    full.delete("k").await;
    // Four are the bound; of those that keep nothing one makes room.
    for number in 0..8 {
        let there = bench.beside(&format!("n{number}"));
        there.set("k", "v").await;
        there.delete("k").await;
    }
    assert_stale(&set(&full, "late", "a", 6).await.unwrap_err(), 7);
}
