//! What is under way, so that an end can wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts what has begun and not ended, until it is closed.
#[derive(Default)]
pub(crate) struct Underway(Arc<State>);

#[derive(Default)]
struct State {
    count: AtomicUsize,
    closed: AtomicBool,
    ended: Notify,
}

/// Something that has begun; it ends when this is dropped.
pub(crate) struct Entry(Arc<State>);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        if self.0.closed.load(Ordering::SeqCst) {
            self.0.ended.notify_waiters();
        }
    }
}

impl Underway {
    /// Begins something; `None` once it is closed.
    pub fn enter(&self) -> Option<Entry> {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        let entry = Entry(Arc::clone(&self.0));
        Some(entry).filter(|_| !self.is_closed())
    }

    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// Lets nothing more begin, and waits for the end of what has.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        loop {
            let ended = self.0.ended.notified();
            if self.0.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}
