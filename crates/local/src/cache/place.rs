//! One namespace: its machine behind a lock, and the calls that wait in it.

use super::entries::{AllEntries, OwnEntries};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use trellis_core::cache::{Machine, Ticket, Usage};
use trellis_core::{Now, Time};

/// A namespace.
pub(super) struct Place {
    number: u64,
    usage: Arc<Usage>,
    /// When the machine has something to do next, in µs; `u64::MAX`: never.
    due: AtomicU64,
    space: Mutex<Space>,
}

/// What the lock protects.
pub(super) struct Space {
    pub machine: Machine,
    waiting: HashMap<Ticket, Arc<Notify>>,
    /// It is no longer the namespace's place.
    dropped: bool,
}

impl Space {
    /// A call that has joined a line; woken when it has something to take.
    pub fn join(&mut self, ticket: Ticket) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        self.waiting.insert(ticket, Arc::clone(&notify));
        notify
    }

    /// A call that is in no line any more.
    pub fn part(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    fn wake(&mut self) {
        for ticket in self.machine.take_woken() {
            if let Some(waiting) = self.waiting.get(&ticket) {
                waiting.notify_one();
            }
        }
    }
}

impl Place {
    pub fn new(number: u64, machine: Machine) -> Self {
        Self {
            number,
            usage: Arc::default(),
            due: AtomicU64::new(u64::MAX),
            space: Mutex::new(Space {
                machine,
                waiting: HashMap::new(),
                dropped: false,
            }),
        }
    }

    /// Runs a change, and wakes whom it concerns. `None` when the place was dropped meanwhile.
    pub fn change<R>(
        &self,
        all: &AllEntries,
        now: impl FnOnce() -> Now,
        change: impl FnOnce(&mut Space, &OwnEntries<'_>, Now) -> R,
    ) -> Option<R> {
        let mut space = self.space.lock();
        if space.dropped {
            return None;
        }
        let entries = OwnEntries {
            all,
            number: self.number,
            usage: &self.usage,
        };
        let changed = change(&mut space, &entries, now());
        space.wake();
        let due = space.machine.next_due().unwrap_or(Time::NEVER);
        self.due.store(due.0, Ordering::SeqCst);
        Some(changed)
    }

    pub fn due(&self) -> Time {
        Time(self.due.load(Ordering::SeqCst))
    }

    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Ends the place if nothing but its ledger would be lost; hands its machine out.
    pub fn drop_if_idle(&self) -> Option<(u64, trellis_core::cache::Ledger)> {
        let mut space = self.space.try_lock()?;
        let idle = space.machine.is_idle() && self.usage.entries() == 0;
        if !idle || space.dropped {
            return None;
        }
        space.dropped = true;
        Some((space.machine.last_number(), *space.machine.ledger()))
    }
}
