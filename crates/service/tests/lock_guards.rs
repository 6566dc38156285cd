//! The client's guards against the locks service, over connections that the tests cut.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use futures::StreamExt as _;
use std::time::Duration;
use support::serve;
use tokio::time::Instant;
use trellis_client::{Client, LockGuard, Locked, Locks, LostReason, Ran};
use trellis_conformance::grpc::{Cut, PipeServer};
use trellis_conformance::spawn;

const TTL: Duration = Duration::from_secs(3);

/// A process of its own: a connection and a session that nobody shares.
fn process(server: &PipeServer, owner: &str) -> (Locks, Cut) {
    let (channel, cut) = server.channel();
    let locks = Client::from_channel(channel).locks();
    (locks.ttl(TTL).owner(owner), cut)
}

async fn take(locks: &Locks, name: &str) -> LockGuard {
    locks.lock(name).acquire().await.unwrap().granted().unwrap()
}

async fn is_free(locks: &Locks, name: &str) -> bool {
    locks.inspect(name).await.unwrap().holders.is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_renewed_for_as_long_as_it_is_held() {
    let server = serve();
    let (locks, _) = process(&server, "a");
    let guard = take(&locks, "job").await;
    assert!(guard.token() > 0);
    for _ in 0..20 {
        tokio::time::advance(TTL / 2).await;
        // A look takes a round trip, in which the renewal that is due arrives.
        assert!(!is_free(&locks, "job").await);
        assert!(guard.is_valid());
    }
    guard.release().await.unwrap();
    assert!(is_free(&locks, "job").await);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_lets_the_next_one_in() {
    let server = serve();
    let ((first, _), (second, _)) = (process(&server, "a"), process(&server, "b"));
    let guard = take(&first, "job").await;
    let refused = second.lock("job").try_acquire().await.unwrap();
    assert!(
        matches!(refused, Locked::Refused { position: 1, .. }),
        "{refused:?}"
    );
    let token = guard.token();
    let next = spawn(async move { take(&second, "job").await.token() });
    drop(guard);
    assert!(next.await.unwrap() > token);
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_is_made_again_and_the_guard_stays_valid() {
    let server = serve();
    let (locks, cut) = process(&server, "a");
    let guard = take(&locks, "job").await;
    for _ in 0..5 {
        cut.cut();
        let state = loop {
            // The cut connection fails the looks that are under way.
            tokio::time::advance(Duration::from_millis(50)).await;
            if let Ok(state) = locks.inspect("job").await {
                break state;
            }
        };
        assert_eq!(state.holders[0].token, guard.token());
        tokio::time::advance(TTL / 2).await;
        let _ = locks.inspect("job").await;
    }
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_cannot_be_renewed_ends_before_anybody_else_is_let_in() {
    let server = serve();
    let ((cut_off, cut), (others, _)) = (process(&server, "a"), process(&server, "b"));
    let guard = take(&cut_off, "job").await;
    cut.cut_for_good();
    let held = Instant::now();
    let waiting = spawn(async move {
        let next = take(&others, "job").await;
        (Instant::now(), next.token())
    });
    let reason = guard.lost().await;
    let lost = held.elapsed();
    assert_eq!(reason, LostReason::Expired);
    assert!(!guard.is_valid() && guard.remaining().is_zero());
    let (granted, token) = waiting.await.unwrap();
    assert!(lost < granted - held, "{lost:?} {:?}", granted - held);
    assert!(token > guard.token());
    assert!(guard.release().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_taken_by_force_is_lost_at_once_with_the_reason() {
    let server = serve();
    let ((locks, _), (operator, _)) = (process(&server, "a"), process(&server, "b"));
    let guard = take(&locks, "job").await;
    let other = take(&locks, "other").await;
    let forced = operator
        .force_release("job", guard.token(), "ops", "it hangs")
        .await;
    assert_eq!(forced.unwrap(), 1);
    let LostReason::Forced(why) = guard.lost().await else {
        panic!("must be forced");
    };
    assert!(why.contains("ops") && why.contains("it hangs"), "{why}");
    assert!(!guard.is_valid() && other.is_valid());
    assert!(!operator.check_token("job", guard.token()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn work_is_cancelled_when_its_lock_is_lost() {
    let server = serve();
    let ((locks, _), (operator, _)) = (process(&server, "a"), process(&server, "b"));
    let done = locks
        .with_lock("job", async |guard| guard.token())
        .await
        .unwrap();
    assert!(matches!(done, Ran::Done(token) if token > 0), "{done:?}");
    assert!(is_free(&locks, "job").await);
    let (started, begun) = tokio::sync::oneshot::channel();
    let work = spawn(async move {
        let work = async |guard: &LockGuard| {
            started.send(guard.token()).unwrap();
            std::future::pending::<()>().await;
        };
        locks.with_lock("job", work).await.unwrap()
    });
    let token = begun.await.unwrap();
    operator
        .force_release("job", token, "ops", "it hangs")
        .await
        .unwrap();
    let ended = work.await.unwrap();
    assert!(
        matches!(ended, Ran::Lost(LostReason::Forced(_))),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_is_given_up_leaves_the_line() {
    let server = serve();
    let ((first, _), (second, _)) = (process(&server, "a"), process(&server, "b"));
    let guard = take(&first, "job").await;
    let waits = second.lock("job");
    let given_up = tokio::time::timeout(Duration::from_millis(500), waits.acquire()).await;
    assert!(given_up.is_err());
    // A later one of the same session is answered after the cancel.
    let refused = second.lock("job").try_acquire().await.unwrap();
    assert!(
        matches!(refused, Locked::Refused { position: 1, .. }),
        "{refused:?}"
    );
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_closed_with_its_last_handle_and_guard() {
    let server = serve();
    let ((first, _), (second, _)) = (process(&server, "a"), process(&server, "b"));
    let guards = [take(&first, "a").await, take(&first, "b").await];
    drop(first);
    assert!(!is_free(&second, "a").await);
    let began = Instant::now();
    drop(guards);
    let both = second.lock("a").and("b").acquire().await.unwrap();
    assert_eq!(both.granted().unwrap().locks().len(), 2);
    assert!(began.elapsed() < Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn an_election_is_observed_from_leader_to_leader() {
    let server = serve();
    let ((first, _), (second, _)) = (process(&server, "a"), process(&server, "b"));
    let election = first.election("leader");
    let mut observer = second.election("leader").observe().await.unwrap();
    assert_eq!(observer.next().await.unwrap().unwrap(), None);
    let guard = election
        .campaign("10.0.0.1")
        .await
        .unwrap()
        .granted()
        .unwrap();
    let leader = observer.next().await.unwrap().unwrap().unwrap();
    assert_eq!((&leader.value[..], &*leader.owner), (&b"10.0.0.1"[..], "a"));
    assert_eq!(leader.token, guard.token());
    let next = spawn(async move { second.election("leader").campaign("10.0.0.2").await });
    drop(guard);
    let next = next.await.unwrap().unwrap().granted().unwrap();
    loop {
        match observer.next().await.unwrap().unwrap() {
            Some(leader) if leader.token == next.token() => break,
            _ => {}
        }
    }
    assert_eq!(election.leader().await.unwrap().unwrap().value, b"10.0.0.2");
}
