//! [`Delivery`]: an event that a member has.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use trellis_proto::v1 as proto;
use trellis_proto::v1::event_settlement::Settlement;

use super::super::event::StoredEvent;
use super::mail::{Command, Owner};
use crate::convert;
use crate::error::{Error, Result};

/// An event, to be done by this member and by no other until it is answered, dropped, or lost.
///
/// Its lease is extended for as long as it lives. Dropped unanswered, for example by an early return, it goes back to the group, as a
/// lock that is dropped does: it comes again after the group's back-off. When the process dies it comes again after its lease.
#[must_use = "dropping a delivery gives its event back to the group"]
pub struct Delivery {
    event: StoredEvent,
    attempt: u32,
    lease: String,
    lost: watch::Receiver<bool>,
    owner: Arc<Owner>,
    /// It was handed out.
    pub(super) seen: bool,
}

impl Delivery {
    pub(super) fn new(
        event: StoredEvent,
        attempt: u32,
        lease: String,
        lost: watch::Receiver<bool>,
        owner: Arc<Owner>,
    ) -> Self {
        Self {
            event,
            attempt,
            lease,
            lost,
            owner,
            seen: false,
        }
    }

    /// The how manieth delivery of the event it is, from 1, as far as is known.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether the lease is known to be over: somebody else has the event, or is about to.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Waits until the lease is known to be over.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // The keeper ends with the last delivery.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// The event is done. Returns when that is durable.
    ///
    /// Fails with [`ErrorReason::LeaseLost`](crate::ErrorReason::LeaseLost) when the event is somebody else's, or about to be, and with
    /// [`ErrorKind::Deadline`](crate::ErrorKind::Deadline) when no answer comes in time: the acknowledgement is then sent on while the
    /// consumer or another delivery lives.
    pub async fn ack(self) -> Result<()> {
        self.settle(Settlement::Ack(proto::EventAck {})).await
    }

    /// The event could not be done: it comes again after the group's back-off. Errors as [`Delivery::ack`].
    pub async fn nack(self) -> Result<()> {
        let delay = None;
        self.settle(Settlement::Nack(proto::EventNack { delay }))
            .await
    }

    /// The event could not be done: it comes again after `delay`, at most 1 hour. Errors as [`Delivery::ack`].
    pub async fn nack_after(self, delay: Duration) -> Result<()> {
        let delay = Some(convert::to_proto(delay, "delay")?);
        self.settle(Settlement::Nack(proto::EventNack { delay }))
            .await
    }

    /// Nobody can do the event: it becomes a dead letter. Errors as [`Delivery::ack`].
    pub async fn reject(self) -> Result<()> {
        self.settle(Settlement::Reject(proto::EventReject {})).await
    }

    async fn settle(mut self, settlement: Settlement) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let timeout = self.owner.timeout;
        self.send(settlement, Some(reply));
        // From here on it is the keeper's.
        drop(self);
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(_)) => Err(Error::outcome_unknown("the consumer has ended")),
            Err(_) => Err(Error::deadline()),
        }
    }

    fn send(&mut self, settlement: Settlement, reply: Option<oneshot::Sender<Result<()>>>) {
        let lease = std::mem::take(&mut self.lease);
        self.owner.mail.send(Command::Settle {
            lease,
            settlement,
            reply,
        });
    }
}

impl Deref for Delivery {
    type Target = StoredEvent;

    fn deref(&self) -> &StoredEvent {
        &self.event
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.lease.is_empty() {
            return;
        }
        // What nobody has looked at did not fail.
        let at_once = prost_types::Duration::default();
        let delay = (!self.seen).then_some(at_once);
        self.send(Settlement::Nack(proto::EventNack { delay }), None);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("event", &self.event)
            .field("attempt", &self.attempt)
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}
