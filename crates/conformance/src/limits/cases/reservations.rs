//! Settling once, refunds, debt, extension, and what comes too late.

use crate::limits::prelude::*;

pub async fn a_settle_refunds_what_was_not_used(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    bench.declare("requests", rate(10, HOUR, 10)).await;
    let ask = bench.ask([charge("tokens", 60), charge("requests", 1)]);
    let grant = ask.reserve(HOUR).granted().await;
    assert_eq!(bench.remaining("tokens").await, 40);
    let settled = bench.settle(grant.id(), [used("tokens", 25)]).await;
    let settled = settled.unwrap().charges;
    let expected = [("tokens", 60, 25, 35, 75), ("requests", 1, 1, 0, 9)];
    assert_eq!(settled.len(), expected.len());
    for (charge, (limit, reserved, actual, refunded, remaining)) in settled.iter().zip(expected) {
        assert_eq!(charge.limit.as_str(), limit);
        let told = (charge.reserved, charge.actual, charge.refunded);
        assert_eq!(told, (reserved, actual, refunded), "{limit}");
        assert_eq!(charge.remaining, remaining, "{limit}");
        assert_eq!(bench.remaining(limit).await, remaining, "{limit}");
    }
}

pub async fn a_settle_adds_what_is_missing_as_debt(bench: &Bench) {
    bench.declare("tokens", rate(100, SECOND, 100)).await;
    let grant = bench.take("tokens", 90).reserve(HOUR).granted().await;
    let settled = bench.settle(grant.id(), [used("tokens", 150)]).await;
    let settled = &settled.unwrap().charges[0];
    assert_eq!((settled.actual, settled.refunded), (150, 0));
    assert!(settled.remaining < 0, "{settled:?}");
    // 50 units of debt and the unit itself: 510 ms.
    let told = bench.take("tokens", 1).denied().await;
    bench.assert_told(told, ms(510));
    bench.elapse_almost(told).await;
    bench.take("tokens", 1).denied().await;
    bench.elapse_the_rest().await;
    bench.take("tokens", 1).granted().await;
}

pub async fn a_refund_never_fills_above_the_capacity(bench: &Bench) {
    bench.declare("tokens", rate(100, SECOND, 10)).await;
    let grant = bench.take("tokens", 10).reserve(HOUR).granted().await;
    bench.elapse(ms(300)).await;
    assert_eq!(bench.remaining("tokens").await, 10);
    let settled = bench.refund(grant.id()).await.unwrap();
    assert_eq!(
        (settled.charges[0].refunded, settled.charges[0].remaining),
        (0, 10)
    );
    assert_eq!(bench.remaining("tokens").await, 10);
}

pub async fn a_refund_does_not_reach_into_another_window(bench: &Bench) {
    bench.declare("tokens", window(10, ms(500))).await;
    let grant = bench.take("tokens", 10).reserve(HOUR).granted().await;
    bench.elapse(ms(500)).await;
    bench.elapse(bench.tolerance()).await;
    bench.take("tokens", 4).granted().await;
    let settled = bench.refund(grant.id()).await.unwrap();
    assert_eq!(
        (settled.charges[0].refunded, settled.charges[0].remaining),
        (0, 6)
    );
    bench.take("tokens", 7).denied().await;
}

pub async fn a_full_refund_gives_every_charge_back(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    bench.declare("slots", slots(2)).await;
    let ask = bench.ask([charge("tokens", 60), charge("slots", 2)]);
    let grant = ask.granted().await;
    bench.refund(grant.id()).await.unwrap();
    assert_eq!(bench.remaining("tokens").await, 100);
    assert_eq!(bench.remaining("slots").await, 2);
}

pub async fn a_repeated_settle_gets_the_first_answer_and_refunds_once(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 60).reserve(HOUR).granted().await;
    let first = bench
        .settle(grant.id(), [used("tokens", 10)])
        .await
        .unwrap();
    let again = bench
        .settle(grant.id(), [used("tokens", 10)])
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(bench.remaining("tokens").await, 90);
}

pub async fn another_settle_of_a_settled_reservation_is_refused(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 60).reserve(HOUR).granted().await;
    bench
        .settle(grant.id(), [used("tokens", 10)])
        .await
        .unwrap();
    let other = bench.settle(grant.id(), [used("tokens", 20)]).await;
    assert_eq!(code(other), ErrorCode::ReservationSettled);
    assert_eq!(
        code(bench.refund(grant.id()).await),
        ErrorCode::ReservationSettled
    );
    let extended = bench.extend(grant.id(), HOUR).send().await;
    assert_eq!(code(extended), ErrorCode::ReservationSettled);
    assert_eq!(bench.remaining("tokens").await, 90);
}

pub async fn an_abandoned_reservation_keeps_its_charge(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    bench.take("tokens", 60).reserve(ms(300)).granted().await;
    bench.elapse(ms(300)).await;
    bench.elapse(bench.tolerance()).await;
    assert_eq!(bench.remaining("tokens").await, 40);
}

