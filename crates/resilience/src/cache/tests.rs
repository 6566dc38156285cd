//! A store that comes and goes, and what its daemon caches meanwhile.

use super::FallbackCache;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trellis_conformance::{PausedClock, spawn};
use trellis_core::cache::{
    Appended, Begin, Begun, Cache, CacheStats, CacheStatus, ClearTarget, Content, Cost, Deleted,
    EndedBy, Fence, FetchOptions, Filled, GetOptions, Hit, Landing, Lease, LeaseEnd, LeaseId,
    Lookup, NewEntry, Policy, Precondition, Progress, ReadFrom, StaleMode, Wait, Waiting, Written,
};
use trellis_core::{
    Clock, EntryKey, Error, ErrorCode, Micros, Name, Namespace, Result, Scope, StoreState,
    StoreView, Tag, Time,
};
use trellis_local::{MemoryCache, MemoryCacheConfig};

type Held<T> = std::result::Result<T, LeaseEnd>;

/// A store in this process that can be cut off.
struct Store {
    cache: Arc<MemoryCache>,
    up: watch::Sender<bool>,
}

impl Store {
    fn check(&self) -> Result<()> {
        if *self.up.borrow() {
            return Ok(());
        }
        Err(Error::new(ErrorCode::StoreUnavailable, "cut off"))
    }
}

#[async_trait]
impl StoreView for Store {
    fn state(&self) -> StoreState {
        trellis_conformance::store_that_is(*self.up.borrow())
    }

    fn place(&self) -> Option<(u64, u64)> {
        None
    }

    fn acknowledged(&self) -> Option<Time> {
        None
    }

    fn set_apart(&self, _: bool) {}

    async fn until(&self, up: bool) {
        let mut state = self.up.subscribe();
        let _ = state.wait_for(|now| *now == up).await;
    }
}

#[async_trait]
impl Cache for Store {
    async fn get(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        options: GetOptions,
    ) -> Result<(Vec<Lookup>, Scope)> {
        self.check()?;
        self.cache.get(namespace, keys, options).await
    }

    async fn set(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        entry: NewEntry,
        precondition: Precondition,
    ) -> Result<(Written, Scope)> {
        self.check()?;
        self.cache.set(namespace, key, entry, precondition).await
    }

    async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        precondition: Precondition,
    ) -> Result<(Deleted, Scope)> {
        self.check()?;
        self.cache.delete(namespace, key, precondition).await
    }

    async fn clear(&self, namespace: &Namespace, target: ClearTarget) -> Result<(u64, Scope)> {
        self.check()?;
        self.cache.clear(namespace, target).await
    }

    async fn begin(self: Arc<Self>, begin: Begin) -> Result<(Vec<Result<Begun>>, Scope)> {
        self.check()?;
        self.cache.clone().begin(begin).await
    }

    async fn append(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        offset: usize,
        part: Bytes,
    ) -> Result<(Held<Appended>, Scope)> {
        self.check()?;
        self.cache.append(namespace, lease, offset, part).await
    }

    async fn fill(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        entry: NewEntry,
        keep: bool,
    ) -> Result<(Held<Filled>, Scope)> {
        self.check()?;
        self.cache.fill(namespace, lease, entry, keep).await
    }

    async fn fail(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        by: EndedBy,
    ) -> Result<(Held<Option<Hit>>, Scope)> {
        self.check()?;
        self.cache.fail(namespace, lease, by).await
    }

    async fn renew(&self, namespace: &Namespace, lease: LeaseId) -> Result<(Held<Lease>, Scope)> {
        self.check()?;
        self.cache.renew(namespace, lease).await
    }

    fn abandon(&self, namespace: &Namespace, leases: &[LeaseId]) {
        self.cache.abandon(namespace, leases);
    }

    async fn stats(&self, namespace: &Namespace) -> Result<(CacheStats, Scope)> {
        self.check()?;
        self.cache.stats(namespace).await
    }

    fn status(&self) -> CacheStatus {
        self.cache.status()
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }
}

/// A daemon on a store.
struct Daemon {
    store: Arc<Store>,
    cache: Arc<FallbackCache>,
    stop: CancellationToken,
}

