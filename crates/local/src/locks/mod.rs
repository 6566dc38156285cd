//! Locks in memory: one machine per namespace, namespaces spread over shards.
//!
//! A call locks the shard of its namespace, decides, and unlocks; nothing is awaited under a lock. One
//! timer task serves all shards; it sleeps until the earliest time at which a machine has something
//! to do. A namespace that holds nothing any more is dropped, its highest token apart.
//!
//! What is held is lost with the process. Tokens then go on by the wall clock.

mod mailbox;
mod shard;
mod space;
mod waiting;

use async_trait::async_trait;
use shard::{Common, Shard};
use space::Space;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use trellis_core::locks::{
    AcquireLocks, AcquiringLocks, ForceRelease, LeaseRef, ListLocks, LockPage, LockState,
    LockWatch, Locks, LocksStatus, Machine, MachineConfig, OpenSession, SessionFeed, SessionId,
    SessionKey, SessionState, Start, Step, Token, TokenState,
};
use trellis_core::{Clock, Error, ErrorCode, Micros, Name, Namespace, Now, Result, Scope, Time};
use waiting::{Feed, Waiting, Watch};

/// Enough that namespaces seldom share a lock.
const SHARDS: usize = 64;

/// Bounds of [`MemoryLocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLocksConfig {
    /// Namespaces in use or remembered at a time.
    pub max_namespaces: usize,
    /// Watches in each namespace.
    pub max_watchers: usize,
    /// Bounds within each namespace.
    pub machine: MachineConfig,
    /// What each namespace begins with.
    pub start: Start,
}

impl Default for MemoryLocksConfig {
    fn default() -> Self {
        Self {
            max_namespaces: 1_024,
            max_watchers: 4_096,
            machine: MachineConfig::default(),
            start: Start::default(),
        }
    }
}

/// Locks of this process alone.
pub struct MemoryLocks {
    shards: Box<[Shard]>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    config: MemoryLocksConfig,
    common: Common,
    /// When the timer task wakes up, in µs of the clock; `u64::MAX` while it has nothing to wait for.
    armed: AtomicU64,
    /// Tells the timer task that something is due before it wakes up.
    earlier: Notify,
}

impl MemoryLocks {
    /// No locks yet. Time brings something only while [`MemoryLocks::run`] is polled.
    #[must_use]
    pub fn new(config: MemoryLocksConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            clock,
            config,
            common: Common::default(),
            armed: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
        }
    }

    /// Carries out what time brings: expiries, grants, time-outs. Runs until it is dropped; dropping it
    /// loses nothing, and it may be run again.
    pub async fn run(&self) {
        loop {
            let now = self.clock.now();
            let mut next = Time::NEVER;
            for shard in &self.shards {
                if shard.due() <= now.mono {
                    shard.advance(now, &self.common);
                }
                next = next.min(shard.due());
            }
            self.armed.store(next.0, Ordering::SeqCst);
            if self.shards.iter().any(|shard| shard.due() < next) {
                continue;
            }
            let wait = next - self.clock.now().mono;
            tokio::select! {
                () = tokio::time::sleep(wait.into()) => {}
                () = self.earlier.notified() => {}
            }
        }
    }

    fn shard(&self, namespace: &Namespace) -> &Shard {
        let hash = self.hasher.hash_one(namespace);
        // The remainder fits, whatever the width of usize.
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    fn new_space(&self) -> Space {
        let floor = self.config.start.floor.max(*self.common.floor.lock());
        let start = Start {
            floor,
            ..self.config.start
        };
        Space::new(self.config.machine, start)
    }

    /// Runs `change` on a namespace, made when there is none and dropped when nothing is left in it, and wakes
    /// the timer task when something is due earlier than it knows. At the bound on namespaces only a
    /// change that leaves something behind fails.
    fn change<R>(
        &self,
        namespace: &Namespace,
        change: impl FnOnce(&mut Space, Now) -> Result<R>,
    ) -> Result<R> {
        let shard = self.shard(namespace);
        let mut spaces = shard.lock();
        let now = self.clock.now();
        let change = |space: &mut Space| change(space, now);
        let (result, due) = match spaces.change(namespace, &self.common, change) {
            Ok(changed) => changed,
            Err(change) => {
                let mut space = self.new_space();
                let admitted = self.admit_namespace();
                let result = change(&mut space);
                match admitted {
                    Ok(()) => (result, spaces.keep(namespace, space, &self.common)),
                    Err(full) if !space.machine.is_empty() => {
                        spaces.note_dropped(&space, &self.common);
                        return Err(full);
                    }
                    // What leaves nothing behind needs no place: it is answered even at the bound.
                    Err(_) => {
                        spaces.note_dropped(&space, &self.common);
                        (result, None)
                    }
                }
            }
        };
        drop(spaces);
        if let Some(due) = due
            && shard.lower_due(due)
            && due.0 < self.armed.load(Ordering::SeqCst)
        {
            self.earlier.notify_one();
        }
        result
    }

    fn admit_namespace(&self) -> Result<()> {
        let max = self.config.max_namespaces;
        let more = |count: usize| (count < max).then_some(count + 1);
        let namespaces = &self.common.namespaces;
        match namespaces.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                ErrorCode::TooManyNamespaces,
                format!("{max} namespaces have locks; raise locks.max_namespaces"),
            )),
        }
    }

    /// Runs `look` on the machine of a namespace, or on an empty one when there is none.
    fn look<R>(&self, namespace: &Namespace, look: impl FnOnce(&mut Machine, Now) -> R) -> R {
        let mut spaces = self.shard(namespace).lock();
        let now = self.clock.now();
        spaces.look(namespace, |machine| match machine {
            Some(machine) => look(machine, now),
            None => look(&mut self.new_space().machine, now),
        })
    }
}

