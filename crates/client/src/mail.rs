//! What handles ask of the task behind them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Commands for a task, in a list that their senders bound.
#[derive(Debug)]
pub(crate) struct Mail<C> {
    /// `None` once the task has ended.
    commands: Mutex<Option<VecDeque<C>>>,
    sent: Notify,
}

impl<C> Default for Mail<C> {
    fn default() -> Self {
        Self {
            commands: Mutex::new(Some(VecDeque::new())),
            sent: Notify::new(),
        }
    }
}

impl<C> Mail<C> {
    /// Nobody is told of what is sent when the task has ended; whoever awaits a reply notices.
    pub(crate) fn send(&self, command: C) {
        if let Some(commands) = &mut *self.commands.lock() {
            commands.push_back(command);
            self.sent.notify_one();
        }
    }

    /// Drops what was sent, and what is sent from now on.
    pub(crate) fn close(&self) {
        let left = self.commands.lock().take();
        drop(left);
    }

    /// The next command. Safe to cancel.
    pub(crate) async fn next(&self) -> C {
        loop {
            let next = self.commands.lock().as_mut().and_then(VecDeque::pop_front);
            if let Some(command) = next {
                return command;
            }
            self.sent.notified().await;
        }
    }
}

/// A command after which none comes.
pub(crate) trait Last {
    fn last() -> Self;
}

/// Held by all handles; the task ends with the last of them.
#[derive(Debug)]
pub(crate) struct Owner<C: Last> {
    pub(crate) mail: Arc<Mail<C>>,
    pub(crate) timeout: Duration,
}

impl<C: Last> Drop for Owner<C> {
    fn drop(&mut self) {
        self.mail.send(C::last());
    }
}