impl Daemon {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
        let memory = || {
            let cache = MemoryCache::new(MemoryCacheConfig::default(), clock.clone());
            Arc::new(cache.unwrap())
        };
        let store = Arc::new(Store {
            cache: memory(),
            up: watch::Sender::new(true),
        });
        let (cache, task) =
            FallbackCache::new(store.clone(), memory(), store.clone(), clock.clone());
        let stop = CancellationToken::new();
        spawn(task.run(stop.clone()));
        Self { store, cache, stop }
    }

    fn cut_off(&self) {
        self.store.up.send_replace(false);
    }

    /// The store is back, and calls are shared.
    async fn return_to_store(&self) {
        self.store.up.send_replace(true);
        let mut opening = self.cache.switch.opening();
        opening.wait_for(|open| !*open).await.unwrap();
        while !self.cache.used.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    async fn one(&self, of: &str) -> (Begun, Scope) {
        let begin = Begin {
            namespace: namespace(),
            keys: vec![key(of)],
            options: FetchOptions {
                stale: StaleMode::Never,
                refresh: false,
                lease_ttl: Micros::from_secs(60),
                compute_deadline: Micros::from_secs(60),
                read: ReadFrom::Near,
            },
            wait: Wait::Parts,
        };
        let (mut answers, scope) = self.cache.clone().begin(begin).await.unwrap();
        (answers.pop().unwrap().unwrap(), scope)
    }

    async fn lease(&self, of: &str) -> Lease {
        match self.one(of).await.0 {
            Begun::Lease(lease) => lease,
            other => panic!("no lease but {other:?}"),
        }
    }

    async fn wait(&self, of: &str) -> Box<dyn Waiting> {
        match self.one(of).await.0 {
            Begun::Waiting(waiting) => waiting,
            other => panic!("no place in line but {other:?}"),
        }
    }

    async fn get(&self, of: &str) -> (Option<Content>, Scope) {
        let (mut found, scope) = self
            .cache
            .get(&namespace(), &[key(of)], GetOptions::default())
            .await
            .unwrap();
        (found.pop().unwrap().hit().map(|hit| hit.content), scope)
    }

    async fn set(&self, of: &str, value: &'static str, tags: &[&str]) {
        let (namespace, key) = (namespace(), key(of));
        let always = Precondition::Always;
        let set = self.cache.set(&namespace, &key, entry(value, tags), always);
        set.await.unwrap();
    }

    async fn fill(&self, lease: Lease, value: &'static str) -> Held<Filled> {
        let namespace = namespace();
        let fill = self
            .cache
            .fill(&namespace, lease.id, entry(value, &[]), true);
        fill.await.unwrap().0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn namespace() -> Namespace {
    Namespace::new("n", "namespace").unwrap()
}

fn key(name: &str) -> EntryKey {
    EntryKey::new(name, "key").unwrap()
}

fn tag(name: &str) -> Tag {
    Tag::new(name, "tag").unwrap()
}

fn text(value: &'static str) -> Content {
    Content::Value(Bytes::from_static(value.as_bytes()))
}

fn entry(value: &'static str, tags: &[&str]) -> NewEntry {
    let mut policy = Policy::fresh_for(Micros::from_secs(3_600));
    policy.tags = tags.iter().map(|name| tag(name)).collect();
    NewEntry {
        content: text(value),
        content_type: "".into(),
        policy,
        cost: Cost::default(),
        fence: None,
    }
}

async fn landing(waiting: &mut Box<dyn Waiting>) -> Landing {
    loop {
        if let Progress::Ended(landing) = waiting.next().await.unwrap() {
            return landing;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_a_key_is_computed_once_here_and_the_answers_say_so() {
    let daemon = Daemon::new();
    daemon.set("k", "shared", &[]).await;
    daemon.cut_off();
    let (begun, scope) = daemon.one("k").await;
    assert!(matches!(scope, Scope::Degraded { .. }), "{scope:?}");
    let Begun::Lease(lease) = begun else {
        panic!("{begun:?}")
    };
    let mut waiting = daemon.wait("k").await;
    daemon.fill(lease, "here").await.unwrap();
    let landing = landing(&mut waiting).await;
    assert!(matches!(landing, Landing::Value(hit) if hit.content == text("here")));
    let (found, scope) = daemon.get("k").await;
    assert_eq!(found, Some(text("here")));
    assert!(matches!(scope, Scope::Degraded { .. }), "{scope:?}");

    daemon.return_to_store().await;
    assert_eq!(daemon.get("k").await.0, Some(text("shared")));
    // And when it is away again, what was cached here is not.
    daemon.cut_off();
    assert_eq!(daemon.get("k").await.0, None);
    assert_eq!(daemon.cache.status().outages, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_set_or_cleared_without_the_store_does_not_come_back() {
    let daemon = Daemon::new();
    daemon.set("deleted", "old", &[]).await;
    daemon.set("set", "old", &[]).await;
    daemon.set("tagged", "old", &["tag"]).await;
    daemon.set("kept", "old", &[]).await;
    daemon.cut_off();
    let (namespace, always) = (namespace(), Precondition::Always);
    let deleted = key("deleted");
    let delete = daemon.cache.delete(&namespace, &deleted, always);
    assert!(matches!(delete.await.unwrap().1, Scope::Degraded { .. }));
    daemon.set("set", "new", &[]).await;
    let clear = ClearTarget::Tag(tag("tag"));
    daemon.cache.clear(&namespace, clear).await.unwrap();
    assert_eq!(daemon.get("set").await.0, Some(text("new")));
    assert_eq!(daemon.cache.status().journalled, 3);
    daemon.return_to_store().await;
    for name in ["deleted", "set", "tagged"] {
        assert_eq!(daemon.get(name).await.0, None, "{name}");
    }
    assert_eq!(daemon.get("kept").await.0, Some(text("old")));
    assert_eq!(daemon.cache.status().journalled, 0);
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_refused_while_it_cannot_be_judged() {
    let daemon = Daemon::new();
    daemon.cut_off();
    let (namespace, key) = (namespace(), key("k"));
    let absent = Precondition::Absent;
    let set = daemon.cache.set(&namespace, &key, entry("v", &[]), absent);
    assert_eq!(set.await.unwrap_err().code, ErrorCode::StoreUnavailable);
    let delete = daemon.cache.delete(&namespace, &key, absent);
    assert_eq!(delete.await.unwrap_err().code, ErrorCode::StoreUnavailable);
    let fenced = || NewEntry {
        fence: Some(Fence {
            lock: Name::new("a", "lock").unwrap(),
            token: 1,
        }),
        ..entry("v", &[])
    };
    let always = Precondition::Always;
    let set = daemon.cache.set(&namespace, &key, fenced(), always);
    assert_eq!(set.await.unwrap_err().code, ErrorCode::StoreUnavailable);
    let here = daemon.lease("k").await;
    let fill = daemon.cache.fill(&namespace, here.id, fenced(), true);
    assert_eq!(fill.await.unwrap_err().code, ErrorCode::StoreUnavailable);
    assert_eq!(daemon.get("k").await.0, None);
    assert_eq!(daemon.cache.status().journalled, 0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_move_over_when_the_store_goes_and_when_it_returns() {
    let daemon = Daemon::new();
    let shared = daemon.lease("k").await;
    let mut waiting = daemon.wait("k").await;
    daemon.cut_off();
    daemon.get("other").await;
    let Landing::Lease(here) = landing(&mut waiting).await else {
        panic!("it computes here")
    };
    let mut waiting = daemon.wait("k").await;
    daemon.return_to_store().await;
    // The store's own lease is held still, so the call waits there.
    daemon.fill(shared, "shared").await.unwrap();
    let landing = landing(&mut waiting).await;
    assert!(matches!(landing, Landing::Value(hit) if hit.content == text("shared")));
    // What was computed here is too late, and does not overwrite.
    assert_eq!(daemon.fill(here, "here").await, Err(LeaseEnd::Cleared));
    assert_eq!(daemon.get("k").await.0, Some(text("shared")));
}
