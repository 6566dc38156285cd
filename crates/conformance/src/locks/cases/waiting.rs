//! The line: who is let in when.

use crate::locks::prelude::*;

/// Puts calls in line, one after the other.
async fn line(bench: &Bench, lock: &str, wanted: &[&str]) -> Vec<Waiting> {
    let before = bench.inspect(lock).await.waiter_count;
    let mut line = Vec::new();
    for (place, wanted) in (before + 1..).zip(wanted) {
        line.push(bench.lock(wanted).wait(HOUR).start());
        bench.until_waiting(lock, place).await;
    }
    line
}

pub async fn the_first_to_come_is_the_first_to_be_let_in(bench: &Bench) {
    let mut holder = bench.lock("a").granted().await;
    let line = line(bench, "a", &["a"; 8]).await;
    for (waiting, left) in line.into_iter().zip((0..8).rev()) {
        let released = Instant::now();
        bench.release(holder.lease).await.unwrap();
        let grant = waiting.granted().await;
        bench.assert_took(released, Instant::now(), Micros::ZERO);
        assert!(grant.locks[0].token > holder.locks[0].token);
        assert_eq!(bench.inspect("a").await.waiter_count, left);
        holder = grant;
    }
}

pub async fn a_try_never_passes_a_waiting_call(bench: &Bench) {
    let holder = bench.lock("b").granted().await;
    let both = bench.all(&["a", "b"]).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    // Nobody holds it, but the call ahead wants it.
    bench.lock("a").held().await;
    bench.release(holder.lease).await.unwrap();
    both.granted().await;
}

pub async fn readers_do_not_pass_a_waiting_writer(bench: &Bench) {
    let reader = bench.lock("a*").granted().await;
    let line = line(bench, "a", &["a", "a*"]).await;
    bench.lock("a*").held().await;
    let mut line = line.into_iter();
    bench.release(reader.lease).await.unwrap();
    let writer = line.next().unwrap().granted().await;
    assert_eq!(bench.inspect("a").await.waiter_count, 1);
    bench.release(writer.lease).await.unwrap();
    line.next().unwrap().granted().await;
}

pub async fn readers_behind_a_writer_come_in_together(bench: &Bench) {
    let writer = bench.lock("a").granted().await;
    let line = line(bench, "a", &["a*", "a*", "a*", "a", "a*"]).await;
    bench.release(writer.lease).await.unwrap();
    let mut line = line.into_iter();
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(line.next().unwrap().granted().await);
    }
    let state = bench.inspect("a").await;
    assert_eq!((state.holder_count, state.waiter_count), (3, 2));
    for reader in readers {
        bench.release(reader.lease).await.unwrap();
    }
    line.next().unwrap().granted().await;
    assert_eq!(bench.inspect("a").await.waiter_count, 1);
}

pub async fn a_writer_is_not_starved_by_readers_that_keep_coming(bench: &Bench) {
    let mut reader = bench.lock("a*").granted().await;
    let writer = line(bench, "a", &["a"]).await.pop().unwrap();
    let mut readers = Vec::new();
    for place in 2..10 {
        readers.push(bench.lock("a*").wait(HOUR).start());
        bench.until_waiting("a", place).await;
    }
    bench.release(reader.lease).await.unwrap();
    reader = writer.granted().await;
    assert_eq!(bench.inspect("a").await.waiter_count, 8);
    bench.release(reader.lease).await.unwrap();
    for reader in readers {
        reader.granted().await;
    }
}

pub async fn a_reader_is_not_starved_by_writers_that_keep_coming(bench: &Bench) {
    let writer = bench.lock("a").granted().await;
    let mut line = line(bench, "a", &["a", "a*", "a", "a"]).await.into_iter();
    bench.release(writer.lease).await.unwrap();
    let writer = line.next().unwrap().granted().await;
    bench.release(writer.lease).await.unwrap();
    let reader = line.next().unwrap().granted().await;
    assert_eq!(reader.locks[0].mode, LockMode::Shared);
    assert_eq!(bench.inspect("a").await.waiter_count, 2);
}

pub async fn a_call_for_several_locks_waits_for_all_and_holds_none(bench: &Bench) {
    let a = bench.lock("a").granted().await;
    let b = bench.lock("b").granted().await;
    let both = bench.all(&["a", "b"]).wait(HOUR).start();
    bench.until_waiting("b", 1).await;
    bench.release(a.lease).await.unwrap();
    assert_eq!(bench.inspect("a").await.holder_count, 0);
    bench.release(b.lease).await.unwrap();
    let grant = both.granted().await;
    assert_eq!(grant.locks.len(), 2);
}

