//! The shared cache when daemons stop, the store forgets, values are damaged and hints are lost: every call that waits
//! gets its value or the lease, and nobody is served what is not there.

mod support;

use bytes::Bytes;
use support::cached::{Cached, LONG, commands_until, entry, key, leased, namespace, text, value};
use support::{PATIENCE, Server, soon};
use tokio::time::Instant;
use trellis_core::cache::{
    Begun, Cache, ClearTarget, GetOptions, LeaseEnd, Lookup, Progress, ReadFrom, Wait,
};
use trellis_core::{Micros, Tag};
use trellis_redis::RedisConfig;

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_filler_that_stops_is_followed_when_it_is_declared_dead() {
    for sends_a_part in [false, true] {
        let Some(server) = Server::start() else {
            return;
        };
        let (a, b) = (
            Cached::on(&server, "a").await,
            Cached::on(&server, "b").await,
        );
        b.daemon.sees(&["a", "b"]).await;
        let lease = a.lease("k").await;
        let mut waiting = b.wait("k").await;
        if sends_a_part {
            a.append(lease, 0, "half a value").await;
            let part = soon("a part", waiting.next()).await.unwrap();
            assert_eq!(part, Progress::Part(Bytes::from_static(b"half a value")));
        }
        a.stop();
        let stopped = Instant::now();
        let next = leased(&mut waiting).await;
        // Long before the lease's own end.
        assert!(stopped.elapsed() < std::time::Duration::from_secs(20));
        b.fill(next, "v").await.unwrap();
        assert_eq!(b.get("k").await.unwrap().content, text("v"));
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_lease_that_is_not_renewed_goes_to_a_daemon_in_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Cached::on(&server, "a").await,
        Cached::on(&server, "b").await,
    );
    let lease = a.lease_for("k", Micros::from_millis(300)).await;
    let mut waiting = b.wait("k").await;
    let next = leased(&mut waiting).await;
    assert_eq!(a.fill(lease, "late").await, Err(LeaseEnd::Expired));
    b.fill(next, "v").await.unwrap();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_stalled_daemon_at_the_head_of_a_line_is_passed_over() {
    let Some(server) = Server::start() else {
        return;
    };
    let config = || RedisConfig {
        port: server.port,
        death_after: PATIENCE,
        ..RedisConfig::default()
    };
    let (a, b, c) = (
        Cached::with(config(), "a").await,
        Cached::with(config(), "b").await,
        Cached::with(config(), "c").await,
    );
    let lease = a.lease("k").await;
    let _first = b.wait("k").await;
    let mut second = c.wait("k").await;
    // Nobody declares it dead within the time that this test may take.
    b.daemon.stop.cancel();
    a.give_up(lease).await;
    let next = leased(&mut second).await;
    c.fill(next, "v").await.unwrap();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_lost_hint_costs_the_time_to_the_end_of_the_lease_and_no_answer() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Cached::on(&server, "a").await,
        Cached::on(&server, "b").await,
    );
    let lease = a.lease_for("k", Micros::from_millis(500)).await;
    let mut waiting = b.wait("k").await;
    // The flight goes, and nobody tells.
    let root = b.daemon.store.keys().of("cache", &["n"]);
    let gone = server.run(&["DEL", &format!("{root}:g:k"), &format!("{root}:w:k")]);
    assert_eq!(gone, "2");
    let next = leased(&mut waiting).await;
    assert!(next.id > lease.id);
    assert_eq!(a.fill(lease, "late").await, Err(LeaseEnd::Unknown));
    b.fill(next, "v").await.unwrap();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_a_flush_every_lease_is_void_and_those_who_wait_begin_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Cached::on(&server, "a").await,
        Cached::on(&server, "b").await,
    );
    let (lease, old) = (a.lease("k").await, b.daemon.attached().await);
    a.append(lease, 0, "old").await;
    let mut waiting = [b.wait("k").await, b.wait("k").await];
    let part = soon("a part", waiting[0].next()).await.unwrap();
    assert_eq!(part, Progress::Part(Bytes::from_static(b"old")));
    let a_was = a.daemon.attached().await;
    server.run(&["FLUSHALL"]);
    a.daemon.session_after(a_was).await;
    b.daemon.session_after(old).await;
    let restarted = soon("a restart", waiting[0].next()).await.unwrap();
    assert_eq!(restarted, Progress::Restarted(LeaseEnd::Unknown));
    assert_eq!(a.fill(lease, "late").await, Err(LeaseEnd::Unknown));
    assert_eq!(a.get("k").await, None);
    let [first, second] = &mut waiting;
    let next = leased(first).await;
    assert!(next.id > lease.id, "{next:?} {lease:?}");
    let filling = async { b.fill(next, "new").await.unwrap() };
    let (_, got) = tokio::join!(filling, value(second));
    assert_eq!(got, text("new"));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_damaged_or_foreign_value_is_a_miss_that_is_computed_anew() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Cached::on(&server, "a").await;
    let root = a.daemon.store.keys().of("cache", &["n"]);
    let harm: [(&str, &[&str]); 5] = [
        ("content", &["SETRANGE", "-1", "X"]),
        ("header", &["SETRANGE", "6", "X"]),
        ("format", &["SETRANGE", "0", "X"]),
        ("foreign", &["SET", "something else"]),
        ("empty", &["SET", ""]),
    ];
    for (name, command) in harm {
        a.set(name, entry("a value")).await;
        assert!(a.get(name).await.is_some());
        let at = format!("{root}:v:{name}");
        let length = server.run(&["STRLEN", &at]).parse::<usize>().unwrap();
        let last = (length - 1).to_string();
        let rest: Vec<&str> = command[1..]
            .iter()
            .map(|word| if *word == "-1" { last.as_str() } else { *word })
            .collect();
        server.run(&[&[command[0], at.as_str()][..], &rest[..]].concat());
        assert_eq!(a.get(name).await, None, "{name}");
        let lease = a.lease(name).await;
        a.fill(lease, "anew").await.unwrap();
        assert_eq!(a.get(name).await.unwrap().content, text("anew"), "{name}");
    }
    a.set("list", entry("a value")).await;
    server.run(&["DEL", &format!("{root}:v:list")]);
    server.run(&["LPUSH", &format!("{root}:v:list"), "x"]);
    assert_eq!(a.get("list").await, None);
    let lease = a.lease("list").await;
    a.fill(lease, "anew").await.unwrap();
    assert_eq!(a.get("list").await.unwrap().content, text("anew"));
    // Each seen by `get` and by `begin`; a list is no value at all.
    assert_eq!(a.cache.status().damaged, 10);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_batch_takes_three_round_trips_whatever_its_size() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Cached::on(&server, "a").await,
        Cached::on(&server, "b").await,
    );
    let names: Vec<String> = (0..120).map(|number| format!("k{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names[..40] {
        let mut tagged = entry("v");
        tagged.policy.tags = [Tag::new("tag", "tag").unwrap()].into();
        a.set(name, tagged).await;
    }
    // The script is known, and what is counted has been told, before commands are.
    a.lease(names[40]).await;
    let namespace = namespace();
    soon("the counts", async {
        while a.cache.stats(&namespace).await.unwrap().0.ledger.sets < 40 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // As they are, and once some tag was cleared after them: then only a look at their tags tells that they are there.
    for done in ["fresh", "doubtful"] {
        let commands = commands_until(&server, done, async {
            let begun = b.begin(&names, LONG, Wait::Whole).await;
            let hits = begun.iter().filter(|one| matches!(one, Begun::Hit { .. }));
            assert_eq!(hits.count(), 40);
            let leases = begun.iter().filter(|one| matches!(one, Begun::Lease(_)));
            assert_eq!(leases.count(), if done == "fresh" { 79 } else { 0 });
        })
        .await;
        // Sizes, unless it is known since a moment that none is large; values with the namespace's clears, the time and, if that is
        // not known since just then, how large the largest is; leases and places in line.
        let sized = usize::from(commands[0] == "hmget");
        assert!(sized == 1 || done == "doubtful", "{commands:?}");
        let trips = ["mget", "hmget", "time"];
        let (values, rest) = commands[sized..].split_at(trips.len().min(commands.len() - sized));
        assert_eq!(values, trips, "{commands:?}");
        let rest = &rest[usize::from(rest[0] == "get")..];
        assert_eq!(rest[0], "evalsha", "{commands:?}");
        let told_later = rest.iter().filter(|name| *name != "evalsha");
        assert_eq!(told_later.count(), 0, "{commands:?}");
        b.clear(ClearTarget::Tag(Tag::new("other", "tag").unwrap()))
            .await;
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn batches_of_small_values_are_not_sized_and_those_that_may_be_large_are() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Cached::on(&server, "a").await;
    let names: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let set_all = async || {
        for name in &names {
            a.set(name, entry("v")).await;
        }
    };
    // What is known is believed for a moment only, so the first batch is sized and one of those that follow is not.
    let first_of = async |batch: String| {
        let begin = async {
            a.begin(&names, LONG, Wait::Whole).await;
        };
        commands_until(&server, &batch, begin).await[0].clone()
    };
    let is_read_at_once = async |what: &str| {
        for batch in 0..20 {
            if first_of(format!("{what}.{batch}")).await == "mget" {
                return true;
            }
        }
        false
    };
    set_all().await;
    assert!(is_read_at_once("small").await);
    a.set("large", entry(&"v".repeat(512 * 1024))).await;
    assert!(!is_read_at_once("large").await);
    // Where the note is gone, what was kept before may be as large as any.
    server.run(&["DEL", &largest_of(&server)]);
    set_all().await;
    assert!(!is_read_at_once("unknown").await);
}

/// The key under which the largest entry of the only namespace is noted.
fn largest_of(server: &Server) -> String {
    let keys = server.run(&["KEYS", "*:h"]);
    keys.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_batch_of_large_values_is_read_in_pieces_and_the_rest_deferred() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Cached::near(&server, "a").await;
    let large = "v".repeat(1024 * 1024);
    let names: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
    for name in &names {
        a.set(name, entry(&large)).await;
    }
    let mut left: Vec<&str> = vec!["missing"];
    left.extend(names.iter().map(String::as_str));
    left.push("missing too");
    let mut pieces = Vec::new();
    while !left.is_empty() {
        let begun = a.begin(&left, LONG, Wait::Whole).await;
        let deferred = |one: &Begun| matches!(one, Begun::Deferred);
        let first = begun.iter().position(deferred).unwrap_or(begun.len());
        // What is deferred is what comes after.
        assert!(begun[first..].iter().all(deferred));
        pieces.push(first);
        left.drain(..first);
    }
    // An entry is a little more than its value, so fifteen fit.
    assert_eq!(pieces, [16, 15, 11]);
    let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
    let options = GetOptions {
        read: ReadFrom::Store,
        ..GetOptions::default()
    };
    let (found, _) = a.cache.get(&namespace(), &keys, options).await.unwrap();
    let hits = found.iter().filter(|one| matches!(one, Lookup::Hit(_)));
    assert_eq!(hits.count(), 15);
    assert!(found[15..].iter().all(|one| *one == Lookup::Deferred));
}
