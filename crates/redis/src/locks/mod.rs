//! Locks on Redis: who holds and awaits each lock is in the store, who times each lease is a daemon.
//!
//! Every change is one script, by the store's state alone. Time is not the store's: each lease and session has one
//! daemon, its *host*, which acknowledges renewals from memory while it is certain to be alive to the others, and
//! ends it by its own clock. So renewals cost the store nothing, and its clock can free no lock. A host that dies is
//! inherited by whoever notices first, and what it had lasts its TTL once more. Calls that wait stand in the store's
//! lines; whoever frees a lock gives it to the next in the same script and tells that call's daemon by its mailbox.
//!
//! Files: `wire` shapes, `scripts`, `call` one call of a script and what its failure is; `state` what this daemon has
//! the care of and who waits here, `hear` what the store tells of it; `acquire` taking and waiting, `sessions`,
//! `looking` and watches, `port` the rest of the port; `task` what time and other daemons bring, `ends` leases and
//! waits that are over, `rejoin` what is told to another history, `resync` what may have been missed, `verify`
//! what may have been taken by hand, `house` housekeeping.

mod acquire;
mod call;
mod ends;
mod hear;
mod house;
mod looking;
mod port;
mod rejoin;
mod resync;
mod scripts;
mod sessions;
mod state;
mod task;
mod verify;
mod wire;

use crate::failure::{RETRY_AFTER, unavailable};
use crate::{Membership, Session, Store};
use parking_lot::Mutex;
use sessions::SessionArgs;
use state::State;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
pub use task::RedisLocksTask;
use tokio::sync::{Notify, watch};
use trellis_core::locks::{LockOutcome, LocksStatus, MachineConfig};
use trellis_core::{Clock, Name, Namespace, Result, Time};
use wire::Claim;

/// Bounds of locks on Redis; equal on all daemons.
#[derive(Clone, Copy, Debug)]
pub struct RedisLocksConfig {
    /// Bounds and periods of each namespace.
    pub machine: MachineConfig,
    /// Namespaces in use or remembered.
    pub max_namespaces: usize,
    /// Watches in each namespace.
    pub max_watchers: usize,
}

/// Things of a namespace that wait to be taken back one by one.
const MAX_LETTING: usize = 65_536;

/// Locks that all daemons on one Redis share.
pub struct RedisLocks {
    /// For calls that outlive their callers.
    me: Weak<Self>,
    store: Store,
    membership: Membership,
    clock: Arc<dyn Clock>,
    config: RedisLocksConfig,
    /// Before an escaped namespace: where it stands in the store.
    base: String,
    /// Before the name of a daemon: its mailbox.
    mailbox: String,
    state: Mutex<State>,
    /// The session in which everything that this daemon has the care of was told to the store last.
    standing: watch::Sender<Option<Session>>,
    /// The session in which that was done to its end, the grace and the watches included.
    told_all: Mutex<Option<Session>>,
    /// When this daemon ends the grace of a session's generation, if nobody has by then.
    grace_ends: Mutex<Option<(Time, Session)>>,
    /// Told when grants have begun.
    begun: Notify,
    /// Namespaces of which something may have been missed.
    doubted: Mutex<HashSet<Namespace>>,
    /// What nobody is there to receive.
    letting: Mutex<HashMap<Namespace, Vec<(Claim, u8)>>>,
    /// Streams that have broken, which the store is to be told of. Bounded by the sessions that stand.
    breaking: Mutex<Vec<(Namespace, SessionArgs)>>,
    /// Locks whose watches have become fewer.
    unwatched: Mutex<HashSet<(Namespace, Name)>>,
    /// One at a time tells the store of watches, so that the last one told is the last one made.
    watching: tokio::sync::Mutex<()>,
    /// The task has ended: others take over what this daemon times as soon as it leaves the store.
    ended: AtomicBool,
    /// Told when there is something for the task to do.
    sooner: Notify,
    decided: Decided,
    /// What sweeps have counted.
    counted: Mutex<HashMap<Namespace, LocksStatus>>,
}

