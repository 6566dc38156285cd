//! Watches over the store, and merges what was spent without it.

use crate::fallback::FallbackLimits;
use crate::known::Place;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trellis_core::{Error, ErrorCode, Key, Name, Namespace};

/// How long to wait before a batch that could not be merged is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Opens and closes the fallback.
pub struct FallbackTask {
    pub(crate) limits: Arc<FallbackLimits>,
}

/// What became of merging.
#[derive(Debug, PartialEq, Eq)]
enum Merged {
    /// The store has everything.
    All,
    /// It could not be asked.
    NotYet,
}

impl FallbackTask {
    /// Works until it is told to stop, then merges what it can: by then no call is in flight. What the store
    /// cannot be told of is lost with the daemon, and said.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
        let limits = &self.limits;
        if limits.view.state().up && self.merge_all().await == Merged::All {
            return;
        }
        let (buckets, units) = limits.ledger.lock().unmerged();
        if buckets > 0 {
            tracing::warn!(
                buckets,
                units,
                "ending while the store is away: it will never know what was spent without it"
            );
        }
    }

    async fn watch(&self) {
        let limits = &self.limits;
        loop {
            if !limits.view.state().up {
                limits.trip();
                limits.view.until(true).await;
                // It was away until now.
                limits.trip();
            }
            if !limits.is_open() && limits.ledger.lock().is_empty() {
                tokio::select! {
                    () = limits.switch.news.notified() => {}
                    () = limits.view.until(false) => {}
                }
                continue;
            }
            let dwell = limits.switch.may_close_in();
            tokio::select! {
                () = tokio::time::sleep(dwell.into()) => {}
                () = limits.view.until(false) => continue,
            }
            match self.merge_all().await {
                Merged::All => limits.close(),
                Merged::NotYet => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Merges what there is, in as many calls as that takes. What is spent meanwhile follows in the next round,
    /// lest a busy daemon never shares again.
    async fn merge_all(&self) -> Merged {
        let limits = &self.limits;
        if !self.pack().await {
            return Merged::NotYet;
        }
        loop {
            let Some(batch) = limits.ledger.lock().next() else {
                return Merged::All;
            };
            let Err(error) = limits.reconcile.merge(&batch.name, &batch.spent).await else {
                limits.ledger.lock().merged();
                continue;
            };
            let (name, buckets) = (batch.name.as_str(), batch.spent.len());
            if !is_passing(&error) && limits.ledger.lock().refused() {
                tracing::error!(name, buckets, %error, "what was spent without the store cannot be merged");
                continue;
            }
            tracing::debug!(name, buckets, %error, "what was spent without the store is not merged yet");
            return Merged::NotYet;
        }
    }

    /// Makes batches of what is owed, and tells whether all is in one. While this daemon has no incarnation, a
    /// batch would have the name of another daemon's.
    async fn pack(&self) -> bool {
        let limits = &self.limits;
        let incarnation = limits.view.state().incarnation;
        loop {
            let due = limits.ledger.lock().due();
            if due.is_empty() {
                return true;
            }
            if incarnation == 0 {
                return false;
            }
            let mut lacks = Vec::with_capacity(due.len());
            for place in due {
                let units = self.lacks(&place).await;
                lacks.push((place, units));
            }
            let now = limits.clock.mono();
            let mut ledger = limits.ledger.lock();
            ledger.pack(&incarnation.to_string(), lacks, now);
        }
    }

    /// What this daemon's share of a bucket lacks: what was taken and has not come back with time.
    async fn lacks(&self, (namespace, limit, key): &Place) -> i64 {
        let names = (
            Namespace::new(&**namespace, "namespace"),
            Name::new(&**limit, "limit"),
            Key::new(&**key, "key"),
        );
        let (Ok(namespace), Ok(limit), Ok(key)) = names else {
            return 0;
        };
        match self.limits.local.peek(namespace, limit, key).await {
            Ok((state, _)) => state.capacity - state.remaining,
            // It was idle and full, and so forgotten.
            Err(error) if error.code == ErrorCode::LimitNotFound => 0,
            Err(_) => i64::MAX,
        }
    }
}

/// Whether a merge that failed so may do better another time.
fn is_passing(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::StoreUnavailable | ErrorCode::OutcomeUnknown | ErrorCode::TooManyCalls
    )
}
