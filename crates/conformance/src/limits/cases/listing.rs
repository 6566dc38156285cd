//! Looking: pages, peeks, and namespaces that do not see each other.

use crate::limits::prelude::*;

pub async fn pages_of_limits_are_complete_and_in_order(bench: &Bench) {
    let mut names: Vec<_> = (0..20).map(|index| format!("limit-{index}")).collect();
    for limit in names.iter().rev() {
        bench.declare(limit, window(10, HOUR)).await;
    }
    names.sort();
    for page_size in [1, 7, 20, 1_000] {
        let (listed, pages) = all_limits(bench, page_size).await;
        assert_eq!(listed, names);
        assert_eq!(pages, names.len().div_ceil(page_size));
    }
    assert_eq!(
        all_limits(&bench.beside("other"), 10).await,
        (Vec::new(), 1)
    );
}

pub async fn a_page_of_limits_stays_valid_while_limits_come_and_go(bench: &Bench) {
    for limit in ["a", "b", "c", "d"] {
        bench.declare(limit, window(10, HOUR)).await;
    }
    let first = bench.limits_page(2, None).await;
    let names: Vec<_> = first
        .limits
        .iter()
        .map(|limit| limit.name.as_str())
        .collect();
    assert_eq!((names, first.more), (vec!["a", "b"], true));
    bench.delete("b").await;
    bench.delete("c").await;
    bench.declare("bb", window(10, HOUR)).await;
    bench.declare("aa", window(10, HOUR)).await;
    let second = bench.limits_page(2, Some("b")).await;
    let names: Vec<_> = second
        .limits
        .iter()
        .map(|limit| limit.name.as_str())
        .collect();
    assert_eq!((names, second.more), (vec!["bb", "d"], false));
}

pub async fn pages_of_buckets_are_complete_and_in_order(bench: &Bench) {
    bench.declare("per-user", window(10, HOUR)).await;
    let mut keys: Vec<_> = (0..22).map(|index| format!("user-{index}")).collect();
    keys.push(String::new());
    for of in keys.iter().rev() {
        bench.ask([keyed("per-user", of, 3)]).granted().await;
    }
    keys.sort();
    for page_size in [1, 10, 1_000] {
        let mut listed = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = bench.buckets_page("per-user", page_size, after.as_deref());
            let page = page.await.unwrap();
            assert!(page.buckets.len() <= page_size);
            assert!(page.buckets.iter().all(|bucket| bucket.remaining == 7));
            listed.extend(page.buckets.iter().map(|bucket| bucket.key.to_string()));
            after = listed.last().cloned();
            if !page.more {
                break;
            }
        }
        assert_eq!(listed, keys);
    }
    let (listed, _) = bench
        .set("per-user", window(10, HOUR))
        .send()
        .await
        .unwrap();
    assert_eq!(listed.buckets, keys.len());
}

pub async fn a_bucket_that_is_idle_and_full_is_not_listed(bench: &Bench) {
    bench.declare("per-user", window(10, ms(300))).await;
    bench.ask([keyed("per-user", "idle", 3)]).granted().await;
    bench.elapse(ms(200)).await;
    bench.ask([keyed("per-user", "busy", 3)]).granted().await;
    bench.elapse(ms(200)).await;
    let page = bench.buckets_page("per-user", 10, None).await.unwrap();
    let keys: Vec<_> = page
        .buckets
        .iter()
        .map(|bucket| bucket.key.as_str())
        .collect();
    assert_eq!(keys, ["busy"]);
}

pub async fn the_buckets_of_an_unknown_limit_are_an_error(bench: &Bench) {
    let page = bench.buckets_page("unknown", 10, None).await;
    assert_eq!(code(page), ErrorCode::LimitNotFound);
    assert_eq!(
        code(bench.peek_at("unknown", "").await),
        ErrorCode::LimitNotFound
    );
}

pub async fn a_peek_shows_a_bucket_and_changes_nothing(bench: &Bench) {
    bench.declare("tokens", window(10, ms(800))).await;
    let full = bench.peek("tokens").await;
    assert_eq!((full.remaining, full.capacity), (10, 10));
    assert_eq!((full.full_after, full.paused_for), (Micros::ZERO, None));
    assert_eq!((full.limit.as_str(), full.key.as_str()), ("tokens", ""));
    bench.take("tokens", 4).granted().await;
    let first = bench.peek("tokens").await;
    assert_eq!((first.remaining, first.capacity, first.waiters), (6, 10, 0));
    bench.assert_told(first.full_after, ms(800));
    for unused in 0..100 {
        bench
            .peek_at("tokens", &format!("unused-{unused}"))
            .await
            .unwrap();
    }
    assert_eq!(bench.remaining("tokens").await, 6);
    let page = bench.buckets_page("tokens", 10, None).await.unwrap();
    assert_eq!(page.buckets.len(), 1);
}

pub async fn namespaces_do_not_see_each_other(bench: &Bench) {
    let beside = &bench.beside("other");
    bench.declare("tokens", window(10, HOUR)).await;
    assert_eq!(
        beside.take("tokens", 1).error().await.code,
        ErrorCode::LimitNotFound
    );
    beside.declare("tokens", window(5, HOUR)).await;
    bench.take("tokens", 10).granted().await;
    assert_eq!(beside.remaining("tokens").await, 5);
    let waiting = bench.take("tokens", 1).wait(HOUR).start();
    bench.until_waiting("tokens", 1).await;
    beside.take("tokens", 5).granted().await;
    beside.delete("tokens").await;
    bench.reset("tokens").send().await.unwrap();
    waiting.granted().await;
}

/// The names on all pages, and the number of pages.
async fn all_limits(bench: &Bench, page_size: usize) -> (Vec<String>, usize) {
    let (mut names, mut pages): (Vec<String>, usize) = (Vec::new(), 0);
    loop {
        let page = bench.limits_page(page_size, names.last().map(String::as_str));
        let page = page.await;
        pages += 1;
        assert!(page.limits.len() <= page_size);
        names.extend(page.limits.iter().map(|limit| limit.name.to_string()));
        if !page.more {
            return (names, pages);
        }
    }
}
