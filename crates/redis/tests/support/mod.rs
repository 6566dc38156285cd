//! A Redis server per test, and daemons on it.
//!
//! A missing `redis-server` makes a test print `ignored: no redis-server` and return, since the standard
//! harness cannot report that at run time; `TRELLIS_REQUIRE=redis` turns it into a failure.

#![allow(dead_code, unused_imports, reason = "every test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is test code, which clippy recognizes in test functions only"
)]

mod backends;
pub mod cached;
mod proxy;
mod server;
mod settled;

pub use backends::{limits_config, locks_config, swept_limits_config, through};
pub use proxy::Proxy;
pub use server::Server;
pub use settled::Settled;
use std::future::Future;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trellis_core::{Clock, Micros, Now, Time};
use trellis_redis::{
    Call, CallError, Condition, Health, Identity, Membership, RedisConfig, Reply, Script, Session,
    Start, Store,
};

/// Longer than anything a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

static COUNT: LazyLock<Script> =
    LazyLock::new(|| Script::guarded("return redis.call('INCR', KEYS[2])"));

/// Waits, with patience.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Starts a task; it ends with the test's runtime.
#[expect(clippy::disallowed_methods, reason = "a test has no supervisor")]
pub fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}

/// The runtime's clock; its wall can be made to leap.
pub struct TestClock {
    start: Instant,
    leap_us: AtomicI64,
    passed_us: AtomicU64,
}

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now() - Duration::from_hours(1),
            leap_us: AtomicI64::new(0),
            passed_us: AtomicU64::new(0),
        })
    }

    /// As if the machine had been suspended for so long.
    pub fn pass(&self, span: Micros) {
        self.passed_us.fetch_add(span.0, Ordering::Relaxed);
    }

    pub fn leap(&self, micros: i64) {
        self.leap_us.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_micros()).unwrap();
        let mono = mono + self.passed_us.load(Ordering::Relaxed);
        let wall = 1_800_000_000_000_000 + mono;
        Now {
            mono: Time(mono),
            wall: Time(wall.saturating_add_signed(self.leap_us.load(Ordering::Relaxed))),
        }
    }
}

/// A daemon's part of the store, its tasks running.
pub struct Daemon {
    pub store: Store,
    pub membership: Membership,
    pub clock: Arc<TestClock>,
    /// Stops the heart alone.
    pub heart: CancellationToken,
    pub stop: CancellationToken,
}

/// Quick beats and deaths.
pub fn quick(server: &Server) -> RedisConfig {
    RedisConfig {
        port: server.port,
        store_timeout: Duration::from_millis(300),
        heartbeat_interval: Duration::from_millis(100),
        death_after: Duration::from_millis(900),
        ..RedisConfig::default()
    }
}

pub fn identity(daemon: &str) -> Identity {
    Identity {
        daemon: daemon.to_owned(),
        version: "1.2.3".to_owned(),
        protocol: 4,
        address: format!("{daemon}.example:7117"),
    }
}

impl Daemon {
    pub fn with(config: RedisConfig, daemon: &str) -> Self {
        let clock = TestClock::new();
        let (store, tasks, membership) =
            Store::open(config, identity(daemon), clock.clone()).unwrap();
        let (heart, stop) = (CancellationToken::new(), CancellationToken::new());
        spawn(tasks.calls.run(stop.clone()));
        spawn(tasks.connections.run(stop.clone()));
        spawn(tasks.membership.run(heart.clone()));
        Self {
            store,
            membership,
            clock,
            heart,
            stop,
        }
    }

    /// An attached daemon with the default settings.
    pub async fn on(server: &Server, daemon: &str) -> Self {
        let config = RedisConfig {
            port: server.port,
            ..RedisConfig::default()
        };
        let daemon = Self::with(config, daemon);
        daemon.attached().await;
        daemon
    }

    pub async fn attached(&self) -> Session {
        match self.store.started().await.unwrap() {
            Start::Attached(session) => session,
            Start::Degraded(health) => panic!("not attached: {health:?}"),
        }
    }

    /// Waits for a health.
    pub async fn is(&self, condition: Condition) -> Health {
        let mut health = self.store.health();
        let wait = health.wait_for(|health| health.condition == condition);
        soon(&format!("{condition:?}"), wait).await.unwrap().clone()
    }

    /// Waits for a session that is not this one.
    pub async fn session_after(&self, old: Session) -> Session {
        let mut sessions = self.store.sessions();
        let wait = sessions.wait_for(|session| session.is_some_and(|session| session != old));
        soon("another session", wait).await.unwrap().unwrap()
    }

    /// Waits until the members are these.
    pub async fn sees(&self, daemons: &[&str]) {
        let mut members = self.membership.watch();
        let wait = members.wait_for(|members| {
            members
                .iter()
                .map(|member| member.daemon.as_str())
                .eq(daemons.iter().copied())
        });
        soon(&format!("{daemons:?}"), wait).await.unwrap();
    }

    /// Adds one to a counter in the store.
    pub async fn count(&self) -> Result<Reply, CallError> {
        self.store.call(self.counting()).await
    }

    pub fn counting(&self) -> Call {
        Call::new(&COUNT).key(self.store.keys().of("test", &["count"]))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.heart.cancel();
        self.stop.cancel();
    }
}
