//! Which value is in force.

use crate::pipelines::prelude::*;
use trellis_core::pipelines::{Pipeline, SettingKey, SettingValue};

/// The value of a path or alias, and where it comes from.
fn value(pipeline: &Pipeline, name: &str) -> Option<(SettingValue, PipelineSource)> {
    let key = SettingKey::parse(name, "path").unwrap();
    let mut values = pipeline.values();
    let found = values.find(|(kind, step, ..)| *kind == key.kind && **step == key.step);
    found.map(|(_, _, value, source)| (value.clone(), source))
}

pub async fn the_built_in_pipelines_exist_with_their_defaults(bench: &Bench) {
    for (name, values) in [
        (
            "ocr",
            &[
                ("cache_ttl", secs(3_600)),
                ("rate_limit", rate(10)),
                ("max_concurrent", slots(4)),
                ("lock_ttl", secs(60)),
            ][..],
        ),
        (
            "vision_rag",
            &[
                ("embedding_cache_ttl", secs(7_200)),
                ("search_cache_ttl", secs(3_600)),
                ("embedding_rate_limit", rate(20)),
                ("llm_rate_limit", rate(10)),
                ("max_concurrent_images", slots(10)),
                ("lock_ttl", secs(120)),
            ],
        ),
        (
            "multi_agent",
            &[
                ("agent_cache_ttl", secs(1_800)),
                ("agent_rate_limit", rate(10)),
                ("lock_ttl", secs(300)),
            ],
        ),
        (
            "chain",
            &[
                ("chain_cache_ttl", secs(300)),
                ("rate_limit", rate(10)),
                ("lock_ttl", secs(300)),
            ],
        ),
        (
            "graph",
            &[
                ("cache_ttl", secs(3_600)),
                ("rate_limit", rate(10)),
                ("lock_ttl", secs(600)),
            ],
        ),
    ] {
        let pipeline = bench.get(name).await;
        assert_eq!((pipeline.version(), pipeline.is_permanent()), (0, true));
        assert_eq!(pipeline.values().count(), values.len(), "{name}");
        for (alias, expected) in values {
            let expected = Some((expected.clone(), PipelineSource::BuiltIn));
            assert_eq!(value(&pipeline, alias), expected, "{name} {alias}");
        }
    }
}

pub async fn an_update_changes_what_it_names_and_nothing_else(bench: &Bench) {
    let before = bench.get("vision_rag").await;
    let update = bench
        .update("vision_rag")
        .set("embedding_cache_ttl", secs(5));
    let (after, created) = update.set("index_lock_ttl", secs(7)).send().await.unwrap();
    assert!(!created);
    assert_eq!(after, bench.get("vision_rag").await);
    let changed = Some((secs(5), PipelineSource::Update));
    assert_eq!(value(&after, "cache_ttls.embedding"), changed);
    let added = Some((secs(7), PipelineSource::Update));
    assert_eq!(value(&after, "lock_ttls.index"), added);
    for name in [
        "search_cache_ttl",
        "llm_rate_limit",
        "max_concurrent_images",
    ] {
        assert_eq!(value(&after, name), value(&before, name), "{name}");
    }
    assert_eq!(bench.get("ocr").await.version(), 0);
}

pub async fn a_refused_update_leaves_the_last_good_values(bench: &Bench) {
    let good = bench.update("ocr").set("cache_ttl", secs(5)).done().await;
    for (name, value) in [
        ("cache_ttls.default", SettingValue::Ttl(Micros::ZERO)),
        ("cache_ttls.default", secs(366 * 24 * 3_600 + 1)),
        (
            "lock_ttls.default",
            SettingValue::Ttl(Micros::from_millis(99)),
        ),
        ("lock_ttls.default", secs(3_601)),
    ] {
        let update = bench.update("ocr").set("search_cache_ttl", secs(9));
        let fault = update.set(name, value).fault().await;
        assert_eq!(fault, format!("settings.{name}"));
        assert_eq!(bench.get("ocr").await, good);
    }
}

pub async fn a_value_that_is_dropped_is_what_it_was_without_updates(bench: &Bench) {
    let update = bench.update("chain").set("chain_cache_ttl", secs(5));
    update.set("other_cache_ttl", secs(6)).done().await;
    let update = bench.update("chain").unset("chain_cache_ttl");
    let update = update.unset("other_cache_ttl").set("lock_ttl", secs(9));
    let after = update.done().await;
    let before = Some((secs(300), PipelineSource::BuiltIn));
    assert_eq!(value(&after, "chain_cache_ttl"), before);
    assert_eq!(value(&after, "other_cache_ttl"), None);
    let kept = Some((secs(9), PipelineSource::Update));
    assert_eq!(value(&after, "lock_ttl"), kept);
}

pub async fn a_kind_that_is_replaced_holds_only_what_was_given(bench: &Bench) {
    let update = bench.update("chain").set("a_cache_ttl", secs(5));
    let update = update.set("b_cache_ttl", secs(6));
    update.set("lock_ttl", secs(7)).done().await;
    let update = bench.update("chain").replace(SettingKind::CacheTtl);
    let after = update.set("c_cache_ttl", secs(8)).done().await;
    for (name, expected) in [
        ("a_cache_ttl", None),
        ("b_cache_ttl", None),
        ("c_cache_ttl", Some((secs(8), PipelineSource::Update))),
        (
            "chain_cache_ttl",
            Some((secs(300), PipelineSource::BuiltIn)),
        ),
        ("lock_ttl", Some((secs(7), PipelineSource::Update))),
    ] {
        assert_eq!(value(&after, name), expected, "{name}");
    }
}

pub async fn a_pipeline_is_made_only_where_that_is_asked_for(bench: &Bench) {
    let update = || bench.update("mine").set("cache_ttl", secs(5));
    assert_eq!(update().code().await, ErrorCode::PipelineNotFound);
    assert!(bench.is_missing("mine").await);
    let empty = bench.update("mine").unset("cache_ttl").create();
    assert_eq!(empty.fault().await, "settings");
    let (mine, created) = update().create().send().await.unwrap();
    assert!(created && !mine.is_permanent());
    assert_eq!(bench.get("mine").await, mine);
    let (_, created) = update().create().send().await.unwrap();
    assert!(!created);
}

pub async fn a_reset_forgets_every_update(bench: &Bench) {
    let before = bench.get("ocr").await;
    let update = bench.update("ocr").set("cache_ttl", secs(5));
    update.set("x_lock_ttl", secs(6)).done().await;
    let after = bench.reset("ocr").await.unwrap();
    assert_eq!(bench.get("ocr").await, after);
    assert!(after.values().eq(before.values()));
}

pub async fn a_pipeline_of_updates_alone_is_gone_when_it_is_reset(bench: &Bench) {
    let update = bench.update("mine").set("cache_ttl", secs(5));
    update.create().done().await;
    assert_eq!(bench.reset("mine").await, None);
    assert!(bench.is_missing("mine").await);
    assert!(bench.page(100, None).await.pipelines.len() == 5);
}

pub async fn namespaces_do_not_see_each_others_updates(bench: &Bench) {
    let other = bench.beside("other");
    bench.update("ocr").set("cache_ttl", secs(5)).done().await;
    let update = bench.update("mine").set("cache_ttl", secs(5));
    update.create().done().await;
    assert_eq!(other.get("ocr").await.version(), 0);
    assert!(other.is_missing("mine").await);
}
