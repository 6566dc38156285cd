//! Versions, and what they keep from being lost.

use crate::pipelines::prelude::*;

pub async fn versions_rise_with_every_change_and_never_come_again(bench: &Bench) {
    let mut last = 0;
    for round in 1..4 {
        let update = bench.update("mine").set("cache_ttl", secs(round));
        let made = update.create().done().await.version();
        let update = bench.update("mine").set("lock_ttl", secs(round));
        let changed = update.done().await.version();
        assert!(last < made && made < changed, "{last} {made} {changed}");
        assert!(changed < 1 << 53);
        assert_eq!(bench.reset("mine").await, None);
        last = changed;
    }
    bench.update("ocr").set("cache_ttl", secs(1)).done().await;
    let changed = bench.get("ocr").await.version();
    assert!(bench.reset("ocr").await.unwrap().version() > changed);
}

pub async fn an_update_based_on_another_version_is_refused(bench: &Bench) {
    let update = |ttl| bench.update("ocr").set("cache_ttl", secs(ttl));
    assert_eq!(update(1).from(7).code().await, ErrorCode::PipelineChanged);
    let first = update(1).from(0).done().await;
    assert_eq!(update(2).from(0).code().await, ErrorCode::PipelineChanged);
    assert_eq!(bench.get("ocr").await, first);
    let second = update(2).from(first.version()).done().await;
    assert!(second.version() > first.version());
}

pub async fn a_reset_based_on_another_version_is_refused(bench: &Bench) {
    let changed = bench.update("ocr").set("cache_ttl", secs(1)).done().await;
    let error = bench.reset_from("ocr", Some(changed.version() + 1)).await;
    assert_eq!(error.unwrap_err().code, ErrorCode::PipelineChanged);
    assert_eq!(bench.get("ocr").await, changed);
    let reset = bench.reset_from("ocr", Some(changed.version())).await;
    assert!(reset.unwrap().is_some());
}

pub async fn of_updates_based_on_one_version_exactly_one_wins(bench: &Bench) {
    let updates = (1..=20).map(|ttl| {
        let update = bench.update("ocr").set("cache_ttl", secs(ttl));
        crate::spawn(update.from(0).send())
    });
    let mut won = Vec::new();
    for update in updates.collect::<Vec<_>>() {
        match update.await.unwrap() {
            Ok((pipeline, _)) => won.push(pipeline),
            Err(error) => assert_eq!(error.code, ErrorCode::PipelineChanged),
        }
    }
    assert_eq!(won, [bench.get("ocr").await]);
}

pub async fn a_repeated_update_or_reset_changes_nothing(bench: &Bench) {
    let update = || bench.update("ocr").set("cache_ttl", secs(5)).from(0);
    let first = update().done().await;
    let again = update().done().await;
    assert_eq!(again, first);
    let reset = bench.reset_from("ocr", Some(first.version())).await;
    let again = bench.reset_from("ocr", Some(first.version())).await;
    assert_eq!(again, reset);
    assert_eq!(bench.reset("never_made").await, None);
}
