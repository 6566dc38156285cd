//! Request ids: the repeat of a call gets its first answer.

use crate::limits::prelude::*;

pub async fn a_repeated_acquire_gets_the_first_answer_and_is_charged_once(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let ask = bench.take("tokens", 60).reserve(SECOND).request_id("r");
    let first = ask.clone().granted().await;
    bench.elapse(ms(300)).await;
    let again = ask.granted().await;
    assert_eq!(again.id(), first.id());
    assert_eq!(again.charges, first.charges);
    bench.assert_told(again.ttl(), ms(700));
    assert_eq!(bench.remaining("tokens").await, 40);
}

pub async fn a_repeated_denial_stays_one_with_its_time_counted_anew(bench: &Bench) {
    bench.declare("tokens", window(10, SECOND)).await;
    bench.take("tokens", 10).granted().await;
    let ask = bench.take("tokens", 5).request_id("r");
    bench.assert_told(ask.clone().denied().await, SECOND);
    bench.elapse(ms(400)).await;
    bench.assert_told(ask.clone().denied().await, ms(600));
    bench.elapse(SECOND).await;
    ask.denied().await;
    assert_eq!(bench.remaining("tokens").await, 10);
}

pub async fn a_repeat_of_a_waiting_call_joins_it(bench: &Bench) {
    bench.declare("tokens", window(10, ms(600))).await;
    bench.take("tokens", 10).granted().await;
    let ask = bench.take("tokens", 6).wait(HOUR).reserve(HOUR);
    let ask = ask.request_id("r");
    let (first, second) = (ask.clone().start(), ask.start());
    bench.until_waiting("tokens", 1).await;
    bench.elapse(ms(100)).await;
    assert_eq!(bench.peek("tokens").await.waiters, 1);
    let ((first, _), (second, _)) = (first.granted().await, second.granted().await);
    assert_eq!(first.id(), second.id());
    assert_eq!(bench.remaining("tokens").await, 4);
}

pub async fn a_repeat_waits_no_longer_than_it_says_and_the_call_goes_on(bench: &Bench) {
    bench.declare("tokens", window(10, SECOND)).await;
    bench.take("tokens", 10).granted().await;
    let ask = bench.take("tokens", 6).request_id("r");
    let first = ask.clone().wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    let (retry_after, position) = ask.clone().wait(ms(200)).timed_out().await;
    let tolerated = Micros(ms(800).0 + bench.tolerance().0);
    assert!(retry_after <= tolerated, "{retry_after:?}");
    assert_eq!(position, 1);
    assert_eq!(bench.peek("tokens").await.waiters, 1);
    first.granted().await;
    // The first answer is what its caller got.
    ask.wait(ms(200)).granted().await;
    assert_eq!(bench.remaining("tokens").await, 4);
}

pub async fn a_joined_call_goes_on_without_one_of_its_callers(bench: &Bench) {
    bench.declare("tokens", window(10, ms(600))).await;
    bench.take("tokens", 10).granted().await;
    let ask = bench.take("tokens", 6).wait(HOUR).request_id("r");
    let (first, second) = (ask.clone().start(), ask.start());
    bench.until_waiting("tokens", 1).await;
    bench.elapse(ms(100)).await;
    first.cancel().await;
    second.granted().await;
    assert_eq!(bench.remaining("tokens").await, 4);
}

pub async fn an_id_with_another_body_is_refused(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 60).reserve(HOUR).request_id("r");
    let grant = grant.granted().await;
    let error = bench.take("tokens", 1).request_id("r").error().await;
    assert_eq!(error.code, ErrorCode::RequestIdReused);
    bench.settle(grant.id(), []).await.unwrap();
    let error = bench.take("tokens", 1).request_id("r").error().await;
    assert_eq!(error.code, ErrorCode::RequestIdReused);
    assert_eq!(bench.remaining("tokens").await, 40);
}

