//! Shared pipelines when hints are lost, the store forgets, daemons start late or are cut off: what was set last stands on every
//! daemon, and nothing that was reset comes back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod obeying;
#[path = "../support/mod.rs"]
mod support;

use obeying::{Obeying, daily, key, name, namespace, ttl};
use support::{Daemon, Proxy, Server, soon};
use trellis_core::limits::{LevelPolicy, SpecSource};
use trellis_core::pipelines::{
    PipelineBounds, PipelineSource, PipelineView, Pipelines, SettingKind, SettingValue,
    UpdatePipeline,
};
use trellis_core::{ErrorCode, Micros, Scope};
use trellis_redis::{Condition, RedisPipelinesConfig};

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_change_whose_hint_is_lost_is_obeyed_all_the_same() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let a = Obeying::on(&server, "a").await;
    let b = Obeying::behind(&server, &proxy, "b").await;
    let told = a.update("mine", 5, 50).await.unwrap();
    b.obeys("mine", Some(&told)).await;
    proxy.lose_messages(true);
    let lost = a.update("mine", 6, 60).await.unwrap();
    proxy.has_lost().await;
    b.obeys("mine", Some(&lost)).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_was_cut_off_obeys_what_it_has_missed_once_it_is_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let a = Obeying::on(&server, "a").await;
    let b = Obeying::behind(&server, &proxy, "b").await;
    let (before, gone) = (
        a.update("mine", 5, 50).await.unwrap(),
        a.update("gone", 5, 50).await.unwrap(),
    );
    b.obeys("mine", Some(&before)).await;
    b.obeys("gone", Some(&gone)).await;
    proxy.cut(true);
    b.daemon.is(Condition::Down).await;
    let missed = a.update("mine", 6, 60).await.unwrap();
    a.reset("gone").await.unwrap();
    // What was last known is in force, and says so.
    let (known, scope) = b.get("mine").await.unwrap();
    assert_eq!(known, before);
    assert!(matches!(scope, Scope::Degraded { .. }), "{scope:?}");
    assert_eq!(b.obeyed("gone"), Some(gone));
    proxy.cut(false);
    b.obeys("mine", Some(&missed)).await;
    b.obeys("gone", None).await;
    assert_eq!(b.get("mine").await.unwrap(), (missed, Scope::Shared));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn while_the_store_is_away_nothing_changes_and_the_error_says_what_to_do() {
    let Some(mut server) = Server::start_with(&["--save", "", "--appendonly", "yes"]) else {
        return;
    };
    let a = Obeying::on(&server, "a").await;
    let before = a.update("ocr", 5, 50).await.unwrap();
    server.kill();
    a.daemon.is(Condition::Down).await;
    for error in [
        a.update("ocr", 6, 60).await.unwrap_err(),
        a.reset("ocr").await.unwrap_err(),
    ] {
        assert_eq!(error.code, ErrorCode::StoreUnavailable);
        let says = "stay in force: send it again when GetStatus shows the store up";
        assert!(error.message.contains(says), "{}", error.message);
        assert!(error.retry_after.is_some());
    }
    assert_eq!(a.obeyed("ocr"), Some(before.clone()));
    server.restart(&[]);
    a.daemon.is(Condition::Up).await;
    soon("a shared answer", async {
        while a.get("ocr").await.unwrap().1 != Scope::Shared {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(a.get("ocr").await.unwrap().0, before);
    a.update("ocr", 6, 60).await.unwrap();
}

/// What the daemons know goes back to a store that has lost it, of each pipeline the highest version.
async fn after_a_loss(mut server: Server, lose: impl AsyncFnOnce(&mut Server)) {
    let proxy = Proxy::before(&server).await;
    let a = Obeying::on(&server, "a").await;
    let b = Obeying::behind(&server, &proxy, "b").await;
    for pipeline in ["mine", "gone", "ocr"] {
        let known = a.update(pipeline, 5, 50).await.unwrap();
        b.obeys(pipeline, Some(&known)).await;
    }
    assert_eq!(
        b.charge("mine.default", None).await.unwrap(),
        (true, SpecSource::Pipeline)
    );
    // One knows older values than the other, and something that is gone.
    proxy.cut(true);
    b.daemon.is(Condition::Down).await;
    let mine = a.update("mine", 6, 60).await.unwrap();
    a.reset("gone").await.unwrap();
    let (ocr, before) = (a.get("ocr").await.unwrap().0, a.daemon.attached().await);
    lose(&mut server).await;
    proxy.cut(false);
    a.daemon.session_after(before).await;
    a.obeys("mine", Some(&mine)).await;
    b.obeys("mine", Some(&mine)).await;
    b.obeys("gone", None).await;
    b.obeys("ocr", Some(&ocr)).await;
    // So says the store, to one who knew nothing.
    let c = Obeying::on(&server, "c").await;
    assert_eq!(c.get("mine").await.unwrap(), (mine.clone(), Scope::Shared));
    assert_eq!(c.get("ocr").await.unwrap().0, ocr);
    assert_eq!(
        c.get("gone").await.unwrap_err().code,
        ErrorCode::PipelineNotFound
    );
    // Limits are declared again, also where the caller brings a spec of its own, and versions go on.
    assert_eq!(
        b.charge("mine.default", None).await.unwrap(),
        (true, SpecSource::Pipeline)
    );
    assert_eq!(b.peek("mine.default").await.unwrap().0, 60);
    let later = c.update("mine", 7, 70).await.unwrap();
    assert!(later.version() > mine.version());
    a.obeys("mine", Some(&later)).await;
    assert_eq!(
        a.peek("mine.default").await.unwrap(),
        (70, SpecSource::Pipeline)
    );
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_flushall_the_highest_version_that_any_daemon_knows_stands() {
    let Some(server) = Server::start() else {
        return;
    };
    after_a_loss(server, async |server| {
        server.run(&["FLUSHALL"]);
    })
    .await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_a_restart_without_persistence_the_same() {
    let Some(server) = Server::start() else {
        return;
    };
    after_a_loss(server, async |server| {
        server.kill();
        server.restart(&[]);
    })
    .await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn settings_outlive_every_daemon() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Obeying::on(&server, "a").await;
    let set = a.update("ocr", 5, 50).await.unwrap();
    assert_eq!(
        a.peek("ocr.default").await.unwrap(),
        (50, SpecSource::Pipeline)
    );
    a.daemon.store.leave().await.unwrap();
    drop(a);
    let b = Obeying::on(&server, "b").await;
    assert_eq!(b.obeyed("ocr"), Some(set.clone()), "before its first call");
    assert_eq!(b.get("ocr").await.unwrap(), (set.clone(), Scope::Shared));
    let source = set
        .values()
        .find(|(kind, ..)| *kind == SettingKind::CacheTtl);
    assert_eq!(
        source.map(|(.., source)| source),
        Some(PipelineSource::Update)
    );
    assert_eq!(
        b.peek("ocr.default").await.unwrap(),
        (50, SpecSource::Pipeline)
    );
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_limit_set_by_hand_stands_against_a_daemon_that_learns_of_the_change_later() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Obeying::on(&server, "a").await,
        Obeying::on(&server, "b").await,
    );
    assert_eq!(b.peek("ocr.default").await.unwrap().0, 10);
    let changed = a.update("ocr", 5, 50).await.unwrap();
    a.set_by_hand("ocr.default", 77).await;
    b.obeys("ocr", Some(&changed)).await;
    for daemon in [&a, &b] {
        let stands = daemon.peek("ocr.default").await.unwrap();
        assert_eq!(stands, (77, SpecSource::SetLimit));
    }
    // Until its setting changes, wherever.
    b.update("ocr", 5, 60).await.unwrap();
    assert_eq!(
        a.peek("ocr.default").await.unwrap(),
        (60, SpecSource::Pipeline)
    );
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_callers_own_spec_gives_way_to_the_pipeline_after_a_loss() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Obeying::on(&server, "a").await;
    a.update("mine", 5, 50).await.unwrap();
    let own = || Some(daily(3));
    let told = a.charge("mine.default", own()).await.unwrap();
    assert_eq!(told, (true, SpecSource::Pipeline));
    let before = a.daemon.attached().await;
    server.run(&["FLUSHALL"]);
    a.daemon.session_after(before).await;
    // The first call may go by its own spec, the next does not.
    a.charge("mine.default", own()).await.unwrap();
    let told = a.charge("mine.default", own()).await.unwrap();
    assert_eq!(told.1, SpecSource::Pipeline);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn values_of_a_later_version_change_nothing_and_the_last_good_ones_stay() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Obeying::on(&server, "a").await;
    let good = a.update("ocr", 5, 50).await.unwrap();
    let root = a.daemon.store.keys().of("pipelines", &[]);
    let write = "local field = 'n/with a slash/ocr'
        local number = tonumber(redis.call('ZSCORE', KEYS[2], field)) + 1
        local set = cmsgpack.pack({9, {}, {}})
        redis.call('HSET', KEYS[1], field, cmsgpack.pack({number, number, set}))
        redis.call('ZADD', KEYS[2], string.format('%.0f', number), field)";
    let (records, changes) = (format!("{root}:r"), format!("{root}:c"));
    server.run(&["EVAL", write, "2", &records, &changes]);
    assert_eq!(a.get("ocr").await.unwrap(), (good.clone(), Scope::Shared));
    let refused = a.update("ocr", 6, 60).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PipelineChanged);
    assert!(
        refused.message.contains("later version"),
        "{}",
        refused.message
    );
    // Others are as they were, also when everything is read anew.
    let mine = a.update("mine", 7, 70).await.unwrap();
    let before = a.daemon.attached().await;
    server.run(&["FLUSHALL"]);
    a.daemon.session_after(before).await;
    a.obeys("mine", Some(&mine)).await;
    assert_eq!(ttl(&a.get("ocr").await.unwrap().0), ttl(&good));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn more_resets_than_are_remembered_leave_no_daemon_behind() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let a = Obeying::on(&server, "a").await;
    let b = Obeying::behind(&server, &proxy, "b").await;
    for number in 0..8 {
        let known = a.update(&format!("p{number}"), 5, 50).await.unwrap();
        b.obeys(&format!("p{number}"), Some(&known)).await;
    }
    proxy.cut(true);
    b.daemon.is(Condition::Down).await;
    for number in 0..20 {
        let name = format!("p{number}");
        a.update(&name, 6, 60).await.unwrap();
        a.reset(&name).await.unwrap();
    }
    let root = a.daemon.store.keys().of("pipelines", &[]);
    assert_eq!(server.run(&["ZCARD", &format!("{root}:gone")]), "8");
    assert_eq!(server.run(&["HLEN", &format!("{root}:r")]), "8");
    assert_eq!(server.run(&["EXISTS", &format!("{root}:n")]), "0");
    proxy.cut(false);
    for number in 0..20 {
        b.obeys(&format!("p{number}"), None).await;
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn many_large_pipelines_are_read_in_parts() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let config = RedisPipelinesConfig { max_namespaces: 8 };
    let a = daemon.pipelines(config, PipelineBounds::default());
    let step = |number: usize| format!("{}{number}_cache_ttl", "x".repeat(50));
    for number in 0..300 {
        let ttl = |secs: usize| SettingValue::Ttl(Micros::from_secs(secs as u64 + 1));
        let update = UpdatePipeline {
            namespace: namespace(),
            name: name(&format!("p{number}")),
            values: (0..60)
                .map(|at| (key(&step(at)), ttl(at + number)))
                .collect(),
            dropped: Vec::new(),
            replaced: Vec::new(),
            base_version: None,
            allow_missing: true,
            level_policy: LevelPolicy::KeepAmount,
        };
        a.update(update).await.unwrap();
    }
    let late = Daemon::on(&server, "b").await;
    let b = late.pipelines(config, PipelineBounds::default());
    soon("the pipelines", b.loaded()).await;
    let before = daemon.attached().await;
    for number in 0..300 {
        let name = format!("p{number}");
        assert_eq!(b.find(&namespace(), &name), a.find(&namespace(), &name));
    }
    // And put back in parts.
    server.run(&["FLUSHALL"]);
    daemon.session_after(before).await;
    soon("what was put back", async {
        let root = daemon.store.keys().of("pipelines", &[]);
        while server.run(&["HLEN", &format!("{root}:r")]) != "300" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
