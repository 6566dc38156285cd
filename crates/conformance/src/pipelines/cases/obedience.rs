//! The limits of pipelines are those of the limits port.

use crate::pipelines::prelude::*;

pub async fn a_limit_of_a_pipeline_exists_when_it_is_named(bench: &Bench) {
    let limit = "vision_rag.images.slots";
    let acquired = bench.charge(limit, 10).await.unwrap();
    assert!(matches!(acquired.outcome, Outcome::Granted(_)));
    assert_eq!(acquired.charges[0].source, SpecSource::Pipeline);
    assert!(!bench.is_granted(limit, 1).await);
    // In every namespace, each with its own level.
    let other = bench.beside("other");
    assert!(other.is_granted(limit, 10).await);
    assert_eq!(other.capacity("multi_agent.agent").await, 10);
}

pub async fn a_step_without_a_limit_has_none(bench: &Bench) {
    for name in [
        "vision_rag.search",
        "vision_rag",
        "nothing.llm",
        "ocr.a.slots",
    ] {
        let error = bench.charge(name, 1).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::LimitNotFound, "{name}");
    }
}

pub async fn an_update_changes_the_limit_in_use(bench: &Bench) {
    assert_eq!(bench.capacity("ocr.default").await, 10);
    bench
        .update("ocr")
        .set("rate_limit", rate(500))
        .done()
        .await;
    assert_eq!(bench.capacity("ocr.default").await, 500);
    bench.reset("ocr").await;
    assert_eq!(bench.capacity("ocr.default").await, 10);
    let update = bench.update("mine").set("step_rate_limit", rate(3));
    update.create().done().await;
    assert_eq!(bench.capacity("mine.step").await, 3);
}

pub async fn an_update_keeps_the_level_unless_told_otherwise(bench: &Bench) {
    let retune = |amount| bench.update("ocr").set("rate_limit", slow_rate(amount));
    retune(10).done().await;
    assert!(bench.is_granted("ocr.default", 8).await);
    retune(5).done().await;
    assert_eq!(bench.peek("ocr.default").await.unwrap().remaining, 2);
    let update = retune(6);
    update.level_policy(LevelPolicy::Refill).done().await;
    assert_eq!(bench.peek("ocr.default").await.unwrap().remaining, 6);
}

pub async fn of_racing_updates_the_last_one_is_the_limit(bench: &Bench) {
    assert!(bench.is_granted("ocr.default", 1).await);
    let updates = (1..=12).map(|amount| {
        let update = bench.update("ocr").set("rate_limit", rate(amount));
        crate::spawn(update.send())
    });
    for update in updates.collect::<Vec<_>>() {
        update.await.unwrap().unwrap();
    }
    let last = bench.get("ocr").await;
    let limit = last.limit(SettingKind::Limit, "default").unwrap();
    for _ in 0..3 {
        assert_eq!(bench.capacity("ocr.default").await, limit.capacity());
    }
}

pub async fn a_limit_of_a_pipeline_that_is_gone_is_deleted(bench: &Bench) {
    let update = bench.update("mine").set("a_rate_limit", rate(3));
    let update = update.set("b_rate_limit", rate(3)).create();
    update.done().await;
    assert!(bench.is_granted("mine.a", 1).await);
    assert!(bench.is_granted("mine.b", 1).await);
    bench.update("mine").unset("a_rate_limit").done().await;
    let gone = bench.charge("mine.a", 1).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::LimitNotFound);
    assert!(bench.is_granted("mine.b", 1).await);
    bench.reset("mine").await;
    let gone = bench.charge("mine.b", 1).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::LimitNotFound);
}

pub async fn a_limit_set_by_hand_holds_until_its_setting_changes(bench: &Bench) {
    bench.set_limit("ocr.default", 77).await;
    assert_eq!(bench.capacity("ocr.default").await, 77);
    bench.update("ocr").set("cache_ttl", secs(1)).done().await;
    assert_eq!(bench.capacity("ocr.default").await, 77);
    bench.update("ocr").set("rate_limit", rate(9)).done().await;
    assert_eq!(bench.capacity("ocr.default").await, 9);
}

pub async fn a_limit_that_was_deleted_comes_back_when_it_is_named(bench: &Bench) {
    assert!(bench.is_granted("ocr.default", 10).await);
    assert!(bench.delete_limit("ocr.default").await);
    assert!(bench.is_granted("ocr.default", 10).await);
}

pub async fn slots_of_a_pipeline_are_held_and_retuned(bench: &Bench) {
    for _ in 0..4 {
        assert!(bench.is_granted("ocr.default.slots", 1).await);
    }
    assert!(!bench.is_granted("ocr.default.slots", 1).await);
    bench
        .update("ocr")
        .set("max_concurrent", slots(5))
        .done()
        .await;
    assert!(bench.is_granted("ocr.default.slots", 1).await);
    assert!(!bench.is_granted("ocr.default.slots", 1).await);
}
