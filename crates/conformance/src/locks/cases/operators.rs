//! What an operator may do to a lock.

use crate::locks::prelude::*;

pub async fn a_forced_release_ends_the_lease_and_tells_its_session(bench: &Bench) {
    let mut session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    let grant = bench.all(&["a", "b"]).of(&session).granted().await;
    let next = bench.lock("b").wait(HOUR).start();
    bench.until_waiting("b", 1).await;
    let token = grant.locks[0].token;
    assert_eq!(bench.force("a", token, None).await, Ok(1));
    assert!(next.granted().await.locks[0].token > token);
    let SessionNews::Lost { lease, reason } = session.news().await else {
        panic!("must be lost");
    };
    assert_eq!(lease, grant.lease);
    assert!(reason.message().contains("ops") && reason.message().contains("it hangs"));
    assert_eq!(code(bench.release(grant.lease).await), ErrorCode::LeaseLost);
    // The session goes on.
    bench.lock("c").of(&session).granted().await;
}

pub async fn a_forced_release_under_another_token_does_nothing(bench: &Bench) {
    let old = bench.lock("a").granted().await;
    bench.release(old.lease).await.unwrap();
    let forced = bench.force("a", old.locks[0].token, None).await;
    assert_eq!(code(forced), ErrorCode::TokenMismatch);
    bench.lock("a").granted().await;
    let forced = bench.force("a", old.locks[0].token, None).await;
    assert_eq!(code(forced), ErrorCode::TokenMismatch);
    bench.lock("a").held().await;
}

pub async fn a_forced_release_ends_all_that_share_the_lock(bench: &Bench) {
    let first = bench.lock("a*").granted().await;
    bench.lock("a*").granted().await;
    assert_eq!(bench.force("a", first.locks[0].token, None).await, Ok(2));
    bench.lock("a").granted().await;
}
