//! Some of the namespaces behind one lock, and the callers that wait in them.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::oneshot;
use trellis_core::limits::{Acquired, LimitsStatus, Machine, Receipt, Ticket};
use trellis_core::{Namespace, Now, Result, Time};

/// The end of a waiting call on its way to a caller.
pub(super) struct Delivery {
    result: Result<Acquired>,
    /// What a grant took, until one of its callers has received it.
    receipt: Arc<Mutex<Option<Receipt>>>,
}

impl Delivery {
    /// Hands the result over; from then on a grant stands.
    pub fn receive(self) -> Result<Acquired> {
        self.receipt.lock().take();
        self.result
    }

    /// What is to be given back, once no caller is left and none has received it.
    pub fn refuse(self) -> Option<Receipt> {
        Arc::into_inner(self.receipt)?.into_inner()
    }
}

/// A caller that waits; known by its number.
pub(super) struct Caller {
    pub number: u64,
    pub receiver: oneshot::Receiver<Delivery>,
}

/// A namespace and who waits in it.
pub(super) struct Space {
    pub machine: Machine,
    callers: HashMap<Ticket, Vec<(u64, oneshot::Sender<Delivery>)>>,
    numbers: u64,
}

impl Space {
    /// A namespace in which nobody waits.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            callers: HashMap::new(),
            numbers: 0,
        }
    }

    /// Whether somebody waits for a call already.
    pub fn is_joined(&self, ticket: Ticket) -> bool {
        self.callers.contains_key(&ticket)
    }

    /// Adds a caller to a waiting call.
    pub fn join(&mut self, ticket: Ticket) -> Caller {
        let (sender, receiver) = oneshot::channel();
        self.numbers += 1;
        self.callers
            .entry(ticket)
            .or_default()
            .push((self.numbers, sender));
        Caller {
            number: self.numbers,
            receiver,
        }
    }

    /// Takes a caller out of a waiting call, and ends the call with its last caller.
    pub fn leave(&mut self, ticket: Ticket, number: u64, now: Now) {
        if let Some(callers) = self.callers.get_mut(&ticket) {
            callers.retain(|(other, _)| *other != number);
            if callers.is_empty() {
                self.callers.remove(&ticket);
                self.machine.cancel(ticket, now);
            }
        }
    }

    /// Hands the calls that have ended to their callers.
    fn deliver(&mut self) {
        for answer in self.machine.take_answers() {
            let callers = self.callers.remove(&answer.ticket).unwrap_or_default();
            let receipt = Arc::new(Mutex::new(answer.receipt));
            for (_, caller) in callers {
                // A caller leaves under the lock before its receiver goes, so every send arrives.
                let _ = caller.send(Delivery {
                    result: answer.result.clone(),
                    receipt: Arc::clone(&receipt),
                });
            }
        }
    }
}

/// The namespaces of a shard.
#[derive(Default)]
pub(super) struct Spaces {
    spaces: HashMap<Namespace, Space>,
    /// What dropped namespaces had decided.
    dropped: LimitsStatus,
}

impl Spaces {
    /// Keeps a space just made, unless it is empty. Tells when it has something to do next.
    pub fn keep(
        &mut self,
        namespace: &Namespace,
        mut space: Space,
        namespaces: &AtomicUsize,
    ) -> Option<Time> {
        space.deliver();
        if space.machine.is_empty() {
            self.note_dropped(&space);
            namespaces.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let due = space.machine.next_due();
        self.spaces.insert(namespace.clone(), space);
        due
    }

    /// Keeps count of what a space decided that is not kept itself.
    pub fn note_dropped(&mut self, space: &Space) {
        add_decisions(&mut self.dropped, space.machine.status());
    }

    pub fn look<R>(
        &mut self,
        namespace: &Namespace,
        look: impl FnOnce(Option<&mut Machine>) -> R,
    ) -> R {
        // A look brings the machine to the present, which may end waiting calls.
        let space = self.spaces.get_mut(namespace);
        let Some(space) = space else {
            return look(None);
        };
        let seen = look(Some(&mut space.machine));
        space.deliver();
        seen
    }

    /// Runs `change` on a space, then hands out answers and drops the space if it is empty. Also tells
    /// when the space has something to do next. Gives `change` back when there is no such space.
    pub fn change<R, F: FnOnce(&mut Space) -> R>(
        &mut self,
        namespace: &Namespace,
        namespaces: &AtomicUsize,
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
            self.note_dropped(&space);
            namespaces.fetch_sub(1, Ordering::AcqRel);
        }
        Ok((changed, due))
    }

    fn advance(&mut self, now: Now, namespaces: &AtomicUsize) -> Time {
        let dropped = &mut self.dropped;
        self.spaces.retain(|_, space| {
            space.machine.advance(now);
            space.deliver();
            let keep = !space.machine.is_empty();
            if !keep {
                add_decisions(dropped, space.machine.status());
                namespaces.fetch_sub(1, Ordering::AcqRel);
            }
            keep
        });
        let dues = self
            .spaces
            .values()
            .filter_map(|space| space.machine.next_due());
        dues.min().unwrap_or(Time::NEVER)
    }
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
    pub fn advance(&self, now: Now, namespaces: &AtomicUsize) {
        let mut spaces = self.spaces.lock();
        let due = spaces.advance(now, namespaces);
        // Under the lock, so that no change can fall between the look and the note.
        self.due.store(due.0, Ordering::SeqCst);
    }

    pub fn add_status(&self, total: &mut LimitsStatus) {
        let spaces = self.spaces.lock();
        add_decisions(total, spaces.dropped);
        for space in spaces.spaces.values() {
            let status = space.machine.status();
            total.namespaces += 1;
            total.limits += status.limits;
            total.buckets += status.buckets;
            total.waiters += status.waiters;
            total.reservations += status.reservations;
            total.request_ids += status.request_ids;
            add_decisions(total, status);
        }
    }
}

fn add_decisions(total: &mut LimitsStatus, more: LimitsStatus) {
    total.granted += more.granted;
    total.denied += more.denied;
    total.never += more.never;
    total.timed_out += more.timed_out;
}
