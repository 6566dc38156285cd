//! The shared store: what the rest of the daemon holds.

use crate::call::{Call, CallsTask, Reads, Way};
use crate::connection::{Connection, Driver, End};
use crate::health::{Health, HealthBoard};
use crate::keys::Keys;
use crate::mailbox::{self, Mailbox, Post};
use crate::membership::{self, LEAVE, Membership, MembershipTask};
use crate::shared::Shared;
use crate::{
    CallError, Condition, ConfigError, Identity, RedisConfig, Reply, Session, link, watchdog,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use trellis_core::Clock;

/// A store on Redis. Clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// The work of a store, for a supervisor to run. The store is useless without any one of them.
pub struct StoreTasks {
    /// Carries out calls.
    pub calls: CallsTask,
    /// Keeps the connections, and watches over the server.
    pub connections: ConnectionsTask,
    /// Beats, and watches over the other daemons.
    pub membership: MembershipTask,
}

/// Keeps three connections: for commands, for the mailbox, for the watchdog.
pub struct ConnectionsTask {
    shared: Arc<Shared>,
}

/// How a start has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The store can be used.
    Attached(Session),
    /// The store is away; it is joined when it comes.
    Degraded(Health),
}

/// The store is there and must not be used as it is; the words name the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.reason)]
pub struct StartError(pub Health);

impl Store {
    /// Checks the settings and prepares everything; nothing connects before the tasks run.
    pub fn open(
        config: RedisConfig,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, StoreTasks, Membership), ConfigError> {
        config.validate()?;
        identity.validate()?;
        let (jobs, queue) = mpsc::channel(config.max_in_flight);
        let shared = Arc::new(Shared {
            driver: Driver::new(&config)?,
            keys: Keys::new(&config.key_prefix),
            boot: format!("{:016x}", rand::random::<u64>()),
            board: HealthBoard::new(clock.clone()),
            link: watch::Sender::new(None),
            session: watch::Sender::new(None),
            post: Post::default(),
            permits: Arc::new(Semaphore::new(config.max_in_flight)),
            jobs,
            links_made: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            left: AtomicBool::new(false),
            apart: watch::Sender::new(false),
            lost_before: AtomicU64::new(0),
            config,
            identity,
            clock,
        });
        let (membership, beats) = membership::membership(shared.clone());
        let tasks = StoreTasks {
            calls: CallsTask {
                shared: shared.clone(),
                jobs: queue,
            },
            connections: ConnectionsTask {
                shared: shared.clone(),
            },
            membership: beats,
        };
        Ok((Self { shared }, tasks, membership))
    }

    /// Waits for the first attach, for at most the connect timeout.
    pub async fn started(&self) -> Result<Start, StartError> {
        let mut health = self.health();
        let settled = health.wait_for(|health| {
            health.condition == Condition::Up || health.condition.needs_operator()
        });
        let _ = tokio::time::timeout(self.shared.config.connect_timeout, settled).await;
        let health = health.borrow().clone();
        match self.session() {
            Some(session) => Ok(Start::Attached(session)),
            None if health.condition.needs_operator() => Err(StartError(health)),
            None => Ok(Start::Degraded(health)),
        }
    }

    /// Runs a guarded script in one step: within the store timeout it was done, was not done, or is
    /// [`CallError::Unknown`]. Without an attached connection the answer comes at once.
    ///
    /// Dropping the future loses the answer; the call is carried out all the same, unless it still waited
    /// for its place in flight.
    pub async fn call(&self, call: Call) -> Result<Reply, CallError> {
        crate::call::call(&self.shared, call).await
    }

    /// Reads with plain commands, in one round trip.
    pub(crate) async fn read(&self, commands: Reads) -> Result<Vec<Reply>, CallError> {
        crate::call::read(&self.shared, commands).await
    }

    /// Reads with plain commands on a connection beside the attached one, which takes the place of one that is gone.
    pub(crate) async fn read_beside(
        &self,
        beside: &Connection,
        commands: Reads,
    ) -> Result<(Vec<Reply>, Way), CallError> {
        crate::call::read_beside(&self.shared, beside, commands).await
    }

