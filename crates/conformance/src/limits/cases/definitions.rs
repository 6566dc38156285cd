//! Declaring, changing and forgetting limits while they are in use.

use crate::limits::prelude::*;
use LevelPolicy::{KeepAmount, KeepProportion, Refill};

pub async fn a_declaration_tells_what_is_in_force_and_whether_it_is_new(bench: &Bench) {
    let set = bench.set("tokens", window(10, HOUR));
    let (limit, created) = set
        .with_override("vip", window(50, HOUR))
        .send()
        .await
        .unwrap();
    assert!(created);
    assert_eq!((limit.name.as_str(), limit.buckets), ("tokens", 0));
    assert_eq!(
        (limit.spec, limit.source),
        (window(10, HOUR), SpecSource::SetLimit)
    );
    assert_eq!(limit.overrides.len(), 1);
    let (limit, created) = bench.set("tokens", slots(3)).send().await.unwrap();
    assert!(!created);
    assert_eq!((limit.spec, limit.overrides), (slots(3), Vec::new()));
}

pub async fn a_changed_spec_keeps_refills_or_scales_the_level_as_asked(bench: &Bench) {
    let day = CalendarUnit::Month;
    let rate = |amount| rate(amount, HOUR, amount);
    let window = |amount| window(amount, HOUR);
    let cases = [
        (rate(100), 60, rate(200), KeepAmount, 40),
        (rate(100), 60, rate(20), KeepAmount, 20),
        (rate(100), 60, rate(200), KeepProportion, 80),
        (rate(100), 60, rate(200), Refill, 200),
        (window(100), 60, window(200), KeepAmount, 140),
        (window(100), 60, window(50), KeepAmount, -10),
        (window(100), 60, window(200), KeepProportion, 80),
        (window(100), 60, window(7), KeepProportion, 2),
        (window(100), 60, window(200), Refill, 200),
        (calendar(100, day), 60, calendar(200, day), KeepAmount, 140),
        (calendar(100, day), 60, calendar(7, day), KeepProportion, 2),
        (calendar(100, day), 60, calendar(200, day), Refill, 200),
        (window(100), 60, rate(500), KeepAmount, 40),
        (rate(100), 60, window(500), KeepProportion, 200),
        (slots(100), 60, slots(50), KeepAmount, -10),
        (slots(100), 60, slots(50), KeepProportion, -10),
        (slots(100), 60, slots(50), Refill, -10),
    ];
    for (old, taken, new, policy, left) in cases {
        bench.declare("changed", old.clone()).await;
        bench.take("changed", taken).reserve(HOUR).granted().await;
        let set = bench.set("changed", new.clone()).policy(policy);
        set.send().await.unwrap();
        let bucket = bench.peek("changed").await;
        assert_eq!(bucket.remaining, left, "{old:?} to {new:?}, {policy:?}");
        assert_eq!(bucket.spec, new);
        bench.delete("changed").await;
    }
}

pub async fn an_override_rules_its_key_alone(bench: &Bench) {
    let set = bench.set("per-user", window(2, HOUR));
    let set = set.with_override("vip", window(5, HOUR));
    set.send().await.unwrap();
    let vip = bench.ask([keyed("per-user", "vip", 3)]).granted().await;
    assert_eq!(vip.charges[0].spec, window(5, HOUR));
    let other = bench.ask([keyed("per-user", "other", 3)]).acquired().await;
    assert_eq!(other.outcome, Outcome::Never);
    // The next declaration replaces the list; what was used stays used.
    bench.declare("per-user", window(4, HOUR)).await;
    let vip = bench.peek_at("per-user", "vip").await.unwrap();
    assert_eq!((vip.spec, vip.remaining), (window(4, HOUR), 1));
}

pub async fn a_raised_limit_serves_waiting_calls_at_once(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 8).granted().await;
    let waiting = bench.take("tokens", 6).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    let raised = Instant::now();
    bench.declare("tokens", window(20, HOUR)).await;
    let (grant, granted) = waiting.granted().await;
    bench.assert_took(raised, granted, Micros::ZERO);
    assert_eq!(grant.charges[0].remaining, 6);
}

pub async fn a_lowered_limit_ends_calls_that_it_can_never_admit(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 8).granted().await;
    let large = bench.take("tokens", 6).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    let small = bench.take("tokens", 3).wait(HOUR).start();
    bench.until_waiting("tokens", 2).await;
    bench.declare("tokens", window(5, HOUR)).await;
    let ended = large.result().await.unwrap();
    assert_eq!(ended.outcome, Outcome::Never);
    bench.until_waiting("tokens", 1).await;
    bench.reset("tokens").send().await.unwrap();
    small.granted().await;
}

pub async fn a_deleted_limit_ends_waiting_calls_and_is_forgotten(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 10).granted().await;
    let waiting = bench.take("tokens", 1).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    assert!(bench.delete("tokens").await);
    assert_eq!(code(waiting.result().await), ErrorCode::LimitDeleted);
    assert!(!bench.delete("tokens").await);
    assert_eq!(
        bench.take("tokens", 1).error().await.code,
        ErrorCode::LimitNotFound
    );
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 10).granted().await;
}

