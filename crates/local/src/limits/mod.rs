//! Limits in memory: one machine per namespace, namespaces spread over shards.

mod space;
mod waiting;

use crate::shards::Shards;
use async_trait::async_trait;
use space::{Space, add_decisions, add_status};
use std::sync::Arc;
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, DeleteLimit, ExtendReservation,
    LimitPage, LimitState, Limits, LimitsStatus, ListBuckets, ListLimits, Machine, MachineConfig,
    Mode, ReportThrottled, ResetLimit, SetLimit, Settle, Settled, Step,
};
use trellis_core::{Clock, Key, Micros, Name, Namespace, Now, Result, Scope};
use waiting::Waiting;

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
    spaces: Shards<Space>,
    config: MemoryLimitsConfig,
}

impl MemoryLimits {
    /// No limits yet. Waiting calls are served only while [`MemoryLimits::run`] is polled.
    #[must_use]
    pub fn new(config: MemoryLimitsConfig, clock: Arc<dyn Clock>) -> Self {
        let full = "are in use; raise limits.max_namespaces";
        Self {
            spaces: Shards::new(config.max_namespaces, full, clock),
            config,
        }
    }

    /// Carries out what time brings: grants, time-outs, expiries. Runs until it is dropped; dropping it
    /// loses nothing, and it may be run again.
    pub async fn run(&self) {
        self.spaces.run().await;
    }

    /// Runs `change` on a namespace; see [`Shards::change`].
    fn change<R>(
        &self,
        namespace: &Namespace,
        change: impl FnOnce(&mut Space, Now) -> Result<R>,
    ) -> Result<R> {
        let make = |_: &_| Space::new(Machine::new(self.config.machine, rand::random()));
        self.spaces.change(namespace, make, change)
    }

    /// Runs `look` on the machine of a namespace, or on an empty one when there is none.
    fn look<R>(&self, namespace: &Namespace, look: impl FnOnce(&mut Machine, Now) -> R) -> R {
        let make = |_: &_| Space::new(Machine::new(self.config.machine, 0));
        self.spaces
            .look(namespace, make, |space, now| look(&mut space.machine, now))
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
        self.spaces.sum(add_decisions, add_status)
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}
