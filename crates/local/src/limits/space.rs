//! A namespace: its machine, and the callers that wait in it.

use crate::shards;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use trellis_core::limits::{Acquired, LimitsStatus, Machine, Receipt, Ticket};
use trellis_core::{Now, Result, Time};

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
}

impl shards::Space for Space {
    /// What was decided.
    type Past = LimitsStatus;

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

    fn is_empty(&self) -> bool {
        self.machine.is_empty()
    }

    fn next_due(&self) -> Option<Time> {
        self.machine.next_due()
    }

    fn advance(&mut self, now: Now) {
        self.machine.advance(now);
    }

    fn leave_behind(&self, past: &mut LimitsStatus) {
        add_decisions(past, &self.machine.status());
    }
}

/// Adds what a namespace holds and has decided.
pub(super) fn add_status(total: &mut LimitsStatus, space: &Space) {
    let status = space.machine.status();
    total.namespaces += 1;
    total.limits += status.limits;
    total.buckets += status.buckets;
    total.waiters += status.waiters;
    total.reservations += status.reservations;
    total.request_ids += status.request_ids;
    add_decisions(total, &status);
}

/// Adds what was decided.
pub(super) fn add_decisions(total: &mut LimitsStatus, more: &LimitsStatus) {
    total.granted += more.granted;
    total.denied += more.denied;
    total.never += more.never;
    total.timed_out += more.timed_out;
}
