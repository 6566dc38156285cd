//! Whether calls go to the shared store or stay with this daemon: what the fallbacks of all ports have in common.

use crate::breaker::{Breaker, BreakerConfig};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Notify, watch};
use trellis_core::{Clock, Micros, Scope, StoreView, Time};

/// A breaker, and what is told of it.
pub(crate) struct Switch {
    view: Arc<dyn StoreView>,
    clock: Arc<dyn Clock>,
    breaker: Mutex<Breaker>,
    /// As the breaker, to be read without a lock.
    open: AtomicBool,
    opening: watch::Sender<bool>,
    /// When the present or last outage began, and why.
    since: Mutex<(Time, Arc<str>)>,
    outages: AtomicU64,
    /// Told when calls begin to go elsewhere. Users tell their own news by it as well.
    pub news: Notify,
}

impl Switch {
    /// A closed one.
    pub fn new(view: Arc<dyn StoreView>, clock: Arc<dyn Clock>) -> Self {
        Self {
            view,
            clock,
            breaker: Mutex::new(Breaker::new(BreakerConfig::default())),
            open: AtomicBool::new(false),
            opening: watch::Sender::new(false),
            since: Mutex::new((Time(0), Arc::from(""))),
            outages: AtomicU64::new(0),
            news: Notify::new(),
        }
    }

    /// Whether calls stay with this daemon.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Tells every change of [`Switch::is_open`].
    pub fn opening(&self) -> watch::Receiver<bool> {
        self.opening.subscribe()
    }

    /// How often it has opened.
    pub fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// How long until it may close if there is no further sign.
    pub fn may_close_in(&self) -> Micros {
        self.breaker.lock().may_close_in(self.clock.mono())
    }

    /// There is a sign that the store cannot be used. Where this opens the switch, `begin` is run before any
    /// call goes elsewhere, and the reason is told.
    pub fn open(&self, begin: impl FnOnce()) -> Option<Arc<str>> {
        let now = self.clock.now();
        let mut breaker = self.breaker.lock();
        if !breaker.open(now.mono) {
            return None;
        }
        let reason = self.view.state().reason;
        let reason = if reason.is_empty() {
            Arc::from("the store does not answer")
        } else {
            reason
        };
        *self.since.lock() = (now.wall, Arc::clone(&reason));
        begin();
        self.outages.fetch_add(1, Ordering::Relaxed);
        // Under the breaker's lock, so that the two never differ for longer.
        self.open.store(true, Ordering::Release);
        self.opening.send_replace(true);
        drop(breaker);
        self.news.notify_one();
        Some(reason)
    }

    /// Closes, unless there was a sign within the dwell; tells whether it has. `end` is run before another opening
    /// can begin.
    pub fn close(&self, end: impl FnOnce()) -> bool {
        let mut breaker = self.breaker.lock();
        if !breaker.close(self.clock.mono()) {
            return false;
        }
        self.open.store(false, Ordering::Release);
        self.opening.send_replace(false);
        end();
        true
    }

    /// The guarantee that answers carry while it is open.
    pub fn degraded_scope(&self) -> Scope {
        let (since, first) = self.since.lock().clone();
        let now = self.view.state().reason;
        let reason = if now.is_empty() { first } else { now };
        Scope::Degraded { since, reason }
    }
}
