//! The line: who is served when, and what waiting costs.

use super::fairness::spent;
use crate::limits::prelude::*;
use trellis_core::limits::LimitSpec;

pub async fn a_call_that_fits_does_not_wait(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    let asked = Instant::now();
    bench.take("tokens", 10).wait(HOUR).granted().await;
    bench.assert_took(asked, Instant::now(), Micros::ZERO);
}

pub async fn a_waiting_call_is_granted_when_its_charge_fits(bench: &Bench) {
    bench.declare("tokens", rate(10, SECOND, 10)).await;
    bench.take("tokens", 10).granted().await;
    let emptied = Instant::now();
    let (_, granted) = bench.take("tokens", 6).wait(HOUR).start().granted().await;
    bench.assert_took(emptied, granted, ms(600));
}

pub async fn nothing_is_charged_while_a_call_waits(bench: &Bench) {
    bench.declare("blocked", window(1, HOUR)).await;
    bench.declare("open", window(10, HOUR)).await;
    bench.take("blocked", 1).granted().await;
    let both = [charge("open", 4), charge("blocked", 1)];
    let _waiting = bench.ask(both).wait(HOUR).start();
    bench.until_waiting("blocked", 1).await;
    assert_eq!(bench.remaining("open").await, 10);
    assert_eq!(bench.remaining("blocked").await, 0);
}

pub async fn a_call_that_waits_in_vain_is_told_its_position(bench: &Bench) {
    let bench = &bench.on_one_daemon();
    bench
        .declare("tokens", window(1, Micros::from_secs(2)))
        .await;
    bench.take("tokens", 1).granted().await;
    let _ahead = bench.take("tokens", 1).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    let asked = Instant::now();
    let (retry_after, position) = bench.take("tokens", 1).wait(ms(500)).timed_out().await;
    bench.assert_took(asked, Instant::now(), ms(500));
    assert_eq!(position, 2);
    // The call ahead takes the unit that comes back 2 s after the first, and gives it back 2 s later.
    bench.assert_left(retry_after, ms(3_500));
    assert_eq!(bench.peek("tokens").await.waiters, 1);
}

pub async fn a_wait_of_no_time_ends_at_once(bench: &Bench) {
    bench.declare("tokens", window(1, ms(700))).await;
    bench.take("tokens", 1).granted().await;
    let asked = Instant::now();
    let (retry_after, position) = bench.take("tokens", 1).wait(Micros::ZERO).timed_out().await;
    bench.assert_took(asked, Instant::now(), Micros::ZERO);
    assert_eq!(position, 1);
    bench.assert_left(retry_after, ms(700));
    assert_eq!(bench.peek("tokens").await.waiters, 0);
}

/// Puts a limit of which nothing comes back, so that a line could be made in peace, under one of which units do.
async fn refill_from_now(bench: &Bench, limit: LimitSpec) -> Instant {
    bench.declare("tokens", limit).await;
    Instant::now()
}

pub async fn the_first_to_come_is_the_first_to_be_served(bench: &Bench) {
    let bench = &spent(bench, 1).await;
    let mut line = Vec::new();
    for place in 1..=5 {
        line.push(bench.take("tokens", 1).wait(HOUR).start());
        bench.until_waiting("tokens", place).await;
    }
    let refills = refill_from_now(bench, rate(10, SECOND, 1)).await;
    for (place, waiting) in (1..).zip(line) {
        let (_, granted) = waiting.granted().await;
        bench.assert_took(refills, granted, ms(100 * place));
    }
}

pub async fn a_try_never_passes_a_waiting_call(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 5).granted().await;
    let waiting = bench.take("tokens", 6).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    assert_eq!(bench.remaining("tokens").await, 5);
    bench.take("tokens", 1).denied().await;
    waiting.cancel().await;
    bench.until_waiting("tokens", 0).await;
    bench.take("tokens", 1).granted().await;
}

pub async fn a_large_call_is_not_starved_by_small_ones(bench: &Bench) {
    let bench = &spent(bench, 20).await;
    let large = bench.take("tokens", 20).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    let mut small = Vec::new();
    for place in 2..=9 {
        small.push(bench.take("tokens", 1).wait(HOUR).start());
        bench.until_waiting("tokens", place).await;
    }
    let refills = refill_from_now(bench, rate(20, SECOND, 20)).await;
    bench.elapse(ms(500)).await;
    // Units enough for all small ones are there, and they are the large one's.
    bench.take("tokens", 1).denied().await;
    let (_, granted) = large.granted().await;
    bench.assert_took(refills, granted, SECOND);
    for (place, waiting) in (1..).zip(small) {
        let (_, granted) = waiting.granted().await;
        bench.assert_took(refills, granted, ms(1_000 + 50 * place));
    }
}

