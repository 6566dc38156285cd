//! What is kept, and for how long.

use crate::cache::prelude::*;

pub async fn a_value_is_found_until_its_ttl_is_over(bench: &Bench) {
    assert_eq!(bench.get("k").await, None);
    bench.set("k", entry("v").ttl(SECOND)).await;
    let hit = bench.get("k").await.unwrap();
    assert_eq!(text(&hit), "v");
    bench.elapse_almost(SECOND).await;
    assert!(bench.get("k").await.is_some());
    bench.elapse_the_rest().await;
    assert_eq!(bench.get("k").await, None);
}

pub async fn an_answer_tells_all_about_its_entry(bench: &Bench) {
    let draft = entry("{}")
        .ttl(ms(10_000))
        .content_type("application/json")
        .cost(1, 900, 2_500);
    let version = bench.set("k", draft).await;
    bench.elapse(ms(4_000)).await;
    let hit = bench.get("k").await.unwrap();
    assert_eq!(&*hit.content_type, "application/json");
    assert_eq!(hit.version, Version(version));
    assert!(matches!(
        hit.source,
        Source::Local | Source::Shared | Source::Near
    ));
    bench.assert_told(hit.age, ms(4_000));
    bench.assert_told(hit.ttl, ms(6_000));
    let cost = (hit.cost.calls, hit.cost.tokens, hit.cost.money_micros);
    assert_eq!(cost, (1, 900, 2_500));
}

pub async fn an_empty_value_is_a_hit(bench: &Bench) {
    bench.set("k", "").await;
    assert_eq!(text(&bench.get("k").await.unwrap()), "");
    let (hit, refresh) = bench.ask(&["k"]).hit().await;
    assert_eq!((text(&hit), refresh), ("", None));
    let lease = bench.lease("computed").await;
    bench.fill(lease, "").await.unwrap();
    assert_eq!(text(&bench.get("computed").await.unwrap()), "");
    for falsy in ["0", "null", "false", "[]"] {
        bench.set("k", falsy).await;
        assert_eq!(text(&bench.ask(&["k"]).hit().await.0), falsy);
    }
}

pub async fn a_negative_entry_is_a_hit_without_a_value(bench: &Bench) {
    bench.set("k", negative().ttl(SECOND)).await;
    let hit = bench.get("k").await.unwrap();
    assert_eq!((hit.source, hit.content.value()), (Source::Negative, None));
    let (hit, _) = bench.ask(&["k"]).hit().await;
    assert_eq!(hit.source, Source::Negative);
    bench.elapse(SECOND).await;
    assert_eq!(bench.get("k").await, None);
}

pub async fn a_set_replaces_and_its_version_rises(bench: &Bench) {
    let first = bench.set("k", entry("one").ttl(SECOND)).await;
    let other = bench.set("other", "x").await;
    let second = bench.set("k", entry("two")).await;
    assert!(first < other && other < second, "{first} {other} {second}");
    bench.elapse(SECOND).await;
    let hit = bench.get("k").await.unwrap();
    assert_eq!((text(&hit), hit.version), ("two", Version(second)));
}

pub async fn a_deleted_entry_is_gone(bench: &Bench) {
    assert_eq!(bench.delete("k").await, Deleted::Absent);
    bench.set("k", "v").await;
    assert_eq!(bench.delete("k").await, Deleted::Gone);
    assert_eq!(bench.get("k").await, None);
    assert_eq!(bench.delete("k").await, Deleted::Absent);
}

pub async fn keys_are_answered_in_request_order(bench: &Bench) {
    for name in ["a", "b", "c"] {
        bench.set(name, entry(name.to_owned())).await;
    }
    let found = bench.get_all(&["c", "none", "a", "c", "b"]).await;
    let found: Vec<_> = found.iter().map(|hit| hit.as_ref().map(text)).collect();
    assert_eq!(found, [Some("c"), None, Some("a"), Some("c"), Some("b")]);
}

