//! What happens at each bound.

use crate::pipelines::prelude::*;

pub async fn a_pipeline_above_the_bound_is_refused(bench: &Bench) {
    for number in 0..12 {
        let update = bench.update(&format!("p{number}"));
        update.set("cache_ttl", secs(1)).create().done().await;
    }
    let one_more = || bench.update("more").set("cache_ttl", secs(1)).create();
    assert_eq!(one_more().code().await, ErrorCode::TooManyPipelines);
    assert!(bench.is_missing("more").await);
    // What is there can still be changed, and makes room when it goes.
    bench.update("p3").set("cache_ttl", secs(2)).done().await;
    bench.reset("p3").await;
    one_more().done().await;
}

pub async fn a_step_above_the_bound_is_refused(bench: &Bench) {
    let mut update = bench.update("ocr");
    for step in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        update = update.set(&format!("{step}_cache_ttl"), secs(1));
    }
    let full = update.done().await;
    let one_more = || bench.update("ocr").set("i_cache_ttl", secs(1));
    assert_eq!(one_more().fault().await, "settings.cache_ttls");
    assert_eq!(bench.get("ocr").await, full);
    one_more().unset("a_cache_ttl").done().await;
}

pub async fn a_namespace_above_the_bound_is_refused(bench: &Bench) {
    for number in 0..3 {
        let there = bench.beside(&format!("n{number}"));
        there.update("ocr").set("cache_ttl", secs(1)).done().await;
    }
    let beside = bench.beside("more");
    let one_more = || beside.update("ocr").set("cache_ttl", secs(1));
    assert_eq!(one_more().code().await, ErrorCode::TooManyNamespaces);
    // Looks and resets need no room.
    assert_eq!(beside.get("ocr").await.version(), 0);
    assert!(beside.reset("ocr").await.is_some());
}
