//! A daemon and its cache, and what tests do with them.

use super::{Daemon, PATIENCE, Server, quick, soon};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use trellis_core::cache::{
    Begin, Begun, Cache, ClearTarget, Content, Cost, EndedBy, FetchOptions, Filled, GetOptions,
    Hit, Landing, Lease, LeaseEnd, MachineConfig, NewEntry, Policy, Precondition, Progress,
    ReadFrom, StaleMode, Wait, Waiting,
};
use trellis_core::{EntryKey, Micros, Namespace};
use trellis_redis::{NearConfig, RedisCache, RedisCacheConfig, RedisConfig};

/// Far longer than a test takes: what ends a lease is something else.
pub const LONG: Micros = Micros::from_secs(60);

/// A daemon and its cache.
pub struct Cached {
    pub daemon: Daemon,
    pub cache: Arc<RedisCache>,
}

impl Cached {
    pub async fn on(server: &Server, name: &str) -> Self {
        Self::with(quick(server), name).await
    }

    /// A daemon that keeps near copies, and tells a busy machine from a dead store.
    pub async fn near(server: &Server, name: &str) -> Self {
        Self::near_at(server.port, name).await
    }

    pub async fn near_at(port: u16, name: &str) -> Self {
        let config = RedisConfig {
            port,
            store_timeout: Duration::from_secs(5),
            death_after: PATIENCE,
            ..RedisConfig::default()
        };
        let cached = Self::open(config, name, Some(near())).await;
        cached.is_serving().await;
        cached
    }

    /// Waits until copies are kept.
    pub async fn is_serving(&self) {
        soon("near copies", async {
            while !self.cache.status().near.serving {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub async fn with(config: RedisConfig, name: &str) -> Self {
        Self::open(config, name, None).await
    }

    async fn open(config: RedisConfig, name: &str, near: Option<NearConfig>) -> Self {
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        let cache = daemon.cache(RedisCacheConfig {
            machine: MachineConfig::default(),
            max_namespaces: 16,
            near,
        });
        Self { daemon, cache }
    }

    /// Everything stops, without a word to anybody.
    pub fn stop(&self) {
        self.daemon.heart.cancel();
        self.daemon.stop.cancel();
    }

    pub async fn begin(&self, keys: &[&str], lease_ttl: Micros, wait: Wait) -> Vec<Begun> {
        let begin = Begin {
            namespace: namespace(),
            keys: keys.iter().copied().map(key).collect(),
            options: FetchOptions {
                stale: StaleMode::Never,
                refresh: false,
                lease_ttl,
                compute_deadline: LONG,
                read: ReadFrom::Near,
            },
            wait,
        };
        let (answers, _) = self.cache.clone().begin(begin).await.unwrap();
        answers.into_iter().map(Result::unwrap).collect()
    }

    pub async fn one(&self, of: &str, lease_ttl: Micros) -> Begun {
        let begun = self.begin(&[of], lease_ttl, Wait::Parts).await;
        begun.into_iter().next().unwrap()
    }

    pub async fn lease(&self, of: &str) -> Lease {
        self.lease_for(of, LONG).await
    }

    pub async fn lease_for(&self, of: &str, ttl: Micros) -> Lease {
        match self.one(of, ttl).await {
            Begun::Lease(lease) => lease,
            other => panic!("no lease but {other:?}"),
        }
    }

    pub async fn wait(&self, of: &str) -> Box<dyn Waiting> {
        match self.one(of, LONG).await {
            Begun::Waiting(waiting) => waiting,
            other => panic!("no place in line but {other:?}"),
        }
    }

    pub async fn get(&self, of: &str) -> Option<Hit> {
        let options = GetOptions::default();
        let found = self.cache.get(&namespace(), &[key(of)], options).await;
        found.unwrap().0.pop().unwrap().hit()
    }

    /// Reads from the store itself.
    pub async fn get_shared(&self, of: &str) -> Option<Hit> {
        let options = GetOptions {
            read: ReadFrom::Store,
            ..GetOptions::default()
        };
        let found = self.cache.get(&namespace(), &[key(of)], options).await;
        found.unwrap().0.pop().unwrap().hit()
    }

    pub async fn delete(&self, of: &str) {
        let (namespace, key) = (namespace(), key(of));
        let delete = self.cache.delete(&namespace, &key, Precondition::Always);
        delete.await.unwrap();
    }

    pub async fn clear(&self, target: ClearTarget) {
        self.cache.clear(&namespace(), target).await.unwrap();
    }

    pub async fn set(&self, of: &str, entry: NewEntry) {
        let (namespace, key) = (namespace(), key(of));
        let set = self
            .cache
            .set(&namespace, &key, entry, Precondition::Always);
        set.await.unwrap();
    }

    pub async fn fill(&self, lease: Lease, value: &str) -> Result<Filled, LeaseEnd> {
        let namespace = namespace();
        let fill = self.cache.fill(&namespace, lease.id, entry(value), true);
        fill.await.unwrap().0
    }

    pub async fn give_up(&self, lease: Lease) {
        let namespace = namespace();
        let fail = self.cache.fail(&namespace, lease.id, EndedBy::GivingUp);
        fail.await.unwrap().0.unwrap();
    }

    pub async fn append(&self, lease: Lease, offset: usize, part: &'static str) {
        let part = Bytes::from_static(part.as_bytes());
        let namespace = namespace();
        let append = self.cache.append(&namespace, lease.id, offset, part);
        append.await.unwrap().0.unwrap();
    }
}

pub fn namespace() -> Namespace {
    Namespace::new("n", "namespace").unwrap()
}

pub fn key(name: &str) -> EntryKey {
    EntryKey::new(name, "key").unwrap()
}

/// Bounds that no test reaches.
pub fn near() -> NearConfig {
    NearConfig {
        max_bytes: 64 * 1024 * 1024,
        max_entries: 100_000,
        max_staleness: LONG,
    }
}

pub fn entry(value: &str) -> NewEntry {
    NewEntry {
        content: Content::Value(Bytes::copy_from_slice(value.as_bytes())),
        content_type: "text/plain".into(),
        policy: Policy::fresh_for(LONG),
        cost: Cost::default(),
        fence: None,
    }
}

pub async fn landing(waiting: &mut Box<dyn Waiting>) -> Landing {
    soon("the end of a wait", async {
        loop {
            if let Progress::Ended(landing) = waiting.next().await.unwrap() {
                return landing;
            }
        }
    })
    .await
}

pub async fn leased(waiting: &mut Box<dyn Waiting>) -> Lease {
    match landing(waiting).await {
        Landing::Lease(lease) => lease,
        other => panic!("no lease but {other:?}"),
    }
}

pub async fn value(waiting: &mut Box<dyn Waiting>) -> Content {
    match landing(waiting).await {
        Landing::Value(hit) => hit.content,
        other => panic!("no value but {other:?}"),
    }
}

pub fn text(value: &'static str) -> Content {
    Content::Value(Bytes::from_static(value.as_bytes()))
}

/// The commands that clients send, told by the server until one contains the last word.
pub async fn commands_until(
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