pub async fn jitter_shortens_a_ttl_within_its_bound(bench: &Bench) {
    let mut ttls = Vec::new();
    for number in 0..40 {
        let name = format!("k{number}");
        let draft = entry("v").ttl(ms(100_000)).jitter(ms(20_000));
        bench.set(&name, draft).await;
        ttls.push(bench.get(&name).await.unwrap().ttl);
    }
    let (least, most) = (*ttls.iter().min().unwrap(), *ttls.iter().max().unwrap());
    assert!(most <= ms(100_000), "{most:?}");
    assert!(least >= ms(79_000), "{least:?}");
    assert!(most.0 - least.0 > ms(10_000).0, "{least:?} to {most:?}");
}

pub async fn a_stale_entry_is_served_only_where_allowed_and_in_its_time(bench: &Bench) {
    bench
        .set("k", entry("v").ttl(SECOND).stale_for(SECOND))
        .await;
    assert!(bench.get_stale("k").await.unwrap().source != Source::Stale);
    bench.elapse(SECOND).await;
    assert_eq!(bench.get("k").await, None);
    let hit = bench.get_stale("k").await.unwrap();
    assert_eq!((text(&hit), hit.source), ("v", Source::Stale));
    assert_eq!(hit.ttl, Micros::ZERO);
    bench.elapse_almost(SECOND).await;
    assert!(bench.get_stale("k").await.is_some());
    bench.elapse_the_rest().await;
    assert_eq!(bench.get_stale("k").await, None);
}

pub async fn a_deleted_entry_is_not_served_stale(bench: &Bench) {
    bench
        .set("k", entry("v").ttl(SECOND).stale_for(SECOND))
        .await;
    bench.elapse(SECOND).await;
    assert_eq!(bench.delete("k").await, Deleted::Gone);
    assert_eq!(bench.get_stale("k").await, None);
}

pub async fn namespaces_do_not_see_each_other(bench: &Bench) {
    let beside = bench.beside("2");
    bench.set("k", "here").await;
    assert_eq!(beside.get("k").await, None);
    beside.set("k", "there").await;
    beside.clear(ClearTarget::All).await;
    assert_eq!(text(&bench.get("k").await.unwrap()), "here");
    let lease = bench.lease("flight").await;
    beside.lease("flight").await;
    assert_eq!(
        beside.fill(lease, "x").await.unwrap_err(),
        LeaseEnd::Unknown
    );
}

pub async fn the_ledger_counts_what_was_served_and_saved(bench: &Bench) {
    let cost = |draft: super::super::draft::Draft| draft.cost(1, 100, 5);
    bench.get("k").await;
    let lease = bench.lease("k").await;
    let waiters = [bench.wait("k").await, bench.wait("k").await];
    let filled = bench.fill(lease, cost(entry("v"))).await.unwrap();
    assert_eq!(filled.waiters, 2);
    for waiter in waiters {
        assert_eq!(waiter.value().await.source, Source::Coalesced);
    }
    bench.get_all(&["k", "k", "k"]).await;
    bench.set("gone", negative()).await;
    bench.get("gone").await;
    let stale = cost(entry("v").ttl(ms(100)).stale_for(SECOND));
    bench.set("stale", stale).await;
    bench.elapse(ms(500)).await;
    bench.get_stale("stale").await;
    // Two misses, a fill, two coalesced, three hits, two sets, one negative and one stale hit.
    let stats = bench.until_served(12).await;
    let ledger = stats.ledger;
    assert_eq!((ledger.misses, ledger.coalesced, ledger.hits), (2, 2, 3));
    assert_eq!((ledger.negative_hits, ledger.stale_hits), (1, 1));
    assert_eq!((ledger.sets, ledger.fills), (2, 1));
    assert_eq!(ledger.saved_by_coalescing.tokens, 200);
    let saved = ledger.saved_by_hits;
    assert_eq!(
        (saved.calls, saved.tokens, saved.money_micros),
        (4, 400, 20)
    );
    assert_eq!((stats.entries, stats.leases, stats.waiters), (3, 0, 0));
    assert!(stats.bytes > 0, "{stats:?}");
}
