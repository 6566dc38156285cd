//! How a lease lives and ends.

use crate::locks::prelude::*;
use trellis_core::locks::LeaseId;

pub async fn a_lease_stands_to_its_deadline_and_not_longer(bench: &Bench) {
    bench.lock("a").ttl(ms(500)).granted().await;
    bench.elapse_almost(ms(500)).await;
    bench.lock("a").held().await;
    bench.elapse_until_late().await;
    bench.lock("a").granted().await;
}

pub async fn a_lease_that_is_kept_alive_stands(bench: &Bench) {
    let grant = bench.lock("a").ttl(ms(500)).granted().await;
    for _ in 0..4 {
        bench.elapse(ms(300)).await;
        let remaining = bench.keep_alive(grant.lease).await.unwrap();
        bench.assert_left(remaining, ms(500));
    }
    bench.elapse_almost(ms(500)).await;
    bench.lock("a").held().await;
    bench.elapse_until_late().await;
    bench.lock("a").granted().await;
}

pub async fn a_release_may_be_repeated_and_ends_nobody_elses_lease(bench: &Bench) {
    let first = bench.lock("a").granted().await;
    bench.release(first.lease).await.unwrap();
    bench.lock("a").granted().await;
    bench.release(first.lease).await.unwrap();
    bench.lock("a").held().await;
}

pub async fn a_released_lease_is_not_kept_alive(bench: &Bench) {
    let grant = bench.lock("a").granted().await;
    bench.release(grant.lease).await.unwrap();
    assert_eq!(
        code(bench.keep_alive(grant.lease).await),
        ErrorCode::LeaseLost
    );
    bench.lock("a").granted().await;
}

pub async fn a_lease_that_has_expired_is_lost_and_its_holder_changes_nothing(bench: &Bench) {
    let late = bench.lock("a").ttl(ms(300)).granted().await;
    bench.elapse(ms(300)).await;
    bench.elapse_until_late().await;
    let holder = bench.lock("a").granted().await;
    assert_eq!(
        code(bench.keep_alive(late.lease).await),
        ErrorCode::LeaseLost
    );
    assert_eq!(code(bench.release(late.lease).await), ErrorCode::LeaseLost);
    bench.lock("a").held().await;
    let state = bench.inspect("a").await;
    assert_eq!(state.holders[0].token, holder.locks[0].token);
}

pub async fn a_lease_that_nobody_made_is_not_found(bench: &Bench) {
    let nobodys = LeaseId::parse("7f-00000000000000000000000000000001", "lease_id").unwrap();
    assert_eq!(
        code(bench.keep_alive(nobodys).await),
        ErrorCode::LeaseNotFound
    );
    assert_eq!(code(bench.release(nobodys).await), ErrorCode::LeaseNotFound);
}

pub async fn a_lease_with_another_secret_is_not_found(bench: &Bench) {
    let grant = bench.lock("a").granted().await;
    let text = grant.lease.reveal();
    let last = if text.ends_with('0') { '1' } else { '0' };
    let guessed = format!("{}{last}", &text[..text.len() - 1]);
    let guessed = LeaseId::parse(&guessed, "lease_id").unwrap();
    assert_eq!(code(bench.release(guessed).await), ErrorCode::LeaseNotFound);
    assert_eq!(
        code(bench.keep_alive(guessed).await),
        ErrorCode::LeaseNotFound
    );
    bench.lock("a").held().await;
}

pub async fn an_ended_lease_is_forgotten_after_the_window(bench: &Bench) {
    let grant = bench.lock("a").granted().await;
    bench.release(grant.lease).await.unwrap();
    bench
        .elapse(Settings::default().machine.request_window)
        .await;
    bench.elapse_until_late().await;
    assert_eq!(
        code(bench.release(grant.lease).await),
        ErrorCode::LeaseNotFound
    );
}
