//! The calls that wait here: what the scripts tell of their ends is handed to them.
//!
//! ```text
//! asked -> in line -> an end            (told by any reply, or found to be lost)
//!   |         |-----> made again        (the store forgot it: another seat takes its place)
//!   |         '-----> its caller leaves (taken out of the line, or a grant given back)
//!   '---------------> decided at once, or its caller leaves (its call's heir sees to the rest)
//! ```

use super::acquire::Attempt;
use super::wire::{Data, Decision, Ended, GRANTED};
use crate::Session;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use trellis_core::Result;
use trellis_core::limits::{AcquireRequest, Outcome};

/// A grant that nobody received, or a call that nobody waits for any more.
#[derive(Debug)]
pub(super) enum Abandoned {
    /// Take it out of the line.
    Waiting { namespace: String, ticket: String },
    /// It was not in line at that time: its end may be on its way.
    Gone { ticket: String, at: Instant },
    /// Give back what it took at that time of the store.
    Granted(Unreceived),
}

/// A grant, made at a time of the store, that nobody received.
#[derive(Clone, Debug)]
pub(super) struct Unreceived {
    pub request: Arc<AcquireRequest>,
    pub reservation: Option<String>,
    pub at: u64,
}

/// What the caller in a seat is told.
#[derive(Debug)]
pub(super) enum End {
    /// The decision, at a time of the store.
    Told(Decision, u64),
    /// It has ended in the store, but what it was told there was lost on the way.
    Untold,
    /// The store had forgotten it, so it was made again.
    MadeAgain(Result<Attempt>),
}

struct Seat {
    request: Arc<AcquireRequest>,
    /// In order of arrival.
    number: u64,
    /// `None` when its caller is gone.
    caller: Option<oneshot::Sender<End>>,
    /// The session in which it stands in line; `None` before it is known to.
    in_line: Option<Session>,
}

#[derive(Default)]
struct Taken {
    seats: HashMap<String, Seat>,
    /// How many seats each namespace has; none without.
    namespaces: HashMap<String, usize>,
}

impl Taken {
    fn insert(&mut self, ticket: String, seat: Seat) {
        let namespace = seat.request.namespace.as_str();
        if let Some(count) = self.namespaces.get_mut(namespace) {
            *count += 1;
        } else {
            self.namespaces.insert(namespace.to_owned(), 1);
        }
        self.seats.insert(ticket, seat);
    }

    fn remove(&mut self, ticket: &str) -> Option<Seat> {
        let seat = self.seats.remove(ticket)?;
        let namespace = seat.request.namespace.as_str();
        if let Some(count) = self.namespaces.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(namespace);
            }
        }
        Some(seat)
    }
}

/// The seats of waiting calls, by ticket.
#[derive(Default)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
    /// Bounded by the calls made: each leaves one thing behind at most.
    abandoned: Mutex<Vec<Abandoned>>,
    /// Told when something was abandoned.
    pub news: Notify,
}

impl Seats {
    /// Takes a seat before the call is made: its end may be told before the call's own answer.
    pub fn take(
        self: &Arc<Self>,
        ticket: String,
        number: u64,
        request: Arc<AcquireRequest>,
    ) -> Waiting {
        let (caller, end) = oneshot::channel();
        let seat = Seat {
            request: request.clone(),
            number,
            caller: Some(caller),
            in_line: None,
        };
        self.taken.lock().insert(ticket.clone(), seat);
        Waiting {
            seats: self.clone(),
            request,
            ticket,
            end,
            stage: Stage::Asked,
        }
    }

    /// Hands an end, told at a time of the store, to its caller.
    pub fn told(&self, ended: Ended, at: u64) {
        let Ended(ticket, outcome, data, states) = ended;
        self.end(&ticket, End::Told(Decision(outcome, data, states), at));
    }

    /// Ends a seat. What its caller does not receive is taken back.
    pub fn end(&self, ticket: &str, end: End) {
        let Some(seat) = self.taken.lock().remove(ticket) else {
            tracing::debug!(ticket, ?end, "the end of a call that is not known here");
            return;
        };
        // Not under the lock: an end that was refused may hold another seat.
        let refused = match seat.caller {
            Some(caller) => caller.send(end).err(),
            None => Some(end),
        };
        if let Some(end) = refused {
            self.refuse(&seat.request, end);
        }
    }

    /// Ends the seats of calls that are not in line in this session any more, though nobody was told so.
    pub fn untold(&self, tickets: &[String], session: Session) {
        for ticket in tickets {
            let lost = self.taken.lock().seats.get(ticket).is_some_and(|seat| {
                seat.in_line
                    .is_some_and(|since| since.continues_in(&session))
            });
            if lost {
                self.end(ticket, End::Untold);
            }
        }
    }

    /// Notes that a call stands in line.
    fn stands_in_line(&self, ticket: &str, session: Session) {
        if let Some(seat) = self.taken.lock().seats.get_mut(ticket) {
            seat.in_line = Some(session);
        }
    }

    /// What was abandoned since the last call of this method.
    pub fn abandoned(&self) -> Vec<Abandoned> {
        std::mem::take(&mut *self.abandoned.lock())
    }

    /// Leaves something for the task to deal with.
    pub fn abandon(&self, abandoned: Abandoned) {
        self.abandoned.lock().push(abandoned);
        self.news.notify_one();
    }

