//! What is served while it is computed anew.

use crate::cache::prelude::*;

pub async fn a_stale_entry_is_served_while_one_caller_computes(bench: &Bench) {
    let stale = entry("old").ttl(ms(100)).stale_for(ms(60_000));
    bench.set("k", stale).await;
    bench.elapse(ms(200)).await;
    let ask = bench.ask(&["k"]).stale(StaleMode::WhileRevalidate);
    let (hit, lease) = ask.clone().hit().await;
    assert_eq!((text(&hit), hit.source), ("old", Source::Stale));
    for _ in 0..3 {
        let (hit, second) = ask.clone().hit().await;
        assert_eq!((text(&hit), second), ("old", None));
    }
    // Who takes nothing stale waits for the same computation.
    let strict = bench.wait("k").await;
    bench.fill(lease.unwrap(), "new").await.unwrap();
    assert_eq!(text(&strict.value().await), "new");
    let (hit, refresh) = ask.hit().await;
    assert_eq!((text(&hit), refresh), ("new", None));
}

pub async fn a_failed_refresh_is_not_tried_again_while_it_is_remembered(bench: &Bench) {
    let stale = entry("old").ttl(ms(100)).stale_for(ms(60_000));
    bench.set("k", stale).await;
    bench.elapse(ms(200)).await;
    let ask = bench.ask(&["k"]).stale(StaleMode::WhileRevalidate);
    let lease = ask.clone().hit().await.1.unwrap();
    bench.fail(lease, SECOND).await.unwrap();
    let (hit, refresh) = ask.clone().hit().await;
    assert_eq!((text(&hit), refresh), ("old", None));
    bench.elapse(SECOND).await;
    assert!(ask.hit().await.1.is_some());
}

pub async fn an_entry_is_computed_anew_before_it_expires(bench: &Bench) {
    let draft = entry("old").ttl(ms(10_000)).refresh_after(ms(5_000));
    bench.set("k", draft).await;
    assert_eq!(bench.ask(&["k"]).hit().await.1, None);
    bench.elapse(ms(5_000)).await;
    let (hit, lease) = bench.ask(&["k"]).hit().await;
    assert_eq!(text(&hit), "old");
    assert!(hit.source != Source::Stale);
    assert_eq!(bench.ask(&["k"]).hit().await.1, None);
    bench.fill(lease.unwrap(), "new").await.unwrap();
    assert_eq!(text(&bench.get("k").await.unwrap()), "new");
}

pub async fn a_refresh_computes_what_is_fresh(bench: &Bench) {
    bench.set("k", "old").await;
    let lease = bench.ask(&["k"]).refresh().lease().await;
    assert_eq!(text(&bench.get("k").await.unwrap()), "old");
    assert_eq!(text(&bench.ask(&["k"]).hit().await.0), "old");
    let other = bench.ask(&["k"]).refresh().wait().await;
    bench.fill(lease, "new").await.unwrap();
    assert_eq!(text(&other.value().await), "new");
    assert_eq!(text(&bench.get("k").await.unwrap()), "new");
}
