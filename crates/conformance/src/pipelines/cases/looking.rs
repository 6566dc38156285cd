//! Looks at pipelines, which change nothing.

use crate::pipelines::prelude::*;

pub async fn pages_of_pipelines_are_complete_and_in_order(bench: &Bench) {
    for name in ["zebra", "alpha", "mine"] {
        let update = bench.update(name).set("cache_ttl", secs(5));
        update.create().done().await;
    }
    bench.update("ocr").set("cache_ttl", secs(5)).done().await;
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = bench.page(3, seen.last().map(String::as_str)).await;
        for pipeline in &page.pipelines {
            assert_eq!(**pipeline, *bench.get(pipeline.name().as_str()).await);
            seen.push(pipeline.name().to_string());
        }
        if !page.more {
            break;
        }
        assert_eq!(page.pipelines.len(), 3);
    }
    let all = [
        "alpha",
        "chain",
        "graph",
        "mine",
        "multi_agent",
        "ocr",
        "vision_rag",
        "zebra",
    ];
    assert_eq!(seen, all);
}

pub async fn a_watch_tells_the_pipeline_now_and_after_each_change(bench: &Bench) {
    let mut watch = bench.watch("ocr").await;
    let (now, _) = watch.next().await.unwrap();
    assert_eq!(now, Some(bench.get("ocr").await));
    for ttl in 1..4 {
        // Changes of others are none of its business.
        let update = bench.update("chain").set("lock_ttl", secs(ttl));
        update.done().await;
        let changed = bench.update("ocr").set("cache_ttl", secs(ttl)).done().await;
        assert_eq!(watch.next().await.unwrap().0, Some(changed));
    }
    let reset = bench.reset("ocr").await;
    assert_eq!(watch.next().await.unwrap().0, reset);
}

pub async fn a_watch_waits_for_a_pipeline_that_does_not_exist_yet(bench: &Bench) {
    let mut watch = bench.watch("mine").await;
    assert_eq!(watch.next().await.unwrap().0, None);
    let update = bench.update("mine").set("cache_ttl", secs(5));
    let made = update.create().done().await;
    assert_eq!(watch.next().await.unwrap().0, Some(made));
    bench.reset("mine").await;
    assert_eq!(watch.next().await.unwrap().0, None);
}

pub async fn a_slow_watch_misses_states_and_never_the_last(bench: &Bench) {
    let mut watch = bench.watch("ocr").await;
    watch.next().await.unwrap();
    let mut last = 0;
    for ttl in 1..200 {
        let update = bench.update("ocr").set("cache_ttl", secs(ttl));
        last = update.done().await.version();
    }
    let mut seen = 0;
    while seen < last {
        let (pipeline, _) = watch.next().await.unwrap();
        let version = pipeline.unwrap().version();
        assert!(version > seen, "{version} after {seen}");
        seen = version;
    }
}
