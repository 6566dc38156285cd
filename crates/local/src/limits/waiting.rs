//! A call that waits: dropping it takes it back.

use super::MemoryLimits;
use super::shard::{Caller, Delivery};
use std::sync::Arc;
use trellis_core::limits::{Acquired, Ticket};
use trellis_core::{Error, ErrorCode, Namespace, Result};

/// A caller's place in line. Dropped before its end it leaves the line; dropped after a grant that
/// neither it nor another caller of the same call has received, the grant is given back whole.
pub(super) struct Waiting {
    limits: Arc<MemoryLimits>,
    namespace: Namespace,
    ticket: Ticket,
    caller: Caller,
    received: bool,
}

impl Waiting {
    pub fn new(
        limits: Arc<MemoryLimits>,
        namespace: Namespace,
        ticket: Ticket,
        caller: Caller,
    ) -> Self {
        Self {
            limits,
            namespace,
            ticket,
            caller,
            received: false,
        }
    }

    /// Waits for the end of the call.
    pub async fn outcome(mut self) -> Result<Acquired> {
        let delivery = (&mut self.caller.receiver).await;
        self.received = true;
        match delivery {
            Ok(delivery) => delivery.receive(),
            Err(_) => Err(Error::new(ErrorCode::Internal, "a waiting call was lost")),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.received {
            return;
        }
        let (ticket, caller) = (self.ticket, &mut self.caller);
        // The change cannot fail: a namespace that is gone has no line to leave.
        let _ = self.limits.change(&self.namespace, |space, now| {
            space.leave(ticket, caller.number, now);
            let delivery = caller.receiver.try_recv().ok();
            if let Some(receipt) = delivery.and_then(Delivery::refuse) {
                space.machine.take_back(receipt, now);
            }
            Ok(())
        });
    }
}
