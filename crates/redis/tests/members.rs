//! Membership: daemons on one store see each other live, leave and die.

mod support;

use std::time::Duration;
use support::{Daemon, Proxy, Server, quick, soon};
use trellis_core::{Clock, Cluster, Micros};
use trellis_redis::{CallError, Condition, RedisCluster, RedisConfig, RefusalKind};

const YEARS: i64 = 10 * 365 * 86_400 * 1_000_000;

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn two_daemons_see_each_other() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Daemon::with(quick(&server), "a"),
        Daemon::with(quick(&server), "b"),
    );
    a.sees(&["a", "b"]).await;
    b.sees(&["a", "b"]).await;
    let members = a.membership.snapshot();
    let other = &members[1];
    assert_eq!((other.version.as_str(), other.protocol), ("1.2.3", 4));
    assert_eq!(other.address, "b.example:7117");
    assert_eq!(other.generation, a.attached().await.generation);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_whose_heart_stops_is_declared_dead_and_its_scripts_are_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Daemon::with(quick(&server), "a"),
        Daemon::with(quick(&server), "b"),
    );
    a.sees(&["a", "b"]).await;
    let old = b.attached().await;
    b.heart.cancel();
    a.sees(&["a"]).await;
    let assured = b.membership.assurance().unwrap();
    assert_eq!(assured.incarnation, old.incarnation);
    assert!(
        b.clock.now().mono > assured.until,
        "it was declared dead while it was assured"
    );
    let error = b.count().await.unwrap_err();
    assert_eq!(error.refusal(), Some(RefusalKind::StaleIncarnation));
    let new = b.session_after(old).await;
    assert_eq!(new.generation, old.generation);
    assert!(new.incarnation > old.incarnation);
    b.count().await.unwrap();
    let stale = b.store.call(b.counting().within(old)).await.unwrap_err();
    assert_eq!(stale.refusal(), Some(RefusalKind::StaleGeneration));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_leaves_is_gone_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut slow = quick(&server);
    slow.death_after = Duration::from_mins(10);
    let (a, b) = (Daemon::with(slow.clone(), "a"), Daemon::with(slow, "b"));
    a.sees(&["a", "b"]).await;
    b.store.leave().await.unwrap();
    a.sees(&["a"]).await;
    assert!(matches!(b.count().await, Err(CallError::Away(_))));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn who_left_before_a_daemon_was_back_is_not_among_the_lost() {
    for withhold_for in [Duration::ZERO, Duration::from_mins(10)] {
        let Some(server) = Server::start() else {
            return;
        };
        let proxy = Proxy::before(&server).await;
        let patient = |port| RedisConfig {
            port,
            death_after: Duration::from_mins(10),
            withhold_for,
            ..quick(&server)
        };
        let a = Daemon::with(patient(proxy.port), "a");
        let b = Daemon::with(patient(server.port), "b");
        a.sees(&["a", "b"]).await;
        let (old_a, old_b) = (a.attached().await, b.attached().await);
        proxy.cut(true);
        server.run(&["FLUSHALL"]);
        b.session_after(old_b).await;
        b.store.leave().await.unwrap();
        proxy.cut(false);
        a.session_after(old_a).await;
        a.sees(&["a"]).await;
        assert!(a.membership.withheld().is_empty());
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_leaping_wall_clock_kills_nobody() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Daemon::with(quick(&server), "a"),
        Daemon::with(quick(&server), "b"),
    );
    a.sees(&["a", "b"]).await;
    let (of_a, of_b) = (a.attached().await, b.attached().await);
    let beat = |daemon: &Daemon| daemon.membership.snapshot()[1].beat;
    for leap in [YEARS, -2 * YEARS, YEARS] {
        a.clock.leap(leap);
        let from = beat(&a);
        let mut members = a.membership.watch();
        // Beyond `death_after`.
        let beats = members.wait_for(|members| members.get(1).is_none_or(|b| b.beat > from + 12));
        soon("beats", beats).await.unwrap();
        a.sees(&["a", "b"]).await;
    }
    assert_eq!(
        (a.store.session(), b.store.session()),
        (Some(of_a), Some(of_b))
    );
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn an_absence_of_the_store_kills_nobody() {
    let Some(mut server) = Server::start_with(&["--save", "", "--appendonly", "yes"]) else {
        return;
    };
    let (a, b) = (
        Daemon::with(quick(&server), "a"),
        Daemon::with(quick(&server), "b"),
    );
    a.sees(&["a", "b"]).await;
    let (of_a, of_b) = (a.attached().await, b.attached().await);
    server.kill();
    let back = a.clock.now().mono + Duration::from_millis(1_200).into();
    while a.clock.now().mono < back {
        assert!(matches!(
            a.count().await,
            Err(CallError::Away(_) | CallError::Unknown(_))
        ));
        tokio::task::yield_now().await;
    }
    server.restart(&[]);
    let (new_a, new_b) = (a.session_after(of_a).await, b.session_after(of_b).await);
    assert_eq!(new_a.generation, new_b.generation);
    assert_eq!(
        (new_a.incarnation, new_b.incarnation),
        (of_a.incarnation, of_b.incarnation)
    );
    let mut members = a.membership.watch();
    let attached = |members: &std::sync::Arc<[trellis_redis::Member]>| {
        members.len() == 2
            && members
                .iter()
                .all(|member| member.generation == new_a.generation)
    };
    soon("both members", members.wait_for(attached))
        .await
        .unwrap();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_member_that_the_store_has_lost_counts_until_it_would_be_dead() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Daemon::with(quick(&server), "a"),
        Daemon::with(quick(&server), "b"),
    );
    a.sees(&["a", "b"]).await;
    let old = a.attached().await;
    b.stop.cancel();
    b.heart.cancel();
    server.run(&["FLUSHALL"]);
    let new = a.session_after(old).await;
    let mut members = a.membership.watch();
    let own =
        |members: &std::sync::Arc<[trellis_redis::Member]>| members[0].generation == new.generation;
    let members = soon("a look", members.wait_for(own)).await.unwrap().clone();
    let lost = members.iter().find(|member| member.daemon == "b");
    assert_eq!(lost.map(|member| member.generation), Some(old.generation));
    a.sees(&["a"]).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_silence_grows_while_nobody_can_look() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Daemon::with(quick(&server), "a"),
        Daemon::with(quick(&server), "b"),
    );
    a.sees(&["a", "b"]).await;
    drop(b);
    server.kill();
    a.is(Condition::Down).await;
    let cluster = RedisCluster::new(a.store.clone(), a.membership.clone());
    let members = cluster.members();
    soon("silence", async {
        let grown = Micros::from_millis(200);
        while cluster.members()[1].silence < Micros(members[1].silence.0 + grown.0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(cluster.members()[0].silence > members[0].silence, "its own");
}
