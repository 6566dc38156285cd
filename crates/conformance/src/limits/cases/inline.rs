//! Specs that calls carry: who wins, and what is told.

use crate::limits::prelude::*;

pub async fn an_inline_spec_makes_the_limit(bench: &Bench) {
    let grant = bench.ask([inline("tokens", 4, window(10, HOUR))]);
    let grant = grant.granted().await;
    let state = &grant.charges[0];
    assert_eq!((state.remaining, state.source), (6, SpecSource::Inline));
    assert_eq!(
        (&state.spec, state.spec_replaced),
        (&window(10, HOUR), false)
    );
    // Now that it is there, calls may leave the spec out.
    bench.take("tokens", 6).granted().await;
    bench.take("tokens", 1).denied().await;
    assert_eq!(bench.peek("tokens").await.source, SpecSource::Inline);
}

pub async fn an_unknown_limit_without_a_spec_is_an_error_that_takes_nothing(bench: &Bench) {
    bench.declare("known", window(10, HOUR)).await;
    let both = [charge("known", 1), charge("unknown", 1)];
    let error = bench.ask(both).error().await;
    assert_eq!(error.code, ErrorCode::LimitNotFound);
    assert!(error.message.contains("unknown"), "{}", error.message);
    assert_eq!(bench.remaining("known").await, 10);
}

pub async fn a_declaration_wins_over_an_inline_spec(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    let generous = window(1_000, HOUR);
    let grant = bench.ask([inline("tokens", 4, generous.clone())]);
    let state = grant.granted().await.charges.remove(0);
    assert_eq!(
        (state.spec, state.source),
        (window(10, HOUR), SpecSource::SetLimit)
    );
    assert_eq!((state.remaining, state.spec_replaced), (6, false));
    let never = bench.ask([inline("tokens", 11, generous)]).acquired().await;
    assert_eq!(never.outcome, Outcome::Never);
}

pub async fn a_declaration_takes_an_inline_limit_over(bench: &Bench) {
    bench
        .ask([inline("tokens", 4, window(10, HOUR))])
        .granted()
        .await;
    let (limit, created) = bench.set("tokens", window(20, HOUR)).send().await.unwrap();
    assert!(!created);
    assert_eq!(limit.source, SpecSource::SetLimit);
    assert_eq!(bench.remaining("tokens").await, 16);
}

pub async fn the_newest_inline_spec_applies_and_the_level_is_kept(bench: &Bench) {
    bench
        .ask([inline("tokens", 4, window(10, HOUR))])
        .granted()
        .await;
    let grant = bench
        .ask([inline("tokens", 1, window(20, HOUR))])
        .granted()
        .await;
    let state = &grant.charges[0];
    assert_eq!((state.remaining, state.spec_replaced), (15, true));
    let grant = bench
        .ask([inline("tokens", 1, window(20, HOUR))])
        .granted()
        .await;
    assert!(!grant.charges[0].spec_replaced);
    bench
        .ask([inline("tokens", 1, window(5, HOUR))])
        .denied()
        .await;
    assert_eq!(bench.remaining("tokens").await, -1);
}

pub async fn require_spec_refuses_a_difference_and_takes_nothing(bench: &Bench) {
    bench.declare("tokens", window(10, HOUR)).await;
    bench.declare("other", window(10, HOUR)).await;
    let differs = strict("tokens", 1, window(11, HOUR));
    let error = bench.ask([charge("other", 1), differs]).error().await;
    assert_eq!(error.code, ErrorCode::SpecMismatch);
    assert_eq!(bench.remaining("tokens").await, 10);
    assert_eq!(bench.remaining("other").await, 10);
    bench
        .ask([strict("tokens", 1, window(10, HOUR))])
        .granted()
        .await;
    bench
        .ask([strict("new", 1, window(10, HOUR))])
        .granted()
        .await;
}

pub async fn a_report_brings_the_spec_of_a_limit_that_is_not_declared(bench: &Bench) {
    let spec = window(10, HOUR);
    let paused = bench
        .throttle("tokens", ms(600))
        .spec(spec.clone())
        .send()
        .await;
    bench.assert_told(paused.unwrap(), ms(600));
    let told = bench
        .ask([inline("tokens", 1, spec.clone())])
        .denied()
        .await;
    bench.assert_told(told, ms(600));
    bench.elapse_almost(told).await;
    bench.elapse_the_rest().await;
    bench.ask([inline("tokens", 1, spec)]).granted().await;
}
