//! What waits on locks in memory: an acquire, a session's stream, a watch. Dropping one takes it back.

use super::MemoryLocks;
use super::mailbox::Mailbox;
use super::space::{Caller, Delivery, Mail};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::locks::{
    LockState, LockWatch, Progress, SessionFeed, SessionNews, Ticket, WaitingLocks,
};
use trellis_core::{Name, Namespace, Result, Scope};

/// A caller's place in line. Dropped before its end it leaves the line; dropped after a grant that
/// neither it nor another caller of the same call has received, the grant is given back.
pub(super) struct Waiting {
    pub locks: Arc<MemoryLocks>,
    pub namespace: Namespace,
    pub ticket: Ticket,
    pub caller: Caller,
    pub received: bool,
}

#[async_trait]
impl WaitingLocks for Waiting {
    async fn next(&mut self) -> Progress {
        match self.caller.mail.next().await {
            Mail::Queued(place) => Progress::Queued(place),
            Mail::Ended(delivery) => {
                self.received = true;
                Progress::Ended(delivery.receive())
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.received {
            return;
        }
        let (ticket, caller) = (self.ticket, &self.caller);
        // The change cannot fail: a namespace that is gone has no line to leave.
        let _ = self.locks.change(&self.namespace, |space, now| {
            space.leave(ticket, caller.number, now);
            for mail in caller.mail.take() {
                if let Mail::Ended(delivery) = mail
                    && let Some(lease) = Delivery::refuse(delivery)
                {
                    space.machine.take_back(lease, now);
                }
            }
            Ok(())
        });
    }
}

/// What a session's stream is told.
pub(super) struct Feed(pub Arc<Mailbox<SessionNews>>);

#[async_trait]
impl SessionFeed for Feed {
    async fn next(&mut self) -> SessionNews {
        self.0.next().await
    }
}

/// A watch of one lock.
pub(super) struct Watch {
    pub locks: Arc<MemoryLocks>,
    pub namespace: Namespace,
    pub name: Name,
    pub changes: watch::Receiver<()>,
    pub first: bool,
}

#[async_trait]
impl LockWatch for Watch {
    async fn next(&mut self) -> Result<(LockState, Scope)> {
        if !std::mem::take(&mut self.first) && self.changes.changed().await.is_err() {
            // The sender lives as long as this watch.
            std::future::pending::<()>().await;
        }
        let state = self.locks.look(&self.namespace, |machine, now| {
            machine.holders(&self.name, now)
        });
        Ok((state, Scope::Local))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.locks.change(&self.namespace, |space, _| {
            space.unwatch(&self.name);
            Ok(())
        });
    }
}
