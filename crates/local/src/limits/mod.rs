//! Limits in memory: one machine per namespace, namespaces spread over shards.
//!
//! A call locks the shard of its namespace, decides, and unlocks; nothing is awaited under a lock. One
//! timer task serves all shards; it sleeps until the earliest time at which a machine has something
//! to do. A namespace that holds nothing any more is dropped.

mod shard;
mod waiting;

use async_trait::async_trait;
use shard::Shard;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, DeleteLimit, ExtendReservation,
    LimitPage, LimitState, Limits, LimitsStatus, ListBuckets, ListLimits, Machine, MachineConfig,
    Mode, ReportThrottled, ResetLimit, SetLimit, Settle, Settled, Step,
};
use trellis_core::{
    Clock, Error, ErrorCode, Key, Micros, Name, Namespace, Now, Result, Scope, Time,
};
use waiting::Waiting;

/// Enough that namespaces seldom share a lock; a power of two is not needed.
const SHARDS: usize = 64;

/// Bounds of [`MemoryLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimitsConfig {
    /// Namespaces in use at a time.
    pub max_namespaces: usize,
    /// Bounds within each namespace.
    pub machine: MachineConfig,
}

impl Default for MemoryLimitsConfig {
    fn default() -> Self {
        Self {
            max_namespaces: 1_024,
            machine: MachineConfig::default(),
        }
    }
}

/// Limits of this process alone.
pub struct MemoryLimits {
    shards: Box<[Shard]>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    config: MemoryLimitsConfig,
    namespaces: AtomicUsize,
    /// When the timer task wakes up, in µs of the clock; `u64::MAX` while it has nothing to wait for.
    armed: AtomicU64,
    /// Tells the timer task that something is due before it wakes up.
    earlier: Notify,
}

impl MemoryLimits {
    /// No limits yet. Waiting calls are served only while [`MemoryLimits::run`] is polled.
    #[must_use]
    pub fn new(config: MemoryLimitsConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            clock,
            config,
            namespaces: AtomicUsize::new(0),
            armed: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
        }
    }

    /// Carries out what time brings: grants, time-outs, expiries. Runs until it is dropped; dropping it
    /// loses nothing, and it may be run again.
    pub async fn run(&self) {
        loop {
            let now = self.clock.now();
            let mut next = Time::NEVER;
            for shard in &self.shards {
                if shard.due() <= now.mono {
                    shard.advance(now, &self.namespaces);
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

    /// Runs `change` on the machine of a namespace, made when there is none and dropped when nothing
    /// is left in it, and wakes the timer task when something is due earlier than it knows. At the
    /// bound on namespaces only a change that leaves something behind fails.
    fn change<R>(
        &self,
        namespace: &Namespace,
        change: impl FnOnce(&mut shard::Space, Now) -> Result<R>,
    ) -> Result<R> {
        let shard = self.shard(namespace);
        let mut spaces = shard.lock();
        let now = self.clock.now();
        let change = |space: &mut shard::Space| change(space, now);
        let (result, due) = match spaces.change(namespace, &self.namespaces, change) {
            Ok(changed) => changed,
            Err(change) => {
                let machine = Machine::new(self.config.machine, rand::random());
                let mut space = shard::Space::new(machine);
                let admitted = self.admit_namespace();
                let result = change(&mut space);
                match admitted {
                    Ok(()) => (result, spaces.keep(namespace, space, &self.namespaces)),
                    Err(full) if !space.machine.is_empty() => return Err(full),
                    // What leaves nothing behind needs no place: it is answered even at the bound.
                    Err(_) => {
                        spaces.note_dropped(&space);
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
        match self
            .namespaces
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                ErrorCode::TooManyNamespaces,
                format!("{max} namespaces are in use; raise limits.max_namespaces"),
            )),
        }
    }

    /// Runs `look` on the machine of a namespace, or on an empty one when there is none.
    fn look<R>(&self, namespace: &Namespace, look: impl FnOnce(&mut Machine, Now) -> R) -> R {
        let mut spaces = self.shard(namespace).lock();
        let now = self.clock.now();
        spaces.look(namespace, |machine| match machine {
            Some(machine) => look(machine, now),
            None => look(&mut Machine::new(self.config.machine, 0), now),
        })
    }
}

#[async_trait]
impl Limits for MemoryLimits {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        let decided = self.change(&request.namespace, |space, now| {
            Ok(match space.machine.acquire(&request, now)? {
                Step::Done(acquired) => Err(acquired),
                Step::Waiting(ticket) => {
                    // The machine knows when the first caller's time is over; a repeat has its own.
                    let joins = space.is_joined(ticket).then_some(request.mode);
                    Ok((ticket, space.join(ticket), joins))
                }
            })
        });
        match decided {
            Err(error) => Acquiring::done(Err(error)),
            Ok(Err(acquired)) => Acquiring::done(Ok(acquired)),
            Ok(Ok((ticket, caller, joins))) => {
                let mut waiting = Waiting::new(self, request.namespace, ticket, caller);
                if let Some(Mode::Wait(max_wait)) = joins {
                    waiting.give_up_after(max_wait);
                }
                Acquiring::Waiting(Box::pin(waiting.outcome()))
            }
        }
    }

    async fn settle(&self, settle: Settle) -> Result<Settled> {
        self.change(&settle.namespace, |space, now| {
            space.machine.settle(&settle, now)
        })
    }

    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired> {
        self.change(&extend.namespace, |space, now| {
            space.machine.extend(&extend, now)
        })
    }

    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)> {
        let bucket = self.look(&namespace, |machine, now| machine.peek(&limit, &key, now))?;
        Ok((bucket, Scope::Local))
    }

    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)> {
        let (limit, created) = self.change(&set.namespace, |space, now| {
            space.machine.set_limit(&set, now)
        })?;
        Ok((limit, created, Scope::Local))
    }

    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)> {
        let deleted = self.change(&delete.namespace, |space, now| {
            space.machine.delete_limit(&delete, now)
        })?;
        Ok((deleted, Scope::Local))
    }

    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage> {
        let (limits, more) = self.look(&list.namespace, |machine, now| {
            machine.list_limits(&list, now)
        });
        Ok(LimitPage {
            limits,
            more,
            scope: Scope::Local,
        })
    }

    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage> {
        let (buckets, more) = self.look(&list.namespace, |machine, now| {
            machine.list_buckets(&list, now)
        })?;
        Ok(BucketPage {
            buckets,
            more,
            scope: Scope::Local,
        })
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        let buckets = self.change(&reset.namespace, |space, now| {
            space.machine.reset_limit(&reset, now)
        })?;
        Ok((buckets, Scope::Local))
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        let paused = self.change(&report.namespace, |space, now| {
            space.machine.report_throttled(&report, now)
        })?;
        Ok((paused, Scope::Local))
    }

    fn status(&self) -> LimitsStatus {
        let mut total = LimitsStatus::default();
        for shard in &self.shards {
            shard.add_status(&mut total);
        }
        total
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}
