//! Attaching: generations, incarnations, and what the guard refuses.

mod support;

use std::sync::LazyLock;
use support::{Daemon, Server, quick, soon};
use trellis_redis::{CallError, Condition, RedisConfig, RefusalKind, Reply, Script};

static DECLARE_DEAD: LazyLock<Script> =
    LazyLock::new(|| Script::guarded(include_str!("../scripts/declare_dead.lua")));

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn an_attach_mints_a_generation_and_an_incarnation_by_the_store_time() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let session = daemon.attached().await;
    assert!(session.generation > 1_700_000_000_000_000 && session.incarnation < 1 << 53);
    assert!(session.incarnation > session.generation);
    assert_eq!(daemon.count().await, Ok(Reply::Int(1)));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_flushall_no_call_is_carried_out_until_a_new_generation_began() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let old = daemon.attached().await;
    daemon.count().await.unwrap();
    server.run(&["FLUSHALL"]);
    let error = daemon.count().await.unwrap_err();
    assert_eq!(error.refusal(), Some(RefusalKind::StaleGeneration));
    let new = daemon.session_after(old).await;
    assert!(new.generation > old.incarnation, "{new:?} {old:?}");
    assert!(new.incarnation > new.generation);
    assert_eq!(daemon.count().await, Ok(Reply::Int(1)));
    let stale = daemon
        .store
        .call(daemon.counting().within(old))
        .await
        .unwrap_err();
    assert_eq!(stale.refusal(), Some(RefusalKind::StaleGeneration));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_heart_notices_flushall_without_any_call() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::with(quick(&server), "a");
    let old = daemon.attached().await;
    server.run(&["FLUSHALL"]);
    assert!(daemon.session_after(old).await.generation > old.generation);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_restart_begins_a_new_generation_although_the_data_is_there() {
    let Some(mut server) = Server::start_with(&[
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]) else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let old = daemon.attached().await;
    daemon.count().await.unwrap();
    server.kill();
    daemon.is(Condition::Down).await;
    server.restart(&[]);
    let new = daemon.session_after(old).await;
    assert!(new.generation > old.generation);
    assert_eq!(new.incarnation, old.incarnation, "its record was kept");
    assert_eq!(daemon.count().await, Ok(Reply::Int(2)));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn an_old_dump_does_not_bring_back_an_old_generation() {
    let Some(mut server) = Server::start_with(&["--save", "", "--appendonly", "no"]) else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let first = daemon.attached().await;
    server.run(&["SAVE"]);
    server.run(&["FLUSHALL"]);
    let second = daemon.session_after(first).await;
    server.run(&["CONFIG", "SET", "dir", "/"]);
    server.kill();
    server.restart(&[]);
    let third = daemon.session_after(second).await;
    assert!(
        third.generation > second.incarnation,
        "{third:?} {second:?}"
    );
    assert!(third.incarnation > second.incarnation);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_connection_that_is_cut_is_attached_again_in_the_same_session() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let old = daemon.attached().await;
    server.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    let new = daemon.session_after(old).await;
    assert!(old.continues_in(&new) && new.link > old.link);
    assert_eq!(daemon.count().await, Ok(Reply::Int(1)));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_an_older_connection_still_carries_is_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let old = daemon.attached().await;
    let late = |stamp: String| {
        let script = concat!(
            include_str!("../scripts/common.lua"),
            include_str!("../scripts/guard.lua"),
            "return 'done'"
        );
        let (guard, generation) = (daemon.store.keys().guard(), old.generation.to_string());
        server.run(&["EVAL", script, "1", &guard, &generation, "a", &stamp])
    };
    let stamp = format!("{}.{}", old.incarnation, old.link);
    assert_eq!(late(stamp.clone()), "done");
    server.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    let new = daemon.session_after(old).await;
    assert!(late(stamp).starts_with("STALE_INCARNATION"));
    assert_eq!(late(format!("{}.{}", new.incarnation, new.link)), "done");
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_forgotten_script_is_loaded_inside_the_call() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    for count in 1..=3 {
        server.run(&["SCRIPT", "FLUSH"]);
        assert_eq!(daemon.count().await, Ok(Reply::Int(count)));
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn tokens_rise_although_the_store_clock_went_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let first = Daemon::on(&server, "a").await;
    // As if the clock had been an hour ahead when the last token was minted.
    let ahead = first.attached().await.incarnation + 3_600_000_000;
    server.run(&[
        "HSET",
        &first.store.keys().guard(),
        "minted",
        &ahead.to_string(),
    ]);
    let second = Daemon::on(&server, "b").await;
    assert_eq!(second.attached().await.incarnation, ahead + 1);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn of_two_processes_with_one_id_the_younger_stays() {
    let Some(server) = Server::start() else {
        return;
    };
    let older = Daemon::on(&server, "a").await;
    let younger = Daemon::on(&server, "a").await;
    older.is(Condition::Superseded).await;
    assert!(matches!(older.count().await, Err(CallError::Away(_))));
    assert_eq!(younger.count().await, Ok(Reply::Int(1)));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_verdict_on_a_beat_that_has_passed_is_void() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Daemon::on(&server, "a").await,
        Daemon::on(&server, "b").await,
    );
    let incarnation = b.attached().await.incarnation;
    let verdict = |incarnation, beat| {
        let call = trellis_redis::Call::new(&DECLARE_DEAD)
            .key(a.store.keys().members())
            .key(a.store.keys().dead());
        a.store
            .call(call.text("b").number(incarnation).number(beat))
    };
    assert_eq!(verdict(incarnation, 0).await.unwrap().text(), Some("moved"));
    assert_eq!(
        verdict(incarnation - 1, 1).await.unwrap().text(),
        Some("gone")
    );
    assert_eq!(b.count().await, Ok(Reply::Int(1)));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn the_mailbox_tells_messages_and_where_some_may_be_missing() {
    use trellis_redis::MailboxEvent::{Gap, Message};
    let Some(server) = Server::start() else {
        return;
    };
    let config = RedisConfig {
        port: server.port,
        ..RedisConfig::default()
    };
    let daemon = Daemon::with(config, "a");
    let mut mailbox = daemon.store.mailbox();
    assert_eq!(soon("the subscription", mailbox.next()).await, Some(Gap));
    let channel = daemon.store.keys().mailbox("a");
    assert_eq!(server.run(&["PUBLISH", &channel, "hello"]), "1");
    assert_eq!(
        soon("a message", mailbox.next()).await,
        Some(Message("hello".into()))
    );
    server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(soon("a gap", mailbox.next()).await, Some(Gap));
    assert_eq!(server.run(&["PUBLISH", &channel, "again"]), "1");
    assert_eq!(
        soon("a message", mailbox.next()).await,
        Some(Message("again".into()))
    );
}
