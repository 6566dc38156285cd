//! What a consumer and its deliveries ask of their keeper.
//!
//! Commands wait in a list that is bounded by their senders: each delivery sends one, the consumer one, their owner one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use trellis_proto::v1::event_settlement::Settlement;

use crate::error::Result;

/// Where the end of a settlement is told.
pub(super) type Reply = oneshot::Sender<Result<()>>;

#[derive(Debug)]
pub(super) enum Command {
    Settle {
        lease: String,
        settlement: Settlement,
        reply: Option<Reply>,
    },
    /// The consumer is gone: no further events.
    Leave,
    /// So is the last delivery.
    Close,
}

#[derive(Debug)]
pub(super) struct Mail {
    /// `None` once the keeper has ended.
    commands: Mutex<Option<VecDeque<Command>>>,
    sent: Notify,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            commands: Mutex::new(Some(VecDeque::new())),
            sent: Notify::new(),
        }
    }
}

impl Mail {
    /// Nobody is told of what is sent when the keeper has ended; whoever awaits a reply notices.
    pub(super) fn send(&self, command: Command) {
        if let Some(commands) = &mut *self.commands.lock() {
            commands.push_back(command);
            self.sent.notify_one();
        }
    }

    pub(super) fn close(&self) {
        let left = self.commands.lock().take();
        drop(left);
    }

    pub(super) async fn next(&self) -> Command {
        loop {
            let next = self.commands.lock().as_mut().and_then(VecDeque::pop_front);
            if let Some(command) = next {
                return command;
            }
            self.sent.notified().await;
        }
    }
}

/// Held by the consumer and its deliveries; the keeper ends with the last.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) mail: Arc<Mail>,
    pub(super) timeout: Duration,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.mail.send(Command::Close);
    }
}
