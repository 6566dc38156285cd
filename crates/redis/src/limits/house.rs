//! Housekeeping: what is over is forgotten, what there is is counted.

use super::RedisLimits;
use super::scripts::{NAMESPACES, SWEEP};
use super::task::Finished;
use super::wire::Reply;
use crate::Call;
use std::time::Duration;
use trellis_core::limits::LimitsStatus;

/// Buckets and records looked at in one sweep: a pause of the store of well under a millisecond.
const SWEEP_BUDGET: u64 = 256;

/// Sweeps of one namespace in one round, so that a large one does not keep the others waiting.
const SWEEPS_A_ROUND: usize = 64;

impl RedisLimits {
    /// Forgets what is over, in every namespace, and counts what there is.
    pub(super) async fn keep_house(&self) -> Finished {
        loop {
            let members = self.membership.snapshot().len().max(1);
            let every = Duration::from(self.config.machine.sweep_every);
            // The daemons take turns: together they sweep about once in that time.
            let turns = every * u32::try_from(members).unwrap_or(u32::MAX);
            tokio::time::sleep(turns.mul_f64(rand::random_range(0.5..1.5))).await;
            // Seats that nobody told the end of fade.
            self.seats.news.notify_one();
            for namespace in self.namespaces().await {
                self.sweep(&namespace).await;
            }
        }
    }

    async fn namespaces(&self) -> Vec<String> {
        let call = Call::new(&NAMESPACES).key(self.store.keys().of("limits-namespaces", &[]));
        let names: Vec<String> = match self.store.call(call).await {
            Ok(reply) => {
                let names = reply.items().iter();
                names
                    .filter_map(|name| name.text().map(str::to_owned))
                    .collect()
            }
            Err(_) => return Vec::new(),
        };
        self.counted.lock().retain(|name, _| names.contains(name));
        names
    }

    async fn sweep(&self, namespace: &str) {
        type Counts = (usize, usize, usize, usize, usize, bool);
        for _ in 0..SWEEPS_A_ROUND {
            let reply = self
                .ask::<Counts>(&SWEEP, namespace, &(SWEEP_BUDGET,))
                .await;
            let Ok(Reply::Done { payload, .. }) = reply else {
                return;
            };
            let (limits, buckets, waiters, reservations, request_ids, more) = payload;
            let status = LimitsStatus {
                limits,
                buckets,
                waiters,
                reservations,
                request_ids,
                ..LimitsStatus::default()
            };
            self.counted.lock().insert(namespace.to_owned(), status);
            if !more {
                return;
            }
        }
    }
}
