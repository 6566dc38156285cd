//! Messages for one reader, in order. Sending never waits, and reading loses none when it is given up.

use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// A queue with one reader. Its senders see to its bound: a caller is told of its newest place and its
/// end, a session of each of its leases once.
pub(super) struct Mailbox<T> {
    queue: Mutex<VecDeque<T>>,
    filled: Notify,
}

impl<T> Mailbox<T> {
    pub fn new(first: impl IntoIterator<Item = T>) -> Self {
        Self {
            queue: Mutex::new(first.into_iter().collect()),
            filled: Notify::new(),
        }
    }

    /// Sends a message in the place of those that `replaced` picks.
    pub fn send(&self, message: T, replaced: impl Fn(&T) -> bool) {
        let mut queue = self.queue.lock();
        queue.retain(|other| !replaced(other));
        queue.push_back(message);
        drop(queue);
        self.filled.notify_one();
    }

    /// The oldest message, waiting for one.
    pub async fn next(&self) -> T {
        loop {
            if let Some(message) = self.queue.lock().pop_front() {
                return message;
            }
            self.filled.notified().await;
        }
    }

    /// All messages.
    pub fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut *self.queue.lock())
    }
}
