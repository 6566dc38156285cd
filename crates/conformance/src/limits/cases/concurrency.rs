//! Slots: held from the grant to the settle or the end of the reservation.

use crate::limits::prelude::*;

pub async fn slots_are_held_until_they_are_settled(bench: &Bench) {
    bench.declare("slots", slots(2)).await;
    let first = bench.take("slots", 1).reserve(HOUR).granted().await;
    bench.take("slots", 1).reserve(HOUR).granted().await;
    assert_eq!(bench.remaining("slots").await, 0);
    bench.elapse(SECOND).await;
    bench.take("slots", 1).denied().await;
    let settled = bench.settle(first.id(), []).await.unwrap();
    assert_eq!(settled.charges[0].refunded, 1);
    assert_eq!(settled.charges[0].remaining, 1);
    bench.take("slots", 1).reserve(HOUR).granted().await;
    bench.take("slots", 1).denied().await;
}

pub async fn slots_are_freed_when_their_reservation_ends(bench: &Bench) {
    bench.declare("slots", slots(2)).await;
    bench.take("slots", 2).reserve(ms(500)).granted().await;
    bench.elapse_almost(ms(500)).await;
    assert_eq!(bench.remaining("slots").await, 0);
    bench.elapse_the_rest().await;
    bench.elapse(bench.tolerance()).await;
    assert_eq!(bench.remaining("slots").await, 2);
    bench.take("slots", 2).granted().await;
}

pub async fn slots_are_held_for_the_default_time_when_none_is_asked_for(bench: &Bench) {
    let default = Settings::default().machine.default_reservation_ttl;
    bench.declare("slots", slots(1)).await;
    let grant = bench.take("slots", 1).granted().await;
    bench.assert_told(grant.ttl(), default);
    bench.assert_told(bench.take("slots", 1).denied().await, default);
}

pub async fn a_settle_frees_slots_whatever_amount_it_names(bench: &Bench) {
    bench.declare("slots", slots(5)).await;
    let grant = bench.take("slots", 3).granted().await;
    let settled = bench.settle(grant.id(), [used("slots", 3)]).await.unwrap();
    assert_eq!(settled.charges[0].remaining, 5);
    let grant = bench.take("slots", 3).granted().await;
    bench.settle(grant.id(), [used("slots", 4)]).await.unwrap();
    assert_eq!(bench.remaining("slots").await, 5);
}

pub async fn freed_slots_serve_a_waiting_call_at_once(bench: &Bench) {
    bench.declare("slots", slots(1)).await;
    let holder = bench.take("slots", 1).reserve(HOUR).granted().await;
    let waiting = bench.take("slots", 1).wait(HOUR).start();
    bench.until_waiting("slots", 1).await;
    bench.elapse(ms(300)).await;
    assert_eq!(bench.peek("slots").await.waiters, 1);
    let settled = Instant::now();
    bench.settle(holder.id(), []).await.unwrap();
    let (_, granted) = waiting.granted().await;
    bench.assert_took(settled, granted, Micros::ZERO);
}

pub async fn expired_slots_serve_a_waiting_call(bench: &Bench) {
    bench.declare("slots", slots(1)).await;
    bench.take("slots", 1).reserve(ms(400)).granted().await;
    let held = Instant::now();
    let (_, granted) = bench.take("slots", 1).wait(HOUR).start().granted().await;
    bench.assert_took(held, granted, ms(400));
}

pub async fn an_extension_keeps_slots_for_longer(bench: &Bench) {
    bench.declare("slots", slots(1)).await;
    let holder = bench.take("slots", 1).reserve(ms(500)).granted().await;
    bench.elapse(ms(200)).await;
    bench.extend(holder.id(), ms(900)).send().await.unwrap();
    bench.elapse(ms(600)).await;
    bench.assert_told(bench.take("slots", 1).denied().await, ms(300));
    bench.elapse(ms(300)).await;
    bench.elapse(bench.tolerance()).await;
    bench.take("slots", 1).granted().await;
}
