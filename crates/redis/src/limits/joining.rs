//! Repeats of calls that wait: they join them, for as long as they would wait themselves.

use super::RedisLimits;
use super::convert;
use super::failure::Asked;
use super::scripts::JOINED;
use super::wire::{Decision, QUEUED};
use std::time::Duration;
use tokio::sync::futures::Notified;
use tokio::time::Instant;
use trellis_core::Result;
use trellis_core::limits::{AcquireRequest, Acquired};

/// How often a joined call is looked at when nobody tells that it has ended.
const JOIN_INTERVAL: Duration = Duration::from_secs(1);

impl RedisLimits {
    /// Waits until an equal call that waits elsewhere may have ended: then it is to be asked for again. Tells how
    /// this caller ends whose own time is over before that.
    pub(super) async fn join(
        &self,
        request: &AcquireRequest,
        news: Notified<'_>,
        deadline: Option<Instant>,
    ) -> Result<Option<Acquired>> {
        let latest = Instant::now() + JOIN_INTERVAL;
        let until = deadline.map_or(latest, |deadline| deadline.min(latest));
        let _ = tokio::time::timeout_at(until, news).await;
        let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let Some(id) = request.request_id.as_ref().filter(|_| is_over) else {
            return Ok(None);
        };
        let args = ("acquire", id.as_str());
        let done = self.call::<Decision>(&JOINED, &request.namespace, &args, Asked::default());
        match done.await?.payload()? {
            Decision(QUEUED, ..) => Ok(None),
            timed_out => convert::acquired(timed_out).map(Some),
        }
    }
}
