//! Near copies: what is read again costs nothing, and what has changed is not served once word of it has come, however
//! word, connections and the store itself are lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use futures::future::join_all;
use std::sync::Arc;
use support::cached::{Cached, LONG, commands_until, entry, key, namespace, near, text};
use support::{Proxy, Server, soon, spawn};
use trellis_core::cache::{
    Begun, Cache, ClearTarget, FetchOptions, GetOptions, Hit, Lookup, NearReset, ReadFrom, Source,
    StaleMode, Wait,
};
use trellis_core::{Micros, Tag};

/// How often all copies were given up for a reason.
fn resets(cached: &Cached, why: NearReset) -> u64 {
    cached.cache.status().near.resets[why as usize]
}

async fn until_reset(cached: &Cached, why: NearReset) {
    soon("a reset", async {
        while resets(cached, why) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Reads a key until it is answered from a copy.
async fn near_hit(cached: &Cached, of: &str) -> Hit {
    soon("a near hit", async {
        loop {
            let hit = cached.get(of).await.unwrap();
            if hit.source == Source::Near {
                return hit;
            }
        }
    })
    .await
}

fn tagged(value: &str) -> trellis_core::cache::NewEntry {
    let mut tagged = entry(value);
    tagged.policy.tags = [Tag::new("tag", "tag").unwrap()].into();
    tagged
}

/// The lease to compute a key anew, whatever there is.
async fn refresh(cached: &Cached, of: &str) -> trellis_core::cache::Lease {
    let begin = trellis_core::cache::Begin {
        namespace: namespace(),
        keys: vec![key(of)],
        options: FetchOptions {
            stale: StaleMode::Never,
            refresh: true,
            lease_ttl: LONG,
            compute_deadline: LONG,
            read: ReadFrom::Near,
        },
        wait: Wait::Whole,
    };
    let (mut answers, _) = Arc::clone(&cached.cache).begin(begin).await.unwrap();
    match answers.pop().unwrap().unwrap() {
        Begun::Lease(lease) => lease,
        other => panic!("no lease but {other:?}"),
    }
}

/// A daemon, and one whose link to the store is in the test's hands.
async fn one_behind_a_proxy(server: &Server) -> (Proxy, Cached, Cached) {
    let proxy = Proxy::before(server).await;
    let beside = Cached::near(server, "a").await;
    let behind = Cached::near_at(proxy.port, "b").await;
    (proxy, beside, behind)
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_is_read_again_costs_no_command() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Cached::near(&server, "a").await,
        Cached::near(&server, "b").await,
    );
    a.set("k", entry("v")).await;
    a.set("t", tagged("v")).await;
    for of in ["k", "t"] {
        assert_eq!(b.get(of).await.unwrap().source, Source::Shared);
        near_hit(&b, of).await;
    }
    let commands = commands_until(&server, "done", async {
        for _ in 0..1_000 {
            for of in ["k", "t"] {
                let hit = b.get(of).await.unwrap();
                assert_eq!((hit.content, hit.source), (text("v"), Source::Near));
            }
            let begun = b.begin(&["k", "t"], LONG, Wait::Whole).await;
            assert!(begun.iter().all(|one| matches!(
                one,
                Begun::Hit { hit, refresh: None } if hit.source == Source::Near
            )));
        }
    })
    .await;
    // What was counted is told, a few times a second; the check reads one key that is none of the cache.
    assert!(
        commands.iter().all(|name| name == "evalsha"),
        "{commands:?}"
    );
    assert!(commands.len() < 400, "{}", commands.len());
    let near = b.cache.status().near;
    assert!(
        near.serving && near.entries == 2 && near.bytes > 0,
        "{near:?}"
    );
    assert!(near.hits >= 4_000 && near.misses >= 2, "{near:?}");
    soon("the ledger", async {
        while a
            .cache
            .stats(&namespace())
            .await
            .unwrap()
            .0
            .ledger
            .near_hits
            < 4_000
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_sees_at_once_what_it_has_done_itself() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Cached::near(&server, "a").await;
    for round in 0..100 {
        let value = format!("{round}");
        a.set("k", tagged(&value)).await;
        let held = |hit: Option<Hit>| hit.map(|hit| hit.content.value().unwrap().to_vec());
        assert_eq!(held(a.get("k").await).unwrap(), value.as_bytes());
        near_hit(&a, "k").await;
        match round % 4 {
            0 => a.delete("k").await,
            1 => a.clear(ClearTarget::All).await,
            2 => {
                a.clear(ClearTarget::Tag(Tag::new("tag", "tag").unwrap()))
                    .await;
            }
            _ => {
                let lease = refresh(&a, "k").await;
                a.fill(lease, "filled").await.unwrap();
                let filled = a.get("k").await.unwrap();
                assert_eq!(filled.content, text("filled"));
                continue;
            }
        }
        assert_eq!(a.get("k").await, None, "round {round}");
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_sees_what_another_has_done_once_word_of_it_has_come() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Cached::near(&server, "a").await,
        Cached::near(&server, "b").await,
    );
    for round in 0..100 {
        let value = format!("{round}");
        a.set("k", tagged(&value)).await;
        b.cache.settled().await;
        let hit = near_hit(&b, "k").await;
        assert_eq!(hit.content.value().unwrap(), value.as_bytes());
        match round % 4 {
            0 => a.delete("k").await,
            1 => a.clear(ClearTarget::All).await,
            2 => {
                a.clear(ClearTarget::Tag(Tag::new("tag", "tag").unwrap()))
                    .await;
            }
            _ => {
                let lease = refresh(&a, "k").await;
                a.fill(lease, "filled").await.unwrap();
                b.cache.settled().await;
                assert_eq!(b.get("k").await.unwrap().content, text("filled"));
                continue;
            }
        }
        b.cache.settled().await;
        assert_eq!(b.get("k").await, None, "round {round}");
    }
    assert!(b.cache.status().near.invalidations >= 100);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_value_overtaken_on_its_way_is_not_served_afterwards() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let a = Cached::near(&server, "a").await;
    let b = Arc::new(Cached::near_at(proxy.port, "b").await);
    a.set("k", entry("old")).await;
    let reads = || {
        let stats = server.run(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_mget"));
        line.map(str::to_owned)
    };
    let before = reads();
    // The value is read, and does not arrive.
    proxy.hold_answers();
    let reading = spawn({
        let b = Arc::clone(&b);
        async move { b.get("k").await }
    });
    soon("the read", async {
        while reads() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It is overtaken; word of it arrives behind it.
    a.set("k", entry("new")).await;
    proxy.deliver();
    let read = soon("the value", reading).await.unwrap().unwrap();
    assert_eq!(read.content, text("old"));
    b.cache.settled().await;
    assert_eq!(b.get("k").await.unwrap().content, text("new"));
    assert_eq!(near_hit(&b, "k").await.content, text("new"));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_cut_link_empties_the_copies() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, a, b) = one_behind_a_proxy(&server).await;
    a.set("k", entry("old")).await;
    near_hit(&b, "k").await;
    proxy.cut(true);
    // While cut off nobody tells of this.
    a.set("k", entry("new")).await;
    until_reset(&b, NearReset::Disconnected).await;
    let near = b.cache.status().near;
    assert_eq!((near.serving, near.entries), (false, 0));
    proxy.cut(false);
    b.is_serving().await;
    b.daemon.attached().await;
    assert_eq!(near_hit(&b, "k").await.content, text("new"));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_killed_tracking_connection_empties_the_copies_and_fails_no_read() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Cached::near(&server, "a").await,
        Cached::near(&server, "b").await,
    );
    a.set("k", entry("0")).await;
    near_hit(&b, "k").await;
    for round in 1..=5 {
        let clients = server.run(&["CLIENT", "LIST"]);
        let tracked = clients
            .lines()
            .filter(|client| client.contains(" flags=t "));
        let mut killed = 0;
        for client in tracked {
            let id = client.split(' ').next().unwrap();
            let id = id.strip_prefix("id=").unwrap();
            server.run(&["CLIENT", "KILL", "ID", id]);
            killed += 1;
        }
        assert!(killed > 0, "{clients}");
        let value = format!("{round}");
        a.set("k", entry(&value)).await;
        // Whatever is answered meanwhile is an answer.
        for _ in 0..20 {
            b.get("k").await.unwrap();
        }
        soon("the reset", async {
            while resets(&b, NearReset::Disconnected) < round {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let hit = b.get("k").await.unwrap();
        assert_eq!(hit.content.value().unwrap(), value.as_bytes());
        b.is_serving().await;
        a.is_serving().await;
        near_hit(&b, "k").await;
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_a_flush_no_copy_is_left() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Cached::near(&server, "a").await;
    a.set("k", entry("v")).await;
    near_hit(&a, "k").await;
    let old = a.daemon.attached().await;
    server.run(&["FLUSHALL"]);
    // No write of anybody finds out: the check does.
    until_reset(&a, NearReset::Generation).await;
    a.daemon.session_after(old).await;
    assert_eq!(a.get("k").await, None);
    a.is_serving().await;
    a.set("k", entry("new")).await;
    assert_eq!(near_hit(&a, "k").await.content, text("new"));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn where_word_of_changes_is_lost_a_copy_ends_by_its_age() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, a, b) = one_behind_a_proxy(&server).await;
    a.set("k", entry("old")).await;
    near_hit(&b, "k").await;
    proxy.drop_invalidations();
    a.set("k", entry("new")).await;
    b.cache.settled().await;
    // Indeed lost.
    assert_eq!(b.get("k").await.unwrap().content, text("old"));
    b.daemon.clock.pass(near().max_staleness);
    let hit = b.get("k").await.unwrap();
    assert_eq!((hit.content, hit.source), (text("new"), Source::Shared));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_read_of_the_store_passes_a_copy_by_and_ends_an_older_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, a, b) = one_behind_a_proxy(&server).await;
    a.set("k", entry("old")).await;
    near_hit(&b, "k").await;
    proxy.drop_invalidations();
    a.set("k", entry("new")).await;
    assert_eq!(b.get("k").await.unwrap().content, text("old"));
    let hit = b.get_shared("k").await.unwrap();
    assert_eq!((hit.content, hit.source), (text("new"), Source::Shared));
    // Who has seen the newer value is not told the older one again.
    let hit = b.get("k").await.unwrap();
    assert_eq!((hit.content, hit.source), (text("new"), Source::Shared));
    assert_eq!(b.get("k").await.unwrap().source, Source::Near);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_copy_is_fresh_no_longer_than_its_entry() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Cached::near(&server, "a").await;
    let mut short = entry("v");
    short.policy.ttl = Micros::from_secs(30);
    a.set("k", short).await;
    let hit = near_hit(&a, "k").await;
    assert!(hit.ttl <= Micros::from_secs(30));
    // On this daemon's clock alone, so the store still has it.
    a.daemon.clock.pass(Micros(hit.ttl.0 / 2));
    let later = a.get("k").await.unwrap();
    assert_eq!(later.source, Source::Near);
    assert!(later.ttl.0 <= hit.ttl.0 / 2 + 1, "{:?}", later.ttl);
    a.daemon.clock.pass(later.ttl);
    assert_eq!(a.get("k").await.unwrap().source, Source::Shared);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn many_changes_at_once_are_all_heard_or_empty_the_copies() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let b = Cached::near_at(proxy.port, "b").await;
    // More than the driver holds back for a reader.
    let names: Vec<String> = (0..6_000).map(|number| format!("k{number}")).collect();
    for names in names.chunks(500) {
        join_all(names.iter().map(|name| b.set(name, entry("v")))).await;
    }
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    let seen = || async {
        let mut hits = 0;
        for keys in keys.chunks(1_000) {
            let (found, _) = b
                .cache
                .get(&namespace(), keys, GetOptions::default())
                .await
                .unwrap();
            hits += found.into_iter().filter_map(Lookup::hit).count();
        }
        hits
    };
    b.cache.settled().await;
    assert_eq!(seen().await, names.len());
    assert_eq!(b.cache.status().near.entries, 6_000);
    proxy.hold_answers();
    let root = b.daemon.store.keys().of("cache", &["n"]);
    let script = "for i = 0, 5999 do redis.call('DEL', KEYS[1] .. ':v:k' .. i) end return 1";
    assert_eq!(server.run(&["EVAL", script, "1", &root]), "1");
    proxy.deliver();
    b.cache.settled().await;
    assert_eq!(seen().await, 0);
}
