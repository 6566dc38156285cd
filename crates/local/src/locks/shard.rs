//! Some of the namespaces behind one lock.

use super::space::Space;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use trellis_core::locks::{LocksStatus, Machine, Token};
use trellis_core::{Namespace, Now, Time};

/// What all shards have in common.
#[derive(Default)]
pub(super) struct Common {
    /// Namespaces kept.
    pub namespaces: AtomicUsize,
    /// The highest token of any namespace that was dropped: a new one goes on above it.
    pub floor: Mutex<Token>,
}

/// The namespaces of a shard.
#[derive(Default)]
pub(super) struct Spaces {
    spaces: HashMap<Namespace, Space>,
    /// What dropped namespaces had decided.
    dropped: LocksStatus,
}

impl Spaces {
    /// Keeps a space just made, unless it is empty. Tells when it has something to do next.
    pub fn keep(
        &mut self,
        namespace: &Namespace,
        mut space: Space,
        common: &Common,
    ) -> Option<Time> {
        space.deliver();
        if space.machine.is_empty() {
            self.note_dropped(&space, common);
            common.namespaces.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let due = space.machine.next_due();
        self.spaces.insert(namespace.clone(), space);
        due
    }

    /// Keeps what must outlive a space that is not kept itself.
    pub fn note_dropped(&mut self, space: &Space, common: &Common) {
        note(&mut self.dropped, space, common);
    }

    /// A look brings the machine to the present, which may end waiting calls.
    pub fn look<R>(
        &mut self,
        namespace: &Namespace,
        look: impl FnOnce(Option<&mut Machine>) -> R,
    ) -> R {
        let Some(space) = self.spaces.get_mut(namespace) else {
            return look(None);
        };
        let seen = look(Some(&mut space.machine));
        space.deliver();
        seen
    }

    /// Runs `change` on a space, then hands out what was decided and drops the space if it is empty. Also
    /// tells when the space has something to do next. Gives `change` back when there is no such space.
    pub fn change<R, F: FnOnce(&mut Space) -> R>(
        &mut self,
        namespace: &Namespace,
        common: &Common,
        change: F,
    ) -> std::result::Result<(R, Option<Time>), F> {
        let Some(space) = self.spaces.get_mut(namespace) else {
            return Err(change);
        };
        let changed = change(space);
        space.deliver();
        let due = space.machine.next_due();
        if space.machine.is_empty()
            && let Some(space) = self.spaces.remove(namespace)
        {
            self.note_dropped(&space, common);
            common.namespaces.fetch_sub(1, Ordering::AcqRel);
        }
        Ok((changed, due))
    }

    fn advance(&mut self, now: Now, common: &Common) -> Time {
        let dropped = &mut self.dropped;
        self.spaces.retain(|_, space| {
            space.machine.advance(now);
            space.deliver();
            let keep = !space.machine.is_empty();
            if !keep {
                note(dropped, space, common);
                common.namespaces.fetch_sub(1, Ordering::AcqRel);
            }
            keep
        });
        let spaces = self.spaces.values();
        let dues = spaces.filter_map(|space| space.machine.next_due());
        dues.min().unwrap_or(Time::NEVER)
    }
}

fn note(dropped: &mut LocksStatus, space: &Space, common: &Common) {
    dropped.add_decisions(&space.machine.status());
    let mut floor = common.floor.lock();
    *floor = space.machine.last_token().max(*floor);
}

/// Namespaces behind one lock.
pub(super) struct Shard {
    spaces: Mutex<Spaces>,
    /// Not after the time at which one of the spaces has something to do, in µs.
    due: AtomicU64,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            spaces: Mutex::default(),
            due: AtomicU64::new(u64::MAX),
        }
    }
}

impl Shard {
    pub fn lock(&self) -> MutexGuard<'_, Spaces> {
        self.spaces.lock()
    }

    pub fn due(&self) -> Time {
        Time(self.due.load(Ordering::SeqCst))
    }

    /// Notes that something is due at `at`; tells whether nothing was due earlier.
    pub fn lower_due(&self, at: Time) -> bool {
        at.0 < self.due.load(Ordering::Relaxed) && at.0 < self.due.fetch_min(at.0, Ordering::SeqCst)
    }

    /// Carries out what is due in every space and notes what is due next.
    pub fn advance(&self, now: Now, common: &Common) {
        let mut spaces = self.spaces.lock();
        let due = spaces.advance(now, common);
        // Under the lock, so that no change can fall between the look and the note.
        self.due.store(due.0, Ordering::SeqCst);
    }

    pub fn add_status(&self, total: &mut LocksStatus) {
        let spaces = self.spaces.lock();
        total.add_decisions(&spaces.dropped);
        for space in spaces.spaces.values() {
            let status = space.machine.status();
            total.namespaces += 1;
            total.locks += status.locks;
            total.leases += status.leases;
            total.sessions += status.sessions;
            total.waiters += status.waiters;
            total.request_ids += status.request_ids;
            total.add_decisions(&status);
        }
    }
}