pub async fn after_its_end_a_reservation_may_only_add(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 60).reserve(ms(300)).granted().await;
    bench.elapse(ms(300)).await;
    bench.elapse(bench.tolerance()).await;
    let refund = bench.settle(grant.id(), [used("tokens", 10)]).await;
    assert_eq!(code(refund), ErrorCode::ReservationExpired);
    let extended = bench.extend(grant.id(), HOUR).send().await;
    assert_eq!(code(extended), ErrorCode::ReservationExpired);
    assert_eq!(bench.remaining("tokens").await, 40);
    bench
        .settle(grant.id(), [used("tokens", 75)])
        .await
        .unwrap();
    assert_eq!(bench.remaining("tokens").await, 25);
}

pub async fn a_reservation_is_forgotten_after_the_settle_window(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 60).reserve(ms(300)).granted().await;
    let window = Settings::default().machine.settle_window;
    bench
        .elapse(Micros(ms(300).0 + window.0 + bench.tolerance().0))
        .await;
    let late = bench.settle(grant.id(), [used("tokens", 75)]).await;
    assert_eq!(code(late), ErrorCode::ReservationNotFound);
    assert_eq!(bench.remaining("tokens").await, 40);
}

pub async fn an_unknown_reservation_is_an_error(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 60).reserve(HOUR).granted().await;
    let unknown = ReservationId::new("never-made").unwrap();
    assert_eq!(
        code(bench.refund(&unknown).await),
        ErrorCode::ReservationNotFound
    );
    let extended = bench.extend(&unknown, HOUR).send().await;
    assert_eq!(code(extended), ErrorCode::ReservationNotFound);
    let beside = bench.beside("other").refund(grant.id()).await;
    assert_eq!(code(beside), ErrorCode::ReservationNotFound);
    assert_eq!(bench.remaining("tokens").await, 40);
}

pub async fn a_settle_of_a_bucket_that_was_not_charged_is_refused_with_the_field(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 60).reserve(HOUR).granted().await;
    let actual = [used("tokens", 1), used("other", 1)];
    let error = bench.settle(grant.id(), actual).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidField);
    assert!(error.violation.unwrap().field.starts_with("actual[1]"));
    assert_eq!(bench.remaining("tokens").await, 40);
    bench.settle(grant.id(), [used("tokens", 1)]).await.unwrap();
}

pub async fn an_extension_renews_and_takes_further_charges(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 20).reserve(ms(400)).granted().await;
    bench.elapse(ms(200)).await;
    let extend = bench.extend(grant.id(), ms(800));
    let extended = extend.taking([charge("tokens", 30)]).send().await.unwrap();
    assert_eq!(remainders(&extended), [50]);
    let Outcome::Granted(Some(granted)) = extended.outcome else {
        panic!("should be granted, is {extended:?}");
    };
    assert_eq!(granted.id, *grant.id());
    bench.assert_told(granted.ttl, ms(800));
    bench.elapse(ms(600)).await;
    let settled = bench.settle(grant.id(), [used("tokens", 5)]).await.unwrap();
    assert_eq!(
        (settled.charges[0].reserved, settled.charges[0].refunded),
        (50, 45)
    );
    assert_eq!(bench.remaining("tokens").await, 95);
}

pub async fn an_extension_never_shortens(bench: &Bench) {
    bench.declare("slots", slots(1)).await;
    let grant = bench.take("slots", 1).reserve(ms(900)).granted().await;
    let extended = bench.extend(grant.id(), ms(100)).send().await.unwrap();
    let Outcome::Granted(Some(granted)) = extended.outcome else {
        panic!("should be granted, is {extended:?}");
    };
    bench.assert_told(granted.ttl, ms(900));
    bench.assert_told(bench.take("slots", 1).denied().await, ms(900));
}

pub async fn a_denied_extension_neither_renews_nor_charges(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    bench.declare("slots", slots(1)).await;
    let ask = bench.ask([charge("tokens", 90), charge("slots", 1)]);
    let grant = ask.reserve(ms(500)).granted().await;
    let extend = |amount| {
        bench
            .extend(grant.id(), HOUR)
            .taking([charge("tokens", amount)])
    };
    let denied = extend(11).send().await.unwrap();
    assert!(matches!(denied.outcome, Outcome::Denied(_)), "{denied:?}");
    let never = extend(101).send().await.unwrap();
    assert_eq!(never.outcome, Outcome::Never);
    assert_eq!(bench.remaining("tokens").await, 10);
    bench.assert_told(bench.take("slots", 1).denied().await, ms(500));
}

pub async fn a_reservation_outlives_one_of_its_limits(bench: &Bench) {
    bench.declare("gone", window(10, HOUR)).await;
    bench.declare("kept", window(10, HOUR)).await;
    let ask = bench.ask([charge("gone", 4), charge("kept", 4)]);
    let grant = ask.reserve(HOUR).granted().await;
    assert!(bench.delete("gone").await);
    let settled = bench.refund(grant.id()).await.unwrap();
    let names: Vec<_> = settled
        .charges
        .iter()
        .map(|charge| charge.limit.as_str())
        .collect();
    assert_eq!(names, ["gone", "kept"]);
    assert_eq!(bench.remaining("kept").await, 10);
}
