//! The calls that wait here: what the scripts tell of their ends is handed to them.

use super::convert;
use super::wire::{Data, Decision, Ended, GRANTED};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};
use trellis_core::Result;
use trellis_core::limits::{AcquireRequest, Acquired};

/// A grant that nobody received, or a call that nobody waits for any more.
#[derive(Debug)]
pub(super) enum Abandoned {
    /// Take it out of the line.
    Waiting { namespace: String, ticket: String },
    /// Give back what it took at that time of the store.
    Granted {
        request: Arc<AcquireRequest>,
        reservation: Option<String>,
        at: u64,
    },
}

struct Seat {
    request: Arc<AcquireRequest>,
    /// `None` when its caller is gone.
    caller: Option<oneshot::Sender<(Decision, u64)>>,
}

/// The seats of waiting calls, by ticket.
#[derive(Default)]
pub(super) struct Seats {
    taken: Mutex<HashMap<String, Seat>>,
    /// Bounded by the seats: each is abandoned at most once.
    abandoned: Mutex<Vec<Abandoned>>,
    /// Told when something was abandoned.
    pub news: Notify,
}

impl Seats {
    /// Takes a seat before the call is made: its end may be told before the call's own answer.
    pub fn take(self: &Arc<Self>, ticket: String, request: Arc<AcquireRequest>) -> Waiting {
        let (caller, end) = oneshot::channel();
        let seat = Seat {
            request: request.clone(),
            caller: Some(caller),
        };
        self.taken.lock().insert(ticket.clone(), seat);
        Waiting {
            seats: self.clone(),
            request,
            ticket,
            end,
            over: false,
        }
    }

    /// Hands an end, told at a time of the store, to its caller.
    pub fn end(&self, ended: Ended, at: u64) {
        let Ended(ticket, outcome, data, states) = ended;
        let Some(seat) = self.taken.lock().remove(&ticket) else {
            tracing::debug!(ticket, outcome, "the end of a call that is not known here");
            return;
        };
        let decision = Decision(outcome, data, states);
        let refused = match seat.caller {
            Some(caller) => caller.send((decision, at)).err(),
            None => Some((decision, at)),
        };
        if let Some((decision, at)) = refused {
            self.give_back(&seat.request, &decision, at);
        }
    }

    /// What was abandoned since the last call of this method.
    pub fn abandoned(&self) -> Vec<Abandoned> {
        std::mem::take(&mut *self.abandoned.lock())
    }

    /// Puts something back that could not be dealt with.
    pub fn abandon(&self, abandoned: Abandoned) {
        self.abandoned.lock().push(abandoned);
        self.news.notify_one();
    }

    /// Forgets an abandoned seat that has left the line.
    pub fn forget(&self, ticket: &str) {
        self.taken.lock().remove(ticket);
    }

    /// The namespaces in which calls wait.
    pub fn namespaces(&self) -> Vec<String> {
        let seats = self.taken.lock();
        let mut names: Vec<String> = seats
            .values()
            .map(|seat| seat.request.namespace.as_str().to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn give_back(&self, request: &Arc<AcquireRequest>, decision: &Decision, at: u64) {
        if decision.0 == GRANTED {
            let reservation = match &decision.1 {
                Data::Reservation(id, _) => Some(id.clone()),
                _ => None,
            };
            self.abandon(Abandoned::Granted {
                request: request.clone(),
                reservation,
                at,
            });
        }
    }
}

/// A caller's place in line. Dropped before its end it leaves the line; dropped after a grant that it has not
/// received, the grant is given back whole.
pub(super) struct Waiting {
    seats: Arc<Seats>,
    request: Arc<AcquireRequest>,
    pub ticket: String,
    end: oneshot::Receiver<(Decision, u64)>,
    over: bool,
}

impl Waiting {
    /// Waits for the end that the store tells.
    pub async fn end(&mut self) -> Result<Acquired> {
        let end = (&mut self.end).await;
        self.over = true;
        match end {
            Ok((decision, _)) => convert::acquired(decision),
            Err(_) => Err(convert::unreadable("a waiting call was lost")),
        }
    }

    /// Where it waits.
    pub fn namespace(&self) -> &str {
        self.request.namespace.as_str()
    }

    /// The call does not wait, or not any more.
    pub fn leave(mut self) {
        self.over = true;
        self.seats.forget(&self.ticket);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if let Ok((decision, at)) = self.end.try_recv() {
            self.seats.give_back(&self.request, &decision, at);
        } else if let Some(seat) = self.seats.taken.lock().get_mut(&self.ticket) {
            seat.caller = None;
            self.seats.abandon(Abandoned::Waiting {
                namespace: self.request.namespace.as_str().to_owned(),
                ticket: self.ticket.clone(),
            });
        }
    }
}