pub async fn a_reset_fills_buckets_frees_slots_and_ends_pauses(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.declare("slots", slots(2)).await;
    bench
        .ask([charge("tokens", 10), keyed("tokens", "k", 10)])
        .granted()
        .await;
    bench.throttle("tokens", HOUR).send().await.unwrap();
    let holder = bench.take("slots", 2).reserve(HOUR).granted().await;

    assert_eq!(bench.reset("tokens").only("k").send().await.unwrap(), 1);
    assert_eq!(bench.peek_at("tokens", "k").await.unwrap().remaining, 10);
    assert_eq!(bench.remaining("tokens").await, 0);
    assert_eq!(
        bench.reset("tokens").only("unused").send().await.unwrap(),
        0
    );
    bench.reset("tokens").send().await.unwrap();
    assert_eq!(bench.peek("tokens").await.paused_for, None);
    bench.take("tokens", 10).granted().await;

    bench.reset("slots").send().await.unwrap();
    bench.take("slots", 1).reserve(HOUR).granted().await;
    // What the reset has freed is not freed again.
    bench.settle(holder.id(), []).await.unwrap();
    assert_eq!(bench.remaining("slots").await, 1);
    let unknown = bench.reset("unknown").send().await;
    assert_eq!(code(unknown), ErrorCode::LimitNotFound);
}

pub async fn a_reset_serves_waiting_calls_at_once(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.take("tokens", 10).granted().await;
    let waiting = bench.take("tokens", 6).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    bench.reset("tokens").send().await.unwrap();
    waiting.granted().await;
    assert_eq!(bench.remaining("tokens").await, 4);
}

pub async fn a_charge_that_a_reset_has_forgiven_is_not_refunded_again(bench: &Bench) {
    for (limit, spec) in [
        ("rate", rate(100, HOUR, 100)),
        ("window", window(100, HOUR)),
        ("calendar", calendar(100, CalendarUnit::Month)),
    ] {
        bench.declare(limit, spec).await;
        let forgiven = bench.take(limit, 60).reserve(HOUR).granted().await;
        bench.elapse(ms(1)).await;
        bench.reset(limit).send().await.unwrap();
        bench.elapse(ms(1)).await;
        bench.take(limit, 50).granted().await;
        bench.refund(forgiven.id()).await.unwrap();
        assert_eq!(bench.remaining(limit).await, 50, "{limit}");
    }
}

pub async fn a_charge_that_a_reset_has_let_in_is_refunded_like_any_other(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    bench.take("tokens", 100).granted().await;
    let waiting = bench.take("tokens", 60).wait(HOUR).reserve(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    bench.reset("tokens").send().await.unwrap();
    let (grant, _) = waiting.granted().await;
    let settled = bench.refund(grant.id()).await.unwrap();
    assert_eq!(settled.charges[0].refunded, 60);
    assert_eq!(bench.remaining("tokens").await, 100);
}

pub async fn a_throttled_bucket_admits_nothing_until_its_pause_is_over(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    let paused = bench.throttle("tokens", ms(600)).send().await.unwrap();
    bench.assert_told(paused, ms(600));
    bench.assert_told(bench.peek("tokens").await.paused_for.unwrap(), ms(600));
    let told = bench.take("tokens", 1).denied().await;
    bench.assert_told(told, ms(600));
    bench.elapse_almost(told).await;
    bench.take("tokens", 1).denied().await;
    bench.elapse_the_rest().await;
    bench.take("tokens", 1).granted().await;
    let unknown = bench.throttle("unknown", SECOND).send().await;
    assert_eq!(code(unknown), ErrorCode::LimitNotFound);
}

pub async fn a_waiting_call_sits_out_a_pause(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.throttle("tokens", ms(600)).send().await.unwrap();
    let paused = Instant::now();
    let (_, granted) = bench.take("tokens", 1).wait(HOUR).start().granted().await;
    bench.assert_took(paused, granted, ms(600));
}

pub async fn a_shorter_pause_does_not_end_a_longer_one(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.throttle("tokens", SECOND).send().await.unwrap();
    let paused = bench.throttle("tokens", ms(100)).send().await.unwrap();
    bench.assert_told(paused, SECOND);
    bench.assert_told(bench.take("tokens", 1).denied().await, SECOND);
}

pub async fn what_the_provider_says_is_left_only_lowers_the_level(bench: &Bench) {
    for (limit, spec) in [
        ("rate", rate(10, HOUR, 10)),
        ("window", window(10, HOUR)),
        ("calendar", calendar(10, CalendarUnit::Month)),
    ] {
        bench.declare(limit, spec).await;
        for (reported, left) in [(4, 4), (9, 4), (0, 0)] {
            let report = bench.throttle(limit, ms(50)).remaining(reported);
            report.send().await.unwrap();
            assert_eq!(bench.remaining(limit).await, left, "{limit}: {reported}");
        }
    }
    bench.declare("slots", slots(10)).await;
    let report = bench.throttle("slots", ms(50)).remaining(4);
    report.send().await.unwrap();
    assert_eq!(bench.remaining("slots").await, 10);
}
