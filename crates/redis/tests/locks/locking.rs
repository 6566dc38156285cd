//! A daemon and its locks, and how a test asks it.

use crate::support::{Daemon, Proxy, Server, locks_config, quick, soon};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use trellis_core::locks::{
    AcquireLocks, Holder, LeaseRef, LockGrant, LockMode, LockOutcome, LockPurpose, LockSet,
    LockTarget, Locks, OnBreak, OpenSession, SessionFeed, SessionState, Token, Wait,
};
use trellis_core::{ErrorCode, Micros, Name, Namespace, Result};
use trellis_redis::{RedisConfig, RedisLocks};

pub const HOUR: Micros = Micros::from_secs(3_600);
pub const SECOND: Micros = Micros::from_secs(1);

/// A daemon and its locks.
pub struct Locking {
    pub daemon: Daemon,
    pub locks: Arc<RedisLocks>,
}

pub fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

pub fn name(text: &str) -> Name {
    Name::new(text, "name").unwrap()
}

/// A daemon whose link to the store can be cut, and one beside it.
pub async fn one_behind_a_proxy(server: &Server) -> (Proxy, Locking, Locking) {
    let proxy = Proxy::before(server).await;
    let behind = RedisConfig {
        port: proxy.port,
        ..quick(server)
    };
    let behind = Locking::with(behind, "a").await;
    (proxy, behind, Locking::on(server, "b").await)
}

impl Locking {
    pub async fn on(server: &Server, name: &str) -> Self {
        Self::with(quick(server), name).await
    }

    pub async fn with(config: RedisConfig, name: &str) -> Self {
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        let locks = daemon.locks(locks_config());
        Self { daemon, locks }
    }

    /// Everything stops, without a word to anybody.
    pub fn stop(&self) {
        self.daemon.heart.cancel();
        self.daemon.stop.cancel();
    }

    pub async fn ask(&self, lock: &str, holder: Holder, wait: Wait) -> Result<LockOutcome> {
        let target = LockTarget {
            name: name(lock),
            mode: LockMode::Exclusive,
        };
        let acquire = AcquireLocks {
            namespace: namespace(),
            locks: LockSet::new(vec![target]).unwrap(),
            holder,
            value: Vec::new().into(),
            wait,
            purpose: LockPurpose::default(),
            request_id: None,
        };
        let acquired = self.locks.clone().acquire(acquire).outcome().await;
        acquired.map(|acquired| acquired.outcome)
    }

    /// Tries until the store can be asked.
    pub async fn tried(&self, lock: &str) -> LockOutcome {
        soon("an answer", async {
            loop {
                match self.ask(lock, lease(HOUR), Wait::Try).await {
                    Ok(outcome) => return outcome,
                    Err(error) => assert!(is_away(error.code), "{error:?}"),
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    pub async fn granted(&self, lock: &str, ttl: Micros) -> LockGrant {
        let outcome = self.ask(lock, lease(ttl), Wait::For(HOUR));
        granted(soon(lock, outcome).await)
    }

    pub async fn keep(&self, grant: &LockGrant) -> Result<Micros> {
        let kept = self.locks.keep_alive(lease_of(grant)).await;
        kept.map(|(ttl, _)| ttl)
    }

    pub async fn release(&self, grant: &LockGrant) -> Result<()> {
        self.locks.release(lease_of(grant)).await.map(drop)
    }

    pub async fn session(&self, ttl: Micros) -> (SessionState, Box<dyn SessionFeed>) {
        let open = OpenSession {
            namespace: namespace(),
            ttl,
            owner: "".into(),
            on_break: OnBreak::Keep,
        };
        self.locks.clone().open_session(open).await.unwrap()
    }

    pub async fn until_waiting(&self, lock: &str, count: usize) {
        soon("the line", async {
            while self
                .locks
                .inspect(namespace(), name(lock))
                .await
                .map_or(usize::MAX, |(state, _)| state.waiter_count)
                != count
            {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

pub fn lease_of(grant: &LockGrant) -> LeaseRef {
    LeaseRef {
        namespace: namespace(),
        lease: grant.lease,
    }
}

pub fn lease(ttl: Micros) -> Holder {
    let owner = "".into();
    Holder::Lease { ttl, owner }
}

pub fn granted(outcome: Result<LockOutcome>) -> LockGrant {
    match outcome {
        Ok(LockOutcome::Granted(grant)) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

pub fn is_away(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::StoreUnavailable | ErrorCode::OutcomeUnknown
    )
}

pub fn token(grant: &LockGrant) -> Token {
    grant.locks[0].token
}
