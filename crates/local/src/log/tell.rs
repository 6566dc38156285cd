//! How readers of a partition are told of new records: one number that rises, so that nothing is missed and nothing piles up.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;
use trellis_core::log::{LogError, LogResult, Offset};

/// Where a partition ends. Whoever waits says so before it looks, and the end rises before anybody looks for those who wait:
/// so one of the two sees the other. While nobody waits, rising costs no lock.
pub(super) struct End {
    offset: AtomicU64,
    closed: AtomicBool,
    waiting: AtomicUsize,
    changed: Notify,
}

/// Somebody who waits.
struct Waiting<'a>(&'a End);

impl<'a> Waiting<'a> {
    fn new(end: &'a End) -> Self {
        end.waiting.fetch_add(1, Ordering::SeqCst);
        Self(end)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl End {
    /// A partition that ends at `end`.
    pub(super) fn new(end: Offset) -> Self {
        Self {
            offset: AtomicU64::new(end.0),
            closed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    /// The end has risen.
    pub(super) fn rise(&self, end: Offset) {
        self.offset.fetch_max(end.0, Ordering::SeqCst);
        self.tell();
    }

    /// Nothing comes any more: who waits is told so.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.tell();
    }

    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Waits until the end is above `from`. Safe to cancel.
    pub(super) async fn above(&self, from: Offset) -> LogResult<()> {
        let is_above = || self.offset.load(Ordering::SeqCst) > from.0;
        if is_above() {
            return Ok(());
        }
        let _waiting = Waiting::new(self);
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on it is told, whether it is polled or not.
            changed.as_mut().enable();
            if is_above() {
                return Ok(());
            }
            if self.closed.load(Ordering::SeqCst) {
                return Err(LogError::Closed);
            }
            changed.await;
        }
    }
}