pub async fn calls_that_want_the_same_locks_crosswise_do_not_block_each_other(bench: &Bench) {
    let a = bench.lock("a").granted().await;
    let b = bench.lock("b").granted().await;
    let first = bench.all(&["a", "b"]).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    let second = bench.all(&["b", "a"]).wait(HOUR).start();
    bench.until_waiting("a", 2).await;
    bench.release(b.lease).await.unwrap();
    bench.release(a.lease).await.unwrap();
    let first = first.granted().await;
    bench.release(first.lease).await.unwrap();
    second.granted().await;
}

pub async fn a_wait_ends_at_its_time_with_its_place(bench: &Bench) {
    bench.lock("a").ttl(ms(3_000)).granted().await;
    let ahead = line(bench, "a", &["a"]).await.pop().unwrap();
    let asked = Instant::now();
    let (retry_after, position) = bench.lock("a").wait(ms(500)).timed_out().await;
    bench.assert_took(asked, Instant::now(), ms(500));
    assert_eq!(position, 2);
    bench.assert_left(retry_after, ms(2_500));
    assert_eq!(bench.inspect("a").await.waiter_count, 1);
    ahead.cancel().await;
}

pub async fn a_wait_of_no_time_ends_at_once(bench: &Bench) {
    bench.lock("a").ttl(SECOND).granted().await;
    let asked = Instant::now();
    let (retry_after, position) = bench.lock("a").wait(Micros::ZERO).timed_out().await;
    bench.assert_took(asked, Instant::now(), Micros::ZERO);
    assert_eq!(position, 1);
    bench.assert_left(retry_after, SECOND);
    assert_eq!(bench.inspect("a").await.waiter_count, 0);
}

pub async fn a_wait_in_vain_lets_those_behind_it_in(bench: &Bench) {
    bench.lock("b").granted().await;
    let both = bench.all(&["a", "b"]).wait(ms(300)).start();
    bench.until_waiting("a", 1).await;
    let asked = Instant::now();
    let behind = bench.lock("a").wait(HOUR).start();
    behind.granted().await;
    bench.assert_took(asked, Instant::now(), ms(300));
    let ended = both.ended().await.unwrap().outcome;
    assert!(matches!(ended, LockOutcome::TimedOut { .. }), "{ended:?}");
}

pub async fn a_cancelled_wait_leaves_no_trace(bench: &Bench) {
    let holder = bench.lock("a").granted().await;
    let waiting = bench.lock("a").wait(HOUR).id("r").start();
    bench.until_waiting("a", 1).await;
    waiting.cancel().await;
    bench.until_waiting("a", 0).await;
    bench.release(holder.lease).await.unwrap();
    // The id is free for another body.
    bench
        .lock("a")
        .ttl(SECOND)
        .wait(HOUR)
        .id("r")
        .granted()
        .await;
}

pub async fn a_cancelled_wait_lets_those_behind_it_in_at_once(bench: &Bench) {
    bench.lock("b").granted().await;
    let both = bench.all(&["a", "b"]).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    let behind = bench.lock("a").wait(HOUR).start();
    bench.until_waiting("a", 2).await;
    let cancelled = Instant::now();
    both.cancel().await;
    behind.granted().await;
    bench.assert_took(cancelled, Instant::now(), Micros::ZERO);
}

pub async fn a_grant_that_nobody_received_does_not_outlive_its_lease(bench: &Bench) {
    let holder = bench.lock("a").granted().await;
    let waiting = bench.lock("a").ttl(ms(400)).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    bench.release(holder.lease).await.unwrap();
    waiting.abandon();
    bench.elapse(ms(400)).await;
    bench.elapse_until_late().await;
    bench.lock("a").granted().await;
}

pub async fn the_next_in_line_is_let_in_when_the_holder_goes_silent(bench: &Bench) {
    let started = Instant::now();
    let silent = bench.lock("a").ttl(ms(700)).granted().await;
    let next = bench.lock("a").wait(HOUR).start().granted().await;
    bench.assert_took(started, Instant::now(), ms(700));
    assert!(next.locks[0].token > silent.locks[0].token);
}
