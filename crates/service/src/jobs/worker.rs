//! Who works on an open stream: what it may have, and what it asks for.

use super::JobRpc;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use trellis_core::jobs::{Assigned, Reserve};
use trellis_core::{Micros, Result};

/// The most that is taken from the port at once.
const MOST_TAKEN: usize = 256;
const MOST_TAKEN_BYTES: usize = 256 * 1024;

/// How long one call of the port waits for jobs; then the next one does.
const WAIT: Micros = Micros::from_secs(60);

/// How often leases are kept alive while they last.
const BEATS: u64 = 3;

/// See the module.
pub(super) struct Worker {
    /// What it asks for.
    reserve: Reserve,
    /// How long it has a job when nothing is heard of it.
    pub lease: Micros,
    /// Jobs that it may have at once.
    credit: usize,
    /// What it has asked for, and how many; dropping it gives back what that takes.
    pub reserving: Option<(usize, BoxFuture<'static, Result<Vec<Assigned>>>)>,
    /// Until its leases are kept alive again.
    pub beat: Pin<Box<Sleep>>,
    /// Until the stream ends, while the daemon shuts down.
    pub drain: Option<Pin<Box<Sleep>>>,
}

impl Worker {
    /// One that asks so, and may have so many jobs at once.
    pub fn new(reserve: Reserve, lease: Micros, credit: usize) -> Self {
        Self {
            reserve: Reserve {
                lease: Some(lease),
                max_bytes: MOST_TAKEN_BYTES,
                max_wait: WAIT,
                ..reserve
            },
            lease,
            credit,
            reserving: None,
            beat: Box::pin(sleep_until(next_beat(lease))),
            drain: None,
        }
    }

    /// Asks for jobs, if there is credit for some and they are not asked for.
    pub fn ask(&mut self, rpc: &JobRpc, busy: usize) {
        let room = self.credit.saturating_sub(busy).min(MOST_TAKEN);
        if self.reserving.is_some() || self.drain.is_some() || room == 0 {
            return;
        }
        let reserve = Reserve {
            max_jobs: room,
            ..self.reserve.clone()
        };
        let jobs = Arc::clone(&rpc.jobs);
        let reserving = async move { jobs.reserve(reserve).await };
        self.reserving = Some((room, reserving.boxed()));
    }

    /// The worker may have so many jobs. What was asked for beyond is not taken.
    pub fn grant(&mut self, credit: usize, busy: usize) {
        self.credit = credit;
        let room = credit.saturating_sub(busy);
        self.reserving.take_if(|(asked, _)| *asked > room);
    }
}

/// When leases are to be kept alive again.
pub(super) fn next_beat(lease: Micros) -> Instant {
    Instant::now() + Duration::from(Micros(lease.0 / BEATS))
}
