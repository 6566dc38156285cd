//! Random histories of a lock are linearizable, through one daemon and through three, and the check finds out a release
//! script that is broken.

use crate::support::{Daemon, Proxy, Server, locks_config, quick, spawn};
use async_trait::async_trait;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::time::sleep;
use trellis_conformance::Pace;
use trellis_conformance::locks::history::{
    Broken, Operation, is_linearizable, record, record_under_faults,
};
use trellis_conformance::locks::{Bench, Subject};
use trellis_core::locks::{
    AcquireLocks, AcquiringLocks, ForceRelease, LeaseRef, ListLocks, LockPage, LockState,
    LockWatch, Locks, LocksStatus, OpenSession, SessionFeed, SessionId, SessionKey, SessionState,
    Token, TokenState,
};
use trellis_core::{Micros, Name, Namespace, Result, Scope};
use trellis_redis::{Call, RedisConfig, Script, Store};

/// Histories recorded at a time, each in a namespace of its own.
const SEEDS: u64 = 24;

const PACE: Pace = Pace::Wall {
    tolerance: Micros::from_millis(80),
};

/// Histories of all seeds.
async fn record_all(handles: Vec<Arc<dyn Locks>>, broken: Broken) -> Vec<(u64, Vec<Operation>)> {
    let recording = (0..SEEDS).map(|seed| {
        let namespace = Namespace::new(format!("seed-{seed}"), "namespace").unwrap();
        let subject = Subject::new(handles.clone(), PACE).in_namespace(namespace);
        spawn(async move { (seed, record(&Bench::new(subject), seed, broken).await) })
    });
    let mut histories = Vec::new();
    for one in recording.collect::<Vec<_>>() {
        histories.push(one.await.unwrap());
    }
    histories
}

fn assert_possible(histories: Vec<(u64, Vec<Operation>)>) {
    for (seed, history) in histories {
        assert!(is_linearizable(&history), "seed {seed}: {history:#?}");
    }
}