pub async fn a_repeat_of_a_grant_that_has_ended_is_lost(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let settled = bench.take("tokens", 10).reserve(HOUR).request_id("settled");
    let grant = settled.clone().granted().await;
    bench.settle(grant.id(), []).await.unwrap();
    assert_eq!(settled.acquired().await.outcome, Outcome::Lost);

    let expired = bench
        .take("tokens", 10)
        .reserve(ms(300))
        .request_id("expired");
    expired.clone().granted().await;
    bench.elapse(ms(300)).await;
    bench.elapse(bench.tolerance()).await;
    assert_eq!(expired.acquired().await.outcome, Outcome::Lost);
    assert_eq!(bench.remaining("tokens").await, 80);
}

pub async fn an_id_belongs_to_its_namespace_and_method(bench: &Bench) {
    let beside = &bench.beside("other");
    for bench in [bench, beside] {
        let set = bench.set("tokens", window(100, HOUR)).request_id("r");
        assert!(set.send().await.unwrap().1);
        bench.take("tokens", 60).request_id("r").granted().await;
        let reset = bench.reset("tokens").request_id("r");
        assert_eq!(reset.send().await.unwrap(), 1);
        assert_eq!(bench.remaining("tokens").await, 100);
    }
}

pub async fn an_error_is_not_remembered(bench: &Bench) {
    let ask = bench.take("tokens", 60).request_id("r");
    assert_eq!(ask.clone().error().await.code, ErrorCode::LimitNotFound);
    bench.declare("tokens", window(100, HOUR)).await;
    ask.granted().await;
}

pub async fn an_id_is_forgotten_after_its_window(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    bench.take("tokens", 60).request_id("r").granted().await;
    bench
        .elapse(Settings::default().machine.request_window)
        .await;
    bench.elapse(bench.tolerance()).await;
    bench.take("tokens", 1).request_id("r").granted().await;
    assert_eq!(bench.remaining("tokens").await, 39);
}

pub async fn a_repeated_extension_is_charged_once(bench: &Bench) {
    bench.declare("tokens", window(100, HOUR)).await;
    let grant = bench.take("tokens", 10).reserve(SECOND).granted().await;
    let extend = || {
        let extend = bench.extend(grant.id(), SECOND).request_id("r");
        extend.taking([charge("tokens", 30)]).send()
    };
    let first = extend().await.unwrap();
    let again = extend().await.unwrap();
    assert!(
        matches!(first.outcome, Outcome::Granted(Some(_))),
        "{first:?}"
    );
    assert!(
        matches!(again.outcome, Outcome::Granted(Some(_))),
        "{again:?}"
    );
    assert_eq!(bench.remaining("tokens").await, 60);
    bench.settle(grant.id(), []).await.unwrap();
    assert_eq!(extend().await.unwrap().outcome, Outcome::Lost);
}

pub async fn a_repeated_change_is_made_once(bench: &Bench) {
    let set = || {
        let set = bench.set("tokens", window(100, HOUR)).request_id("r");
        set.policy(LevelPolicy::Refill).send()
    };
    assert!(set().await.unwrap().1);
    bench.take("tokens", 60).granted().await;
    assert!(set().await.unwrap().1, "the first answer again");
    assert_eq!(bench.remaining("tokens").await, 40);

    let reset = || bench.reset("tokens").request_id("r").send();
    assert_eq!(reset().await.unwrap(), 1);
    bench.take("tokens", 60).granted().await;
    assert_eq!(reset().await.unwrap(), 1);
    assert_eq!(bench.remaining("tokens").await, 40);

    let throttle = || bench.throttle("tokens", ms(500)).request_id("r").send();
    bench.assert_told(throttle().await.unwrap(), ms(500));
    bench.elapse(ms(200)).await;
    bench.assert_told(throttle().await.unwrap(), ms(300));
    bench.assert_told(bench.take("tokens", 1).denied().await, ms(300));
}
