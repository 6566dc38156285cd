//! Attempts that are over, for whoever watches many: they are gathered, and told together.

use super::shard::Shard;
use super::{JobEngine, shard_in};
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use trellis_core::Namespace;
use trellis_core::jobs::{Attempt, WatchAttempts};

/// What was not told yet, and who waits for it.
#[derive(Default)]
struct Untold {
    over: Vec<Attempt>,
    waiting: Option<Waker>,
}

/// Where attempts that are over are gathered, for one who watches them.
#[derive(Clone, Default)]
pub(super) struct Overs(Arc<Mutex<Untold>>);

impl Overs {
    pub fn tell(&self, attempt: Attempt) {
        let waiting = {
            let mut untold = self.0.lock();
            untold.over.push(attempt);
            untold.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// See the module.
struct Watched {
    shards: Vec<Arc<Shard>>,
    namespace: Namespace,
    overs: Overs,
}

impl JobEngine {
    pub(super) fn watched(&self, namespace: &Namespace) -> Box<dyn WatchAttempts> {
        Box::new(Watched {
            shards: self.shards.clone(),
            namespace: namespace.clone(),
            overs: Overs::default(),
        })
    }
}

impl WatchAttempts for Watched {
    fn add(&mut self, attempt: Attempt) {
        let shard = shard_in(&self.shards, attempt.job);
        let is_watched = shard.is_some_and(|shard| {
            let mut state = shard.state.lock();
            let known = state.find(&self.namespace, attempt.job).is_ok();
            known && state.leases.watch(attempt, &self.overs)
        });
        if !is_watched {
            self.overs.tell(attempt);
        }
    }

    fn poll_over(&mut self, task: &mut Context<'_>) -> Poll<Vec<Attempt>> {
        let mut untold = self.overs.0.lock();
        if untold.over.is_empty() {
            untold.waiting = Some(task.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut untold.over))
    }
}
