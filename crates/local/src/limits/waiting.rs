//! A call that waits: dropping it takes it back.

use super::MemoryLimits;
use super::space::{Caller, Delivery};
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};
use trellis_core::limits::{Acquired, Ticket};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result};

/// A caller's place in line. Dropped before its end it leaves the line; dropped after a grant that
/// neither it nor another caller of the same call has received, the grant is given back whole.
pub(super) struct Waiting {
    limits: Arc<MemoryLimits>,
    namespace: Namespace,
    ticket: Ticket,
    caller: Caller,
    /// When this caller alone gives up, where the call goes on without it.
    until: Option<Instant>,
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
            until: None,
            received: false,
        }
    }

    /// Lets the caller wait no longer than this, however long the call does. A time too far to tell is none.
    pub fn give_up_after(&mut self, max_wait: Micros) {
        self.until = Instant::now().checked_add(max_wait.into());
    }

    /// Waits for the end of the call.
    pub async fn outcome(mut self) -> Result<Acquired> {
        let until = self.until;
        let over = async move {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let delivery = tokio::select! {
            biased;
            delivery = &mut self.caller.receiver => delivery,
            () = over => {
                if let Some(timed_out) = self.give_up() {
                    return Ok(timed_out);
                }
                (&mut self.caller.receiver).await
            }
        };
        self.received = true;
        match delivery {
            Ok(delivery) => delivery.receive(),
            Err(_) => Err(Error::new(ErrorCode::Internal, "a waiting call was lost")),
        }
    }

    /// Leaves the call; `None` when it has just ended, and its end is on the way.
    fn give_up(&mut self) -> Option<Acquired> {
        let (ticket, number) = (self.ticket, self.caller.number);
        let timed_out = self.limits.change(&self.namespace, |space, now| {
            let timed_out = space.machine.overdue(ticket, now);
            if timed_out.is_some() {
                space.leave(ticket, number, now);
            }
            Ok(timed_out)
        });
        let timed_out = timed_out.ok().flatten();
        self.received = timed_out.is_some();
        timed_out
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
