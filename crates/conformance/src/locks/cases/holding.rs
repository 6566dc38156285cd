//! Who may hold a lock, and under which token.

use crate::locks::prelude::*;

pub async fn a_free_lock_is_granted_with_a_token_and_its_time(bench: &Bench) {
    let grant = bench.lock("a").ttl(SECOND).granted().await;
    assert_eq!(grant.locks.len(), 1);
    assert_eq!(
        (grant.locks[0].name.as_str(), grant.locks[0].mode),
        ("a", LockMode::Exclusive)
    );
    assert!(grant.locks[0].token > Token::NONE);
    bench.assert_left(grant.remaining, SECOND);
}

pub async fn a_held_lock_is_refused_with_the_time_and_the_place(bench: &Bench) {
    bench.lock("a").ttl(SECOND).granted().await;
    let (retry_after, position) = bench.lock("a").held().await;
    bench.assert_left(retry_after, SECOND);
    assert_eq!(position, 1);
    let _waiting = bench.lock("a").wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    assert_eq!(bench.lock("a").held().await.1, 2);
}

pub async fn shared_holds_go_together_and_keep_others_out(bench: &Bench) {
    let first = bench.lock("a*").granted().await;
    let second = bench.lock("a*").granted().await;
    bench.lock("a").held().await;
    bench.release(first.lease).await.unwrap();
    bench.lock("a").held().await;
    bench.release(second.lease).await.unwrap();
    bench.lock("a").granted().await;
    bench.lock("a*").held().await;
}

pub async fn shared_holders_have_one_token_and_the_next_writer_a_higher_one(bench: &Bench) {
    let writer = bench.lock("a").granted().await;
    bench.release(writer.lease).await.unwrap();
    let first = bench.lock("a*").granted().await;
    // A grant of another lock in between changes nothing.
    let other = bench.lock("b").granted().await;
    let second = bench.lock("a*").granted().await;
    assert!(first.locks[0].token > writer.locks[0].token);
    assert_eq!(first.locks[0].token, second.locks[0].token);
    bench.release(first.lease).await.unwrap();
    bench.release(second.lease).await.unwrap();
    let writer = bench.lock("a").granted().await;
    assert!(writer.locks[0].token > other.locks[0].token);
}

pub async fn several_locks_are_taken_all_or_none(bench: &Bench) {
    let b = bench.lock("b").granted().await;
    bench.all(&["c", "a", "b"]).held().await;
    for free in ["a", "c"] {
        assert_eq!(bench.inspect(free).await.holder_count, 0);
    }
    bench.release(b.lease).await.unwrap();
    let grant = bench.all(&["c", "a", "b*"]).granted().await;
    let names: Vec<&str> = grant.locks.iter().map(|lock| lock.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(grant.locks[1].mode, LockMode::Shared);
    bench.lock("c").held().await;
    bench.lock("b*").granted().await;
}

pub async fn one_release_frees_all_locks_of_a_lease(bench: &Bench) {
    let grant = bench.all(&["a", "b"]).granted().await;
    bench.release(grant.lease).await.unwrap();
    bench.all(&["a", "b"]).granted().await;
}

pub async fn tokens_rise_with_every_grant_however_the_last_one_ended(bench: &Bench) {
    let mut last = Token::NONE;
    for end in 0..4 {
        let grant = bench.lock("a").ttl(ms(400)).granted().await;
        let token = grant.locks[0].token;
        assert!(token > last, "{token:?} after {last:?}");
        last = token;
        match end {
            0 => bench.release(grant.lease).await.unwrap(),
            1 => {
                bench.elapse(ms(400)).await;
                bench.elapse_until_late().await;
            }
            _ => assert_eq!(bench.force("a", token, None).await, Ok(1)),
        }
    }
}

pub async fn namespaces_do_not_see_each_other(bench: &Bench) {
    let here = bench.lock("a").granted().await;
    let beside = bench.beside("2");
    beside.lock("a").granted().await;
    assert_eq!(
        code(beside.release(here.lease).await),
        ErrorCode::LeaseNotFound
    );
    bench.lock("a").held().await;
}