    /// Opens a connection beside the attached one.
    pub(crate) async fn connect(&self) -> Result<(Connection, End), fred::error::Error> {
        Connection::open(&self.shared.driver).await
    }

    /// Takes note that the store is not in the generation of this session any more: it is attached to anew.
    pub(crate) fn void_session(&self, session: Session) {
        let link = self.shared.link.borrow().clone();
        if let Some(link) = link.filter(|link| link.session.generation == session.generation) {
            link.void();
        }
    }

    /// Host and port of the server.
    #[must_use]
    pub fn address(&self) -> String {
        let config = &self.shared.config;
        if config.host.contains(':') {
            return format!("[{}]:{}", config.host, config.port);
        }
        format!("{}:{}", config.host, config.port)
    }

    /// How long a daemon must be silent before it is declared dead.
    #[must_use]
    pub fn death_after(&self) -> trellis_core::Micros {
        self.shared.config.death_after.into()
    }

    /// The time, on the clock that never goes back.
    pub(crate) fn now(&self) -> trellis_core::Time {
        self.shared.clock.now().mono
    }

    /// This daemon's id.
    #[must_use]
    pub fn daemon(&self) -> &str {
        &self.shared.identity.daemon
    }

    /// The longest time that a call takes.
    #[must_use]
    pub fn timeout(&self) -> std::time::Duration {
        self.shared.config.store_timeout
    }

    /// Time between two beats of this daemon's heart.
    pub(crate) fn heartbeat_interval(&self) -> std::time::Duration {
        self.shared.config.heartbeat_interval
    }

    /// How many calls are in flight, at most `max_in_flight`.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.config.max_in_flight - self.shared.permits.available_permits()
    }

    /// The names of keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// The session of the attached connection; `None` while there is none.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        *self.shared.session.borrow()
    }

    /// The present generation, which is the store's time in microseconds when it began, if data may have been lost
    /// before it: any but the very first.
    #[must_use]
    pub fn lost_before(&self) -> Option<u64> {
        let lost = self.shared.lost_before.load(Ordering::Relaxed);
        self.session()
            .map(|session| session.generation)
            .filter(|generation| *generation == lost)
    }

    /// The session, whenever it changes.
    #[must_use]
    pub fn sessions(&self) -> watch::Receiver<Option<Session>> {
        self.shared.session.subscribe()
    }

    /// The state of the store, whenever it changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.board.watch()
    }

    /// A reader of this daemon's mailbox, messages of locks apart. It sees what comes from now on.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox {
        Mailbox(self.shared.post.others.subscribe())
    }

    /// A reader of messages of locks alone.
    pub(crate) fn locks_mailbox(&self) -> Mailbox {
        Mailbox(self.shared.post.locks.subscribe())
    }

    /// Takes note of a token seen elsewhere: should the store lose its memory, it mints above this one.
    pub fn saw_token(&self, token: u64) {
        self.shared.saw_token(token);
    }

    /// The highest token seen, by this daemon or in the answers to its beats.
    #[must_use]
    pub fn highest_token(&self) -> u64 {
        self.shared.floor.load(Ordering::Relaxed)
    }

    /// Lets the others know whether this daemon spends its share of limits by itself: they decide without that
    /// share meanwhile. Told at once when the store is there, else when it is attached to again.
    pub fn set_apart(&self, apart: bool) {
        self.shared.apart.send_if_modified(|current| {
            let changed = *current != apart;
            *current = apart;
            changed
        });
    }

    /// Leaves the store cleanly: peers need not wait for this daemon's death. No connection is attached
    /// any more; an error means that they will have to wait after all.
    pub async fn leave(&self) -> Result<(), CallError> {
        self.shared.left.store(true, Ordering::Relaxed);
        let link = self.shared.link.borrow().clone();
        let left = self
            .call(
                Call::new(&LEAVE)
                    .key(self.shared.keys.members())
                    .key(self.shared.keys.dead()),
            )
            .await;
        if let Some(link) = link {
            link.void();
        }
        left.map(|_| ())
    }
}

impl ConnectionsTask {
    /// Keeps the connections until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            link::keep(&self.shared, &stop),
            watchdog::watch(&self.shared, &stop),
            mailbox::listen(&self.shared, &stop),
        );
    }
}