    /// Puts back what could not be dealt with, for another time.
    pub fn put_back(&self, abandoned: impl IntoIterator<Item = Abandoned>) {
        self.abandoned.lock().extend(abandoned);
    }

    /// Takes a call out of the line, if it has a seat.
    pub fn abandon_seat(&self, ticket: &str) {
        let taken = self.taken.lock();
        let Some(seat) = taken.seats.get(ticket) else {
            return;
        };
        let namespace = seat.request.namespace.as_str().to_owned();
        drop(taken);
        let ticket = ticket.to_owned();
        self.abandon(Abandoned::Waiting { namespace, ticket });
    }

    /// Forgets a seat that is in no line.
    pub fn forget(&self, ticket: &str) {
        let seat = self.taken.lock().remove(ticket);
        drop(seat);
    }

    /// The request in a seat that is waited for.
    pub fn request(&self, ticket: &str) -> Option<Arc<AcquireRequest>> {
        let taken = self.taken.lock();
        let seat = taken.seats.get(ticket)?;
        seat.caller.as_ref().map(|_| seat.request.clone())
    }

    /// Whether calls wait in a namespace.
    pub fn holds(&self, namespace: &str) -> bool {
        self.taken.lock().namespaces.contains_key(namespace)
    }

    /// The namespaces in which calls wait.
    pub fn namespaces(&self) -> Vec<String> {
        self.taken.lock().namespaces.keys().cloned().collect()
    }

    /// The tickets that stand in line in a namespace.
    pub fn in_line(&self, namespace: &str) -> Vec<String> {
        let taken = self.taken.lock();
        let in_line = taken.seats.iter().filter(|(_, seat)| {
            seat.in_line.is_some() && seat.request.namespace.as_str() == namespace
        });
        in_line.map(|(ticket, _)| ticket.clone()).collect()
    }

    /// Calls that are waited for and stood in line in a session that is over, in order of arrival: namespace
    /// and ticket.
    pub fn forgotten_in(&self, session: Session) -> Vec<(String, String)> {
        let taken = self.taken.lock();
        let mut forgotten: Vec<_> = taken
            .seats
            .iter()
            .filter(|(_, seat)| {
                let over = seat
                    .in_line
                    .is_some_and(|since| !since.continues_in(&session));
                over && seat.caller.is_some()
            })
            .collect();
        forgotten.sort_unstable_by_key(|(_, seat)| seat.number);
        let named = forgotten.into_iter().map(|(ticket, seat)| {
            (
                seat.request.namespace.as_str().to_owned(),
                ticket.to_owned(),
            )
        });
        named.collect()
    }

    /// Takes back what an end brought to a caller that is gone.
    fn refuse(&self, request: &Arc<AcquireRequest>, end: End) {
        match end {
            End::Told(decision, at) => self.give_back(request, &decision, at),
            End::MadeAgain(Ok(Attempt::Decided { acquired, at })) => {
                if let Outcome::Granted(granted) = acquired.outcome {
                    let reservation = granted.map(|granted| granted.id.as_str().to_owned());
                    self.unreceived(request, reservation, at);
                }
            }
            // A seat in there is left by being dropped.
            End::MadeAgain(_) | End::Untold => {}
        }
    }

    /// Gives a grant back that nobody received.
    pub fn give_back(&self, request: &Arc<AcquireRequest>, decision: &Decision, at: u64) {
        if decision.0 == GRANTED {
            let reservation = match &decision.1 {
                Data::Reservation(id, _) => Some(id.clone()),
                _ => None,
            };
            self.unreceived(request, reservation, at);
        }
    }

    fn unreceived(&self, request: &Arc<AcquireRequest>, reservation: Option<String>, at: u64) {
        self.abandon(Abandoned::Granted(Unreceived {
            request: request.clone(),
            reservation,
            at,
        }));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its call is not answered: should it be dropped, the call's heir sees to the rest.
    Asked,
    InLine,
    Over,
}

/// A caller's place in line. Dropped before its end it leaves the line; dropped after a grant that it has not
/// received, the grant is given back whole.
pub(super) struct Waiting {
    seats: Arc<Seats>,
    request: Arc<AcquireRequest>,
    pub ticket: String,
    end: oneshot::Receiver<End>,
    stage: Stage,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.ticket)
    }
}

impl Waiting {
    /// The call stands in line, or may.
    pub fn stands_in_line(&mut self, session: Session) {
        self.stage = Stage::InLine;
        self.seats.stands_in_line(&self.ticket, session);
    }

    /// Waits for the end. May be dropped and called again.
    pub async fn end(&mut self) -> End {
        let end = (&mut self.end).await;
        self.stage = Stage::Over;
        end.unwrap_or(End::Untold)
    }

    /// What is asked for.
    pub fn request(&self) -> Arc<AcquireRequest> {
        self.request.clone()
    }

    /// The call does not wait, or not any more.
    pub fn leave(mut self) {
        self.stage = Stage::Over;
        self.seats.forget(&self.ticket);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.stage == Stage::Over {
            return;
        }
        // Closed first: an end that is told from here on comes back to whoever tells it.
        self.end.close();
        if let Ok(end) = self.end.try_recv() {
            self.seats.refuse(&self.request, end);
            return;
        }
        if let Some(seat) = self.seats.taken.lock().seats.get_mut(&self.ticket) {
            seat.caller = None;
        }
        if self.stage == Stage::InLine {
            self.seats.abandon_seat(&self.ticket);
        }
    }
}

#[cfg(test)]
mod tests;
