//! All or nothing, denied calls are free, no level above its capacity, exact times to retry.

use crate::limits::prelude::*;

pub async fn a_grant_takes_every_charge_and_tells_what_is_left(bench: &Bench) {
    bench.declare("requests", window(10, HOUR)).await;
    bench.declare("tokens", rate(100, HOUR, 100)).await;
    let grant = bench.ask([charge("requests", 1), charge("tokens", 60)]);
    let grant = grant.granted().await;
    assert_eq!(grant.reservation, None);
    let [requests, tokens] = &grant.charges[..] else {
        panic!("one state for each charge: {grant:?}");
    };
    assert_eq!((requests.remaining, tokens.remaining), (9, 40));
    assert_eq!(requests.spec, window(10, HOUR));
    assert_eq!(tokens.spec, rate(100, HOUR, 100));
    for state in [requests, tokens] {
        assert_eq!(state.source, SpecSource::SetLimit);
        assert!(!state.spec_replaced);
        assert_eq!(state.retry_after, None);
    }
}

pub async fn a_denied_call_is_not_charged(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 8).granted().await;
    let denied = bench.take("tokens", 3).acquired().await;
    assert!(matches!(denied.outcome, Outcome::Denied(_)), "{denied:?}");
    assert_eq!(denied.charges[0].remaining, 2);
    assert!(denied.charges[0].retry_after.is_some());
    assert_eq!(bench.remaining("tokens").await, 2);
    bench.take("tokens", 2).granted().await;
}

pub async fn one_denied_charge_leaves_all_others_untaken(bench: &Bench) {
    for limit in ["a", "b", "c"] {
        bench.declare(limit, window(10, HOUR)).await;
    }
    bench.declare("slots", slots(2)).await;
    bench.take("b", 10).granted().await;
    let charges = [
        charge("a", 4),
        charge("slots", 1),
        charge("b", 1),
        charge("c", 4),
    ];
    let denied = bench.ask(charges).acquired().await;
    assert!(matches!(denied.outcome, Outcome::Denied(_)), "{denied:?}");
    let blocked: Vec<_> = denied
        .charges
        .iter()
        .map(|state| state.retry_after.is_some())
        .collect();
    assert_eq!(blocked, [false, false, true, false]);
    for (limit, left) in [("a", 10), ("b", 0), ("c", 10), ("slots", 2)] {
        assert_eq!(bench.remaining(limit).await, left, "{limit}");
    }
}

pub async fn a_charge_above_the_capacity_is_never_granted(bench: &Bench) {
    bench.declare("other", window(10, HOUR)).await;
    for (limit, spec) in [
        ("rate", rate(100, SECOND, 5)),
        ("window", window(5, SECOND)),
        ("calendar", calendar(5, CalendarUnit::Month)),
        ("slots", slots(5)),
    ] {
        bench.declare(limit, spec).await;
        let ask = bench.ask([charge("other", 1), charge(limit, 6)]);
        for ask in [ask.clone(), ask.wait(HOUR)] {
            let never = ask.acquired().await;
            assert_eq!(never.outcome, Outcome::Never, "{limit}");
            assert_eq!(remainders(&never), [10, 5], "{limit}");
        }
        bench.take(limit, 5).granted().await;
    }
    assert_eq!(bench.remaining("other").await, 10);
}

pub async fn an_idle_rate_does_not_save_above_its_burst(bench: &Bench) {
    bench.declare("tokens", rate(50, SECOND, 5)).await;
    bench.take("tokens", 5).granted().await;
    bench.elapse(SECOND).await;
    assert_eq!(bench.remaining("tokens").await, 5);
    bench.take("tokens", 5).granted().await;
    bench.take("tokens", 3).denied().await;
}

pub async fn a_rate_never_admits_more_than_its_burst_and_its_refill(bench: &Bench) {
    let (amount, burst) = (40, 7);
    bench.declare("tokens", rate(amount, SECOND, burst)).await;
    let mut admitted: Vec<(Instant, Instant, i64)> = Vec::new();
    for step in 0..60_u32 {
        let (want, before) = (1 + i64::from(step % 5), Instant::now());
        let outcome = bench.take("tokens", want).acquired().await.outcome;
        if matches!(outcome, Outcome::Granted(_)) {
            admitted.push((before, Instant::now(), want));
        }
        bench.elapse(ms(7 + u64::from(step % 11))).await;
    }
    assert!(admitted.len() > 10, "{admitted:?}");
    for (first, (before, ..)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for (_, after, taken) in &admitted[first..] {
            sum += taken;
            let span = i64::try_from((*after - *before).as_micros()).unwrap();
            assert!(
                sum <= burst + amount * span / 1_000_000,
                "{sum} in {span} us"
            );
        }
    }
}