async fn daemons(server: &Server, names: &[&str]) -> (Vec<Daemon>, Vec<Arc<dyn Locks>>) {
    let (mut daemons, mut handles) = (Vec::new(), Vec::new());
    for name in names {
        let daemon = Daemon::on(server, name).await;
        handles.push(daemon.locks(locks_config()) as Arc<dyn Locks>);
        daemons.push(daemon);
    }
    (daemons, handles)
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn every_history_through_one_daemon_can_have_happened_one_after_the_other() {
    let Some(server) = Server::start() else {
        return;
    };
    let (_daemons, handles) = daemons(&server, &["a"]).await;
    assert_possible(record_all(handles, Broken::Nothing).await);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn every_history_through_three_daemons_can_have_happened_one_after_the_other() {
    let Some(server) = Server::start() else {
        return;
    };
    let (_daemons, handles) = daemons(&server, &["a", "b", "c"]).await;
    assert_possible(record_all(handles, Broken::Nothing).await);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_release_script_that_frees_a_lock_for_all_who_share_it_is_found_out() {
    let Some(server) = Server::start() else {
        return;
    };
    let (daemons, handles) = daemons(&server, &["a", "b", "c"]).await;
    let broken = daemons.iter().zip(handles).map(|(daemon, inner)| {
        let store = daemon.store.clone();
        Arc::new(BrokenRelease { inner, store }) as Arc<dyn Locks>
    });
    let histories = record_all(broken.collect(), Broken::Nothing).await;
    let found = histories.iter().filter(|(_, it)| !is_linearizable(it));
    assert!(found.count() > 0);
}

/// A fault that is injected, and healed again.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Flush,
    Restart,
    Stop,
    Cut,
    DeadDaemon,
}

const FAULTS: [Fault; 5] = [
    Fault::Flush,
    Fault::Cut,
    Fault::Stop,
    Fault::Restart,
    Fault::DeadDaemon,
];

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn every_history_under_faults_can_have_happened_one_after_the_other() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let (mut daemons, mut handles) = (Vec::new(), Vec::new());
    for (name, port) in [("a", proxy.port), ("b", server.port), ("c", server.port)] {
        let config = RedisConfig {
            port,
            ..quick(&server)
        };
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        handles.push(daemon.locks(locks_config()) as Arc<dyn Locks>);
        daemons.push(daemon);
    }
    daemons[0].sees(&["a", "b", "c"]).await;
    let recording = (0..SEEDS).map(|seed| {
        let namespace = Namespace::new(format!("seed-{seed}"), "namespace").unwrap();
        let subject = Subject::new(handles.clone(), PACE).in_namespace(namespace);
        spawn(async move { (seed, record_under_faults(&Bench::new(subject), seed).await) })
    });
    let recording: Vec<_> = recording.collect();
    let mut injected = 0;
    while !recording.iter().all(tokio::task::JoinHandle::is_finished) {
        sleep(Duration::from_millis(250)).await;
        match FAULTS.get(injected) {
            Some(Fault::Flush) => drop(server.run(&["FLUSHALL"])),
            Some(Fault::Cut) => {
                proxy.cut(true);
                sleep(Duration::from_millis(300)).await;
                proxy.cut(false);
            }
            Some(Fault::Stop) => {
                server.signal("-STOP");
                sleep(Duration::from_millis(400)).await;
                server.signal("-CONT");
            }
            Some(Fault::Restart) => {
                server.kill();
                server.restart(&[]);
            }
            Some(Fault::DeadDaemon) => {
                daemons[2].heart.cancel();
                daemons[2].stop.cancel();
            }
            None => continue,
        }
        injected += 1;
    }
    let mut histories = Vec::new();
    for one in recording {
        histories.push(one.await.unwrap());
    }
    let operations: usize = histories.iter().map(|(_, it)| it.len()).sum();
    println!("{injected} faults in {SEEDS} histories of {operations} operations");
    assert_possible(histories);
}

macro_rules! lua {
    ($name:literal) => {
        include_str!(concat!("../../scripts/locks/", $name, ".lua"))
    };
}

/// The release script, which counts the lock as free although others share it.
static BROKEN: LazyLock<Script> = LazyLock::new(|| {
    let lease = lua!("lease").replace(
        "if redis.call('EXISTS', holders_key(name)) == 0 then",
        "if true then\n      redis.call('DEL', holders_key(name))",
    );
    assert_ne!(lease, lua!("lease"));
    let parts = [
        lua!("call"),
        lua!("one"),
        lua!("ended"),
        lua!("release_one"),
        lua!("requests"),
        lua!("table"),
        &lease,
        lua!("release"),
        lua!("main"),
    ];
    Script::guarded(&parts.concat())
});

/// Locks whose release is broken.
struct BrokenRelease {
    inner: Arc<dyn Locks>,
    store: Store,
}

#[async_trait]
impl Locks for BrokenRelease {
    fn acquire(self: Arc<Self>, acquire: AcquireLocks) -> AcquiringLocks {
        self.inner.clone().acquire(acquire)
    }

    async fn release(&self, lease: LeaseRef) -> Result<Scope> {
        let keys = self.store.keys();
        let id = lease.lease.reveal();
        let (_, claim) = id.split_once('-').unwrap();
        let namespace = lease.namespace.as_str();
        let (base, mailbox) = (keys.of("locks", &[""]), keys.mailbox(""));
        let (many, window) = (1_000, 60_000_000);
        let env = serde_json::json!({
            "max_locks": many, "max_leases": many, "max_waiters": many, "max_watchers": many,
            "max_request_ids": many, "window": window, "max_namespaces": many,
            "namespace": namespace, "base": base, "mailbox": mailbox, "floor": 0, "lost": 0,
        });
        let call = Call::new(&BROKEN)
            .key(keys.of("locks", &[namespace]))
            .key(keys.of("locks-namespaces", &[]))
            .key(keys.of("locks-grace", &[]))
            .bytes(rmp_serde::to_vec(&env).unwrap().into())
            .bytes(
                rmp_serde::to_vec(&(lease.lease.number(), claim))
                    .unwrap()
                    .into(),
            );
        self.store.call(call).await.unwrap();
        Ok(Scope::Shared)
    }

    async fn keep_alive(&self, lease: LeaseRef) -> Result<(Micros, Scope)> {
        self.inner.keep_alive(lease).await
    }

    async fn inspect(&self, namespace: Namespace, name: Name) -> Result<(LockState, Scope)> {
        self.inner.inspect(namespace, name).await
    }

    async fn list(&self, list: ListLocks) -> Result<LockPage> {
        self.inner.list(list).await
    }

    async fn watch(
        self: Arc<Self>,
        namespace: Namespace,
        name: Name,
    ) -> Result<Box<dyn LockWatch>> {
        self.inner.clone().watch(namespace, name).await
    }

    async fn force_release(&self, force: ForceRelease) -> Result<(usize, Scope)> {
        self.inner.force_release(force).await
    }

    async fn check_token(
        &self,
        namespace: Namespace,
        name: Name,
        token: Token,
    ) -> Result<TokenState> {
        self.inner.check_token(namespace, name, token).await
    }

    async fn open_session(
        self: Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.inner.clone().open_session(open).await
    }

    async fn attach_session(
        self: Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.inner.clone().attach_session(namespace, session).await
    }

    async fn keep_session(
        &self,
        namespace: Namespace,
        session: SessionKey,
    ) -> Result<(Micros, Scope)> {
        self.inner.keep_session(namespace, session).await
    }

    async fn close_session(&self, namespace: Namespace, session: SessionKey) -> Result<usize> {
        self.inner.close_session(namespace, session).await
    }

    fn break_session(&self, namespace: &Namespace, session: SessionKey) {
        self.inner.break_session(namespace, session);
    }

    fn status(&self) -> LocksStatus {
        self.inner.status()
    }

    fn scope(&self) -> Scope {
        self.inner.scope()
    }
}
