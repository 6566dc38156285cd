//! Locks in memory: one machine per namespace, namespaces spread over shards.
//!
//! What is held is lost with the process. Tokens then go on by the wall clock.

mod mailbox;
mod space;
mod waiting;

use crate::shards::Shards;
use async_trait::async_trait;
use space::{Past, Space, add_status};
use std::sync::Arc;
use trellis_core::locks::{
    AcquireLocks, AcquiringLocks, ForceRelease, LeaseRef, ListLocks, LockPage, LockState,
    LockWatch, Locks, LocksStatus, Machine, MachineConfig, OpenSession, SessionFeed, SessionId,
    SessionKey, SessionState, Start, Step, Token, TokenState,
};
use trellis_core::{Clock, Micros, Name, Namespace, Now, Result, Scope};
use waiting::{Feed, Waiting, Watch};

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
    spaces: Shards<Space>,
    config: MemoryLocksConfig,
}

impl MemoryLocks {
    /// No locks yet. Time brings something only while [`MemoryLocks::run`] is polled.
    #[must_use]
    pub fn new(config: MemoryLocksConfig, clock: Arc<dyn Clock>) -> Self {
        let full = "have locks; raise locks.max_namespaces";
        Self {
            spaces: Shards::new(config.max_namespaces, full, clock),
            config,
        }
    }

    /// Carries out what time brings: expiries, grants, time-outs. Runs until it is dropped; dropping it
    /// loses nothing, and it may be run again.
    pub async fn run(&self) {
        self.spaces.run().await;
    }

    /// A namespace goes on above the highest token of those that its shard has dropped, itself among them.
    fn new_space(&self, past: &Past) -> Space {
        let start = Start {
            floor: self.config.start.floor.max(past.floor),
            ..self.config.start
        };
        Space::new(self.config.machine, start)
    }

    /// Runs `change` on a namespace; see [`Shards::change`].
    fn change<R>(
        &self,
        namespace: &Namespace,
        change: impl FnOnce(&mut Space, Now) -> Result<R>,
    ) -> Result<R> {
        let make = |past: &Past| self.new_space(past);
        self.spaces.change(namespace, make, change)
    }

    /// Runs `look` on the machine of a namespace, or on an empty one when there is none.
    fn look<R>(&self, namespace: &Namespace, look: impl FnOnce(&mut Machine, Now) -> R) -> R {
        let make = |past: &Past| self.new_space(past);
        self.spaces
            .look(namespace, make, |space, now| look(&mut space.machine, now))
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
        let add_past = |total: &mut LocksStatus, past: &Past| total.add_decisions(&past.decided);
        self.spaces.sum(add_past, add_status)
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}