#[async_trait]
impl Locks for MemoryLocks {
    fn acquire(self: Arc<Self>, acquire: AcquireLocks) -> AcquiringLocks {
        let secret = rand::random();
        let decided = self.change(&acquire.namespace, |space, now| {
            Ok(match space.machine.acquire(&acquire, secret, now)? {
                Step::Done(acquired) => Err(acquired),
                Step::Waiting(ticket, place) => Ok((ticket, space.join(ticket, place))),
            })
        });
        match decided {
            Err(error) => AcquiringLocks::Done(Err(error)),
            Ok(Err(acquired)) => AcquiringLocks::Done(Ok(acquired)),
            Ok(Ok((ticket, caller))) => AcquiringLocks::Waiting(Box::new(Waiting {
                locks: self,
                namespace: acquire.namespace,
                ticket,
                caller,
                received: false,
            })),
        }
    }

    async fn release(&self, lease: LeaseRef) -> Result<Scope> {
        self.change(&lease.namespace, |space, now| {
            space.machine.release(lease.lease, now)
        })?;
        Ok(Scope::Local)
    }

    async fn keep_alive(&self, lease: LeaseRef) -> Result<(Micros, Scope)> {
        let remaining = self.change(&lease.namespace, |space, now| {
            space.machine.keep_alive(lease.lease, now)
        })?;
        Ok((remaining, Scope::Local))
    }

    async fn inspect(&self, namespace: Namespace, name: Name) -> Result<(LockState, Scope)> {
        let state = self.look(&namespace, |machine, now| machine.inspect(&name, now));
        Ok((state, Scope::Local))
    }

    async fn list(&self, list: ListLocks) -> Result<LockPage> {
        let (locks, more) = self.look(&list.namespace, |machine, now| machine.list(&list, now));
        let scope = Scope::Local;
        Ok(LockPage { locks, more, scope })
    }

    async fn watch(
        self: Arc<Self>,
        namespace: Namespace,
        name: Name,
    ) -> Result<Box<dyn LockWatch>> {
        let max = self.config.max_watchers;
        let changes = self.change(&namespace, |space, _| space.watch(&name, max))?;
        Ok(Box::new(Watch {
            locks: self,
            namespace,
            name,
            changes,
            first: true,
        }))
    }

    async fn force_release(&self, force: ForceRelease) -> Result<(usize, Scope)> {
        let ended = self.change(&force.namespace, |space, now| {
            space.machine.force_release(&force, now)
        })?;
        Ok((ended, Scope::Local))
    }

    async fn check_token(
        &self,
        namespace: Namespace,
        name: Name,
        token: Token,
    ) -> Result<TokenState> {
        let (held, remaining) = self.look(&namespace, |machine, now| {
            machine.check_token(&name, token, now)
        });
        Ok(TokenState {
            held,
            remaining,
            scope: Scope::Local,
        })
    }

    async fn open_session(
        self: Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let secret = rand::random();
        let (state, feed) = self.change(&open.namespace, |space, now| {
            let state = space.machine.open_session(&open, secret, now)?;
            let feed = space.feed(state.key);
            Ok((state, feed))
        })?;
        Ok((state, Box::new(Feed(feed))))
    }

    async fn attach_session(
        self: Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let (state, feed) = self.change(&namespace, |space, now| {
            let state = space.machine.attach_session(session, now)?;
            let feed = space.feed(state.key);
            Ok((state, feed))
        })?;
        Ok((state, Box::new(Feed(feed))))
    }

    async fn keep_session(
        &self,
        namespace: Namespace,
        session: SessionKey,
    ) -> Result<(Micros, Scope)> {
        let remaining = self.change(&namespace, |space, now| {
            space.machine.keep_session(session, now)
        })?;
        Ok((remaining, Scope::Local))
    }

    async fn close_session(&self, namespace: Namespace, session: SessionKey) -> Result<usize> {
        self.change(&namespace, |space, now| {
            let ended = space.machine.close_session(session, now)?;
            space.end_feed(session);
            Ok(ended)
        })
    }

    fn break_session(&self, namespace: &Namespace, session: SessionKey) {
        // The change cannot fail: a namespace that is gone has no session.
        let _ = self.change(namespace, |space, now| {
            space.machine.break_session(session, now);
            space.end_feed(session);
            Ok(())
        });
    }

    fn status(&self) -> LocksStatus {
        let mut total = LocksStatus::default();
        for shard in &self.shards {
            shard.add_status(&mut total);
        }
        total
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}
