//! The shared cache when daemons stop, the store forgets, values are damaged and hints are lost: every call that waits
//! gets its value or the lease, and nobody is served what is not there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use bytes::Bytes;
use std::sync::Arc;
use support::{Daemon, PATIENCE, Server, quick, soon};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;
use trellis_core::cache::{
    Begin, Begun, Cache, Content, Cost, EndedBy, FetchOptions, Filled, Hit, Landing, Lease,
    LeaseEnd, MachineConfig, NewEntry, Policy, Precondition, Progress, StaleMode, Wait, Waiting,
};
use trellis_core::{EntryKey, Micros, Namespace, Tag};
use trellis_redis::{RedisCache, RedisCacheConfig, RedisConfig};

/// Far longer than a test takes: what ends a lease is something else.
const LONG: Micros = Micros::from_secs(60);

/// A daemon and its cache.
struct Cached {
    daemon: Daemon,
    cache: Arc<RedisCache>,
}

impl Cached {
    async fn on(server: &Server, name: &str) -> Self {
        Self::with(quick(server), name).await
    }

    async fn with(config: RedisConfig, name: &str) -> Self {
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        let cache = daemon.cache(RedisCacheConfig {
            machine: MachineConfig::default(),
            max_namespaces: 16,
        });
        Self { daemon, cache }
    }

    /// Everything stops, without a word to anybody.
    fn stop(&self) {
        self.daemon.heart.cancel();
        self.daemon.stop.cancel();
    }

    async fn begin(&self, keys: &[&str], lease_ttl: Micros, wait: Wait) -> Vec<Begun> {
        let begin = Begin {
            namespace: namespace(),
            keys: keys.iter().copied().map(key).collect(),
            options: FetchOptions {
                stale: StaleMode::Never,
                refresh: false,
                lease_ttl,
                compute_deadline: LONG,
            },
            wait,
        };
        let (answers, _) = self.cache.clone().begin(begin).await.unwrap();
        answers.into_iter().map(Result::unwrap).collect()
    }

    async fn one(&self, of: &str, lease_ttl: Micros) -> Begun {
        let begun = self.begin(&[of], lease_ttl, Wait::Parts).await;
        begun.into_iter().next().unwrap()
    }

    async fn lease(&self, of: &str) -> Lease {
        self.lease_for(of, LONG).await
    }

    async fn lease_for(&self, of: &str, ttl: Micros) -> Lease {
        match self.one(of, ttl).await {
            Begun::Lease(lease) => lease,
            other => panic!("no lease but {other:?}"),
        }
    }

    async fn wait(&self, of: &str) -> Box<dyn Waiting> {
        match self.one(of, LONG).await {
            Begun::Waiting(waiting) => waiting,
            other => panic!("no place in line but {other:?}"),
        }
    }

    async fn get(&self, of: &str) -> Option<Hit> {
        let found = self.cache.get(&namespace(), &[key(of)], false).await;
        found.unwrap().0.pop().unwrap()
    }

    async fn set(&self, of: &str, entry: NewEntry) {
        let (namespace, key) = (namespace(), key(of));
        let set = self
            .cache
            .set(&namespace, &key, entry, Precondition::Always);
        set.await.unwrap();
    }

    async fn fill(&self, lease: Lease, value: &str) -> Result<Filled, LeaseEnd> {
        let namespace = namespace();
        let fill = self.cache.fill(&namespace, lease.id, entry(value), true);
        fill.await.unwrap().0
    }

    async fn give_up(&self, lease: Lease) {
        let namespace = namespace();
        let fail = self.cache.fail(&namespace, lease.id, EndedBy::GivingUp);
        fail.await.unwrap().0.unwrap();
    }

    async fn append(&self, lease: Lease, offset: usize, part: &'static str) {
        let part = Bytes::from_static(part.as_bytes());
        let namespace = namespace();
        let append = self.cache.append(&namespace, lease.id, offset, part);
        append.await.unwrap().0.unwrap();
    }
}

fn namespace() -> Namespace {
    Namespace::new("n", "namespace").unwrap()
}

fn key(name: &str) -> EntryKey {
    EntryKey::new(name, "key").unwrap()
}

fn entry(value: &str) -> NewEntry {
    NewEntry {
        content: Content::Value(Bytes::copy_from_slice(value.as_bytes())),
        content_type: "text/plain".into(),
        policy: Policy::fresh_for(LONG),
        cost: Cost::default(),
        fence: None,
    }
}

async fn landing(waiting: &mut Box<dyn Waiting>) -> Landing {
    soon("the end of a wait", async {
        loop {
            if let Progress::Ended(landing) = waiting.next().await.unwrap() {
                return landing;
            }
        }
    })
    .await
}

async fn leased(waiting: &mut Box<dyn Waiting>) -> Lease {
    match landing(waiting).await {
        Landing::Lease(lease) => lease,
        other => panic!("no lease but {other:?}"),
    }
}

async fn value(waiting: &mut Box<dyn Waiting>) -> Content {
    match landing(waiting).await {
        Landing::Value(hit) => hit.content,
        other => panic!("no value but {other:?}"),
    }
}

fn text(value: &'static str) -> Content {
    Content::Value(Bytes::from_static(value.as_bytes()))
}

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

/// The commands that clients send, told by the server until one contains the last word.
async fn commands_until(
    server: &Server,
    last: &str,
    work: impl Future<Output = ()>,
) -> Vec<String> {
    let stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    let mut lines = BufReader::new(stream);
    lines.get_mut().write_all(b"MONITOR\r\n").await.unwrap();
    let mut line = String::new();
    lines.read_line(&mut line).await.unwrap();
    work.await;
    server.run(&["ECHO", last]);
    let mut commands = Vec::new();
    loop {
        line.clear();
        soon("a command", lines.read_line(&mut line)).await.unwrap();
        if line.contains(last) {
            return commands;
        }
        let by_a_script = line.contains(" lua] ");
        let name = line.split('"').nth(1).unwrap_or_default().to_lowercase();
        let ours = line.contains(":cache") || name == "time";
        if !by_a_script && ours {
            commands.push(name);
        }
    }
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
    let commands = commands_until(&server, "done", async {
        let begun = b.begin(&names, LONG, Wait::Whole).await;
        let hits = begun.iter().filter(|one| matches!(one, Begun::Hit { .. }));
        assert_eq!(hits.count(), 40);
        let leases = begun.iter().filter(|one| matches!(one, Begun::Lease(_)));
        assert_eq!(leases.count(), 79);
    })
    .await;
    // Values with the namespace's clears and the time; the clears of tags; leases and places in line.
    let trips = ["mget", "hmget", "time", "hmget", "hmget", "evalsha"];
    assert_eq!(commands[..6.min(commands.len())], trips, "{commands:?}");
    let told_later = commands.iter().skip(6).filter(|name| *name != "evalsha");
    assert_eq!(told_later.count(), 0, "{commands:?}");
}