pub async fn a_waiting_call_holds_its_other_limits_only_after_a_while(bench: &Bench) {
    bench.declare("short", slots(1)).await;
    bench.declare("other", window(10, HOUR)).await;
    let holder = bench.take("short", 1).reserve(HOUR).granted().await;
    let both = [charge("short", 1), charge("other", 5)];
    let waiting = bench.ask(both).wait(HOUR).start();
    bench.until_waiting("short", 1).await;
    bench.take("other", 1).granted().await;
    bench.elapse(Settings::default().machine.hold_after).await;
    bench.elapse(bench.tolerance()).await;
    bench.take("other", 1).denied().await;
    bench.settle(holder.id(), []).await.unwrap();
    let (grant, _) = waiting.granted().await;
    assert_eq!(grant.charges[1].remaining, 4);
    bench.take("other", 1).granted().await;
}

pub async fn calls_that_want_the_same_limits_crosswise_do_not_block_each_other(bench: &Bench) {
    bench.declare("a", slots(1)).await;
    bench.declare("b", slots(1)).await;
    let holds_a = bench.take("a", 1).reserve(HOUR).granted().await;
    let holds_b = bench.take("b", 1).reserve(HOUR).granted().await;
    let first = bench.ask([charge("a", 1), charge("b", 1)]);
    let first = first.wait(HOUR).reserve(ms(300)).start();
    bench.until_waiting("a", 1).await;
    let second = bench.ask([charge("b", 1), charge("a", 1)]);
    let second = second.wait(HOUR).reserve(ms(300)).start();
    bench.until_waiting("a", 2).await;
    bench.elapse(Settings::default().machine.hold_after).await;
    bench.elapse(bench.tolerance()).await;
    bench.settle(holds_b.id(), []).await.unwrap();
    bench.settle(holds_a.id(), []).await.unwrap();
    let (_, first) = first.granted().await;
    let (_, second) = second.granted().await;
    let (first, second) = (first.min(second), first.max(second));
    bench.assert_took(first, second, ms(300));
}

pub async fn interactive_calls_are_served_before_batch_calls(bench: &Bench) {
    bench.declare("slots", slots(1)).await;
    let holder = bench.take("slots", 1).reserve(HOUR).granted().await;
    let batch = bench.take("slots", 1).batch().wait(HOUR).reserve(HOUR);
    let batch = batch.start();
    bench.until_waiting("slots", 1).await;
    let interactive = bench.take("slots", 1).wait(HOUR).reserve(HOUR).start();
    bench.until_waiting("slots", 2).await;
    bench.settle(holder.id(), []).await.unwrap();
    let (grant, _) = interactive.granted().await;
    assert_eq!(bench.peek("slots").await.waiters, 1);
    bench.settle(grant.id(), []).await.unwrap();
    batch.granted().await;
}

pub async fn a_cancelled_call_leaves_no_trace(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 8).granted().await;
    let waiting = bench.take("tokens", 5).wait(HOUR).request_id("r").start();
    bench.until_waiting("tokens", 1).await;
    waiting.cancel().await;
    bench.until_waiting("tokens", 0).await;
    assert_eq!(bench.remaining("tokens").await, 2);
    // Nobody is in the way, and the id is free for another body.
    bench.take("tokens", 2).request_id("r").granted().await;
}

pub async fn a_cancelled_call_lets_those_behind_it_pass_at_once(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 8).granted().await;
    let large = bench.take("tokens", 5).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    let small = bench.take("tokens", 2).wait(HOUR).start();
    bench.until_waiting("tokens", 2).await;
    let cancelled = Instant::now();
    large.cancel().await;
    let (_, granted) = small.granted().await;
    bench.assert_took(cancelled, granted, Micros::ZERO);
}

pub async fn a_grant_that_nobody_received_ends_with_its_reservation_at_the_latest(bench: &Bench) {
    bench.declare("slots", slots(1)).await;
    let holder = bench.take("slots", 1).reserve(HOUR).granted().await;
    let waiting = bench.take("slots", 1).wait(HOUR).reserve(ms(400)).start();
    bench.until_waiting("slots", 1).await;
    bench.settle(holder.id(), []).await.unwrap();
    waiting.cancel().await;
    bench.elapse(ms(400)).await;
    bench.elapse(bench.tolerance()).await;
    bench.take("slots", 1).granted().await;
}