pub async fn a_denied_call_may_retry_at_the_told_time_and_not_before(bench: &Bench) {
    bench.declare("rate", rate(7, SECOND, 4)).await;
    bench.declare("window", window(4, ms(600))).await;
    bench.declare("slots", slots(4)).await;
    // One of 7 a second comes after 142,857.1 us; slots when their reservation ends.
    let cases = [
        ("rate", Micros(142_858)),
        ("window", ms(600)),
        ("slots", ms(500)),
    ];
    for (limit, expected) in cases {
        let full = bench.take(limit, 4);
        let full = if limit == "slots" {
            full.reserve(ms(500))
        } else {
            full
        };
        full.granted().await;
        let told = bench.take(limit, 1).denied().await;
        bench.assert_told(told, expected);
        bench.elapse_almost(told).await;
        bench.take(limit, 1).denied().await;
        bench.elapse_the_rest().await;
        bench.take(limit, 1).granted().await;
    }
}

pub async fn the_time_to_retry_is_that_of_the_charge_that_takes_longest(bench: &Bench) {
    bench.declare("soon", window(1, ms(300))).await;
    bench.declare("late", window(1, ms(900))).await;
    bench.declare("now", window(1, HOUR)).await;
    bench
        .ask([charge("soon", 1), charge("late", 1)])
        .granted()
        .await;
    let charges = [charge("soon", 1), charge("late", 1), charge("now", 1)];
    let denied = bench.ask(charges).acquired().await;
    let Outcome::Denied(retry_after) = denied.outcome else {
        panic!("should be denied, is {denied:?}");
    };
    bench.assert_told(retry_after, ms(900));
    bench.assert_told(denied.charges[0].retry_after.unwrap(), ms(300));
    bench.assert_told(denied.charges[1].retry_after.unwrap(), ms(900));
    assert_eq!(denied.charges[2].retry_after, None);
}

pub async fn every_key_has_a_bucket_of_its_own(bench: &Bench) {
    bench.declare("per-user", window(2, HOUR)).await;
    for user in ["", "ann", "bob"] {
        bench.ask([keyed("per-user", user, 2)]).granted().await;
        bench.ask([keyed("per-user", user, 1)]).denied().await;
    }
    let both = [keyed("per-user", "cy", 1), keyed("per-user", "di", 2)];
    let grant = bench.ask(both).granted().await;
    let left: Vec<_> = grant.charges.iter().map(|state| state.remaining).collect();
    assert_eq!(left, [1, 0]);
}

pub async fn two_charges_of_one_bucket_are_refused_with_the_field(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    let twice = [
        charge("tokens", 1),
        keyed("tokens", "k", 1),
        charge("tokens", 2),
    ];
    let error = bench.ask(twice).error().await;
    assert_eq!(error.code, ErrorCode::InvalidField);
    assert_eq!(error.violation.unwrap().field, "charges[2]");
    assert_eq!(bench.remaining("tokens").await, 10);
}

pub async fn a_dry_run_tells_the_outcome_and_changes_nothing(bench: &Bench) {
    bench.declare("tokens", window(10, ms(800))).await;
    bench.take("tokens", 6).granted().await;
    let before = bench.peek("tokens").await;
    let outcomes = async |amount| {
        let ask = bench.take("tokens", amount).reserve(SECOND).dry_run();
        ask.wait(SECOND).acquired().await.outcome
    };
    assert_eq!(outcomes(4).await, Outcome::Granted(None));
    let Outcome::Denied(told) = outcomes(5).await else {
        panic!("should be denied");
    };
    bench.assert_told(told, ms(800));
    assert_eq!(outcomes(11).await, Outcome::Never);
    let after = bench.peek("tokens").await;
    assert_eq!((after.remaining, after.waiters), (before.remaining, 0));

    let unknown = [inline("unknown", 1, window(10, HOUR))];
    bench.ask(unknown).dry_run().granted().await;
    assert_eq!(
        code(bench.peek_at("unknown", "").await),
        ErrorCode::LimitNotFound
    );
}

pub async fn a_dry_run_is_not_remembered_under_its_request_id(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    let ask = bench.take("tokens", 4).request_id("r");
    ask.clone().dry_run().granted().await;
    ask.granted().await;
    assert_eq!(bench.remaining("tokens").await, 6);
}