#[derive(Default)]
struct Decided {
    granted: AtomicU64,
    held: AtomicU64,
    timed_out: AtomicU64,
    expired: AtomicU64,
    forced: AtomicU64,
}

impl Decided {
    fn count(&self, outcome: &LockOutcome) {
        let counter = match outcome {
            LockOutcome::Granted(_) => &self.granted,
            LockOutcome::Held { .. } => &self.held,
            LockOutcome::TimedOut { .. } => &self.timed_out,
            LockOutcome::Lost => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl RedisLocks {
    /// Locks on a store, and the task without which nothing ends and nobody who waits is told.
    #[must_use]
    pub fn open(
        store: Store,
        membership: Membership,
        config: RedisLocksConfig,
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, RedisLocksTask) {
        let locks = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            base: store.keys().of("locks", &[""]),
            mailbox: store.keys().mailbox(""),
            store,
            membership,
            clock,
            config,
            state: Mutex::default(),
            standing: watch::Sender::new(None),
            told_all: Mutex::new(None),
            grace_ends: Mutex::new(None),
            begun: Notify::new(),
            doubted: Mutex::default(),
            letting: Mutex::default(),
            breaking: Mutex::default(),
            unwatched: Mutex::default(),
            watching: tokio::sync::Mutex::new(()),
            ended: AtomicBool::new(false),
            sooner: Notify::new(),
            decided: Decided::default(),
            counted: Mutex::default(),
        });
        let task = RedisLocksTask::new(locks.clone());
        (locks, task)
    }

    /// The session in which all that this daemon has the care of was told last.
    fn standing(&self) -> Option<Session> {
        *self.standing.borrow()
    }

    /// The session of now, if the store has been told in it all that this daemon has the care of.
    fn standing_session(&self) -> Option<Session> {
        let (standing, session) = (self.standing()?, self.store.session()?);
        standing.continues_in(&session).then_some(session)
    }

    /// Waits until the store knows what this daemon has the care of: before that it would not find it. Where there is no
    /// store, the call says so.
    async fn settled(&self) -> Result<()> {
        let is_settled = |standing: &Option<Session>| {
            let session = self.store.session();
            session.is_none_or(|now| standing.is_some_and(|it| it.continues_in(&now)))
        };
        if is_settled(&self.standing.borrow()) {
            return Ok(());
        }
        let mut standing = self.standing.subscribe();
        let settled = standing.wait_for(is_settled);
        match tokio::time::timeout(self.store.timeout(), settled).await {
            Ok(_) => Ok(()),
            Err(_) => Err(unavailable(
                "it was not told yet what is held here",
                RETRY_AFTER,
            )),
        }
    }

    /// Whether this daemon may acknowledge renewals by itself now: no other takes it for dead, and all that it has the
    /// care of was told to the store.
    fn is_assured(&self, now: Time) -> bool {
        let Some(standing) = self
            .standing()
            .filter(|_| !self.ended.load(Ordering::Acquire))
        else {
            return false;
        };
        if self
            .store
            .session()
            .is_some_and(|session| !session.continues_in(&standing))
        {
            return false;
        }
        self.membership.assurance().is_some_and(|assurance| {
            assurance.incarnation == standing.incarnation && now < assurance.until
        })
    }

    /// Something may have been missed of a namespace: it is looked into, soon.
    fn doubt(&self, namespace: &Namespace) {
        self.doubted.lock().insert(namespace.clone());
        self.sooner.notify_one();
    }

    /// Something that nobody is there to receive is taken back, soon.
    fn let_go(&self, namespace: &Namespace, claim: Claim, why: u8) {
        let mut letting = self.letting.lock();
        let things = letting.entry(namespace.clone()).or_default();
        if things.len() < MAX_LETTING {
            things.push((claim, why));
            drop(letting);
            return self.sooner.notify_one();
        }
        drop(letting);
        // What is not known here any more is found and taken back by a look at all that the store has.
        self.doubt(namespace);
    }
}
