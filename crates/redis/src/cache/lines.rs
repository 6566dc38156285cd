//! The calls of this daemon that wait, by flight, and when each flight is to be looked at.
//!
//! A flight is looked at when a hint about it comes, when its lease ends, and after [`LOOK_EVERY`] at the latest;
//! once at a time. A hint may overtake the answer by which a call learns of its flight: those of the last moments are
//! kept, and a call that joins is looked after at once when one of them may be meant for it.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;
use trellis_core::cache::{
    Failure, FetchOptions, Hit, Landing, Lease, LeaseEnd, LeaseId, Progress, Source, StaleMode,
};
use trellis_core::{EntryKey, Micros, Namespace, Time};

/// The most of a value that is told at once.
const PART_BYTES: usize = 1024 * 1024;

/// Hints kept for calls that are about to join.
const MAX_HINTS: usize = 1_024;

/// A flight is looked at so often at the least, for the case that a hint was lost.
const LOOK_EVERY: Micros = Micros::from_secs(30);

/// When a look that failed is made again.
const RETRY: Micros = Micros::from_millis(100);

/// A look at a lease's end comes so much later, so that it does not come too early.
const BEYOND: Micros = Micros::from_millis(1);

/// A flight: its namespace, key and number.
pub(super) type Place = (Namespace, EntryKey, u64);

/// Something that is said to have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Flight(Place),
    Namespace(Namespace),
    All,
}

impl Hint {
    fn means(&self, place: &Place) -> bool {
        match self {
            Self::Flight(other) => other == place,
            Self::Namespace(namespace) => *namespace == place.0,
            Self::All => true,
        }
    }
}

/// What a call that waits is told.
#[derive(Debug)]
pub(super) enum Told {
    Progress(Progress),
    /// The flight is gone and nobody knows how it ended.
    Again,
}

#[derive(Debug)]
enum End {
    Landing(Landing),
    Again,
}

/// What a call is that joins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joining {
    pub ticket: u64,
    pub options: FetchOptions,
    pub parts: bool,
    pub round: u64,
    pub look_in: Micros,
    /// From [`Lines::mark`], before the store was asked.
    pub since: u64,
}

#[derive(Debug)]
struct Seat {
    options: FetchOptions,
    parts: bool,
    /// Bytes of the value that it was told, of this round.
    told: usize,
    round: u64,
    restarted: Option<LeaseEnd>,
    end: Option<End>,
    notify: Arc<Notify>,
}

#[derive(Debug)]
struct Flight {
    round: u64,
    /// What has come of the value, of this round; only while somebody wants parts.
    bytes: Vec<u8>,
    seats: BTreeMap<u64, Seat>,
    due: Time,
    looking: bool,
}

impl Flight {
    fn first_in_line(&self) -> Option<(u64, &Seat)> {
        let mut seats = self.seats.iter();
        let first = seats.find(|(_, seat)| seat.end.is_none())?;
        Some((*first.0, first.1))
    }

    fn wants_parts(&self) -> bool {
        let mut seats = self.seats.values();
        seats.any(|seat| seat.parts && seat.end.is_none())
    }

    /// The computation has begun again, perhaps.
    fn begin_round(&mut self, round: u64, reason: LeaseEnd) {
        if round > self.round {
            self.round = round;
            self.bytes.clear();
        }
        for seat in self.seats.values_mut() {
            if seat.end.is_none() && seat.round < round {
                (seat.round, seat.told) = (round, 0);
                seat.restarted = Some(reason);
                seat.notify.notify_one();
            }
        }
    }
}

/// A look to be made.
#[derive(Debug)]
pub(super) struct Look {
    pub place: Place,
    /// The first call in line.
    pub ticket: u64,
    pub options: FetchOptions,
    /// The first byte wanted.
    pub offset: Option<usize>,
    /// Whether anybody takes a stale entry in place of a failure.
    pub takes_stale: bool,
}

/// What a look has shown.
#[derive(Debug)]
pub(super) enum Seen {
    Gone,
    Value(Box<Hit>),
    Failure(Failure, Option<Box<Hit>>),
    Open {
        round: u64,
        reason: LeaseEnd,
        turn_in: Micros,
    },
    Taken {
        round: u64,
        reason: LeaseEnd,
        lease: Lease,
    },
    Flying {
        round: u64,
        reason: LeaseEnd,
        ends_in: Micros,
        size: usize,
        bytes: bytes::Bytes,
    },
    /// The store did not answer.
    Nothing,
}

/// What has come of a look: what calls were told, for the ledger, and a lease that nobody is there for.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub served: Vec<Hit>,
    pub failed: u64,
    pub granted: bool,
    pub orphan: Option<LeaseId>,
}

#[derive(Default)]
struct State {
    flights: HashMap<Place, Flight>,
    due: BTreeSet<(Time, Place)>,
    hints: VecDeque<Hint>,
    /// Hints that there have been.
    hinted: u64,
}

impl State {
    fn set_due(&mut self, place: &Place, due: Time) {
        if let Some(flight) = self.flights.get_mut(place) {
            self.due.remove(&(flight.due, place.clone()));
            flight.due = due;
            self.due.insert((due, place.clone()));
        }
    }

    fn missed(&self, place: &Place, since: u64) -> bool {
        let kept = u64::try_from(self.hints.len()).unwrap_or(u64::MAX);
        let first_kept = self.hinted - kept;
        let skip = usize::try_from(since.saturating_sub(first_kept)).unwrap_or(usize::MAX);
        since < first_kept || self.hints.iter().skip(skip).any(|hint| hint.means(place))
    }

    fn remove_if_empty(&mut self, place: &Place) {
        if let Some(flight) = self.flights.get(place)
            && flight.seats.is_empty()
        {
            self.due.remove(&(flight.due, place.clone()));
            self.flights.remove(place);
        }
    }
}

/// The calls that wait here.
#[derive(Default)]
pub(super) struct Lines(Mutex<State>);

impl Lines {
    /// Where the hints stand. To be asked before the store is: a call that joins must not miss one.
    pub fn mark(&self) -> u64 {
        self.0.lock().hinted
    }

    /// Seats a call; woken when it has something to take.
    pub fn join(&self, place: &Place, joining: Joining, now: Time) -> Arc<Notify> {
        let mut state = self.0.lock();
        let notify = Arc::new(Notify::new());
        let seat = Seat {
            options: joining.options,
            parts: joining.parts,
            told: 0,
            round: joining.round,
            restarted: None,
            end: None,
            notify: notify.clone(),
        };
        let missed = state.missed(place, joining.since);
        let flight = state.flights.entry(place.clone()).or_insert(Flight {
            round: joining.round,
            bytes: Vec::new(),
            seats: BTreeMap::new(),
            due: Time::NEVER,
            looking: false,
        });
        flight.seats.insert(joining.ticket, seat);
        let look_in = if missed {
            Micros::ZERO
        } else {
            joining.look_in
        };
        let due = flight.due.min(now + look_in.min(LOOK_EVERY));
        state.set_due(place, due);
        notify
    }

    /// What a call learns next; `None` while there is nothing new. Its end is told once.
    pub fn take(&self, place: &Place, ticket: u64) -> Option<Told> {
        let mut state = self.0.lock();
        let flight = state.flights.get_mut(place)?;
        let seat = flight.seats.get_mut(&ticket)?;
        if let Some(end) = seat.end.take() {
            flight.seats.remove(&ticket);
            state.remove_if_empty(place);
            return Some(match end {
                End::Landing(landing) => Told::Progress(Progress::Ended(landing)),
                End::Again => Told::Again,
            });
        }
        if let Some(reason) = seat.restarted.take() {
            return Some(Told::Progress(Progress::Restarted(reason)));
        }
        if !seat.parts || seat.round != flight.round {
            return None;
        }
        let rest = flight.bytes.get(seat.told..)?;
        let part = &rest[..rest.len().min(PART_BYTES)];
        seat.told += part.len();
        let part = bytes::Bytes::copy_from_slice(part);
        (!part.is_empty()).then(|| Told::Progress(Progress::Part(part)))
    }

    /// A call leaves: whether it is still in line, and a lease that it has not received.
    pub fn leave(&self, place: &Place, ticket: u64) -> (bool, Option<LeaseId>) {
        let mut state = self.0.lock();
        let flight = state.flights.get_mut(place);
        let seat = flight.and_then(|flight| flight.seats.remove(&ticket));
        state.remove_if_empty(place);
        match seat.map(|seat| seat.end) {
            Some(Some(End::Landing(Landing::Lease(lease)))) => (false, Some(lease.id)),
            Some(None) => (true, None),
            _ => (false, None),
        }
    }

    /// Something may have happened: what it concerns is looked at now.
    pub fn hint(&self, hint: Hint, now: Time) {
        let mut state = self.0.lock();
        let places: Vec<Place> = match &hint {
            Hint::Flight(place) => vec![place.clone()],
            hint => {
                let places = state.flights.keys();
                places.filter(|place| hint.means(place)).cloned().collect()
            }
        };
        for place in places {
            state.set_due(&place, now);
        }
        state.hints.push_back(hint);
        state.hinted += 1;
        if state.hints.len() > MAX_HINTS {
            state.hints.pop_front();
        }
    }

    /// When a flight is to be looked at next.
    pub fn next_due(&self) -> Option<Time> {
        self.0.lock().due.first().map(|(at, _)| *at)
    }

    /// The looks that are due; each is answered by [`Lines::looked`].
    pub fn due(&self, now: Time) -> Vec<Look> {
        let mut state = self.0.lock();
        let mut looks = Vec::new();
        while let Some((at, place)) = state.due.first().cloned()
            && at <= now
        {
            state.due.pop_first();
            let Some(flight) = state.flights.get_mut(&place) else {
                continue;
            };
            flight.due = Time::NEVER;
            if flight.looking {
                // Looked at again as soon as this look is over: see `looked`.
                flight.due = now;
                continue;
            }
            let Some((ticket, seat)) = flight.first_in_line() else {
                continue;
            };
            let options = seat.options;
            flight.looking = true;
            let mut seats = flight.seats.values();
            looks.push(Look {
                ticket,
                options,
                offset: flight.wants_parts().then_some(flight.bytes.len()),
                takes_stale: seats.any(|seat| seat.options.stale != StaleMode::Never),
                place,
            });
        }
        looks
    }

    /// Takes note of what a look has shown, and tells the calls.
    pub fn looked(&self, look: &Look, seen: Seen, now: Time) -> Effects {
        let mut state = self.0.lock();
        let mut effects = Effects::default();
        let Some(flight) = state.flights.get_mut(&look.place) else {
            if let Seen::Taken { lease, .. } = seen {
                effects.orphan = Some(lease.id);
            }
            return effects;
        };
        flight.looking = false;
        // Set when a hint came during the look.
        let hinted = flight.due;
        let next = tell(flight, look, seen, now, &mut effects);
        let due = hinted.min(next);
        state.set_due(&look.place, due);
        effects
    }

    /// Calls that wait here.
    pub fn waiters(&self) -> usize {
        let state = self.0.lock();
        state
            .flights
            .values()
            .map(|flight| flight.seats.len())
            .sum()
    }
}

/// Tells the calls of a flight what a look has shown; when to look again.
fn tell(flight: &mut Flight, look: &Look, seen: Seen, now: Time, effects: &mut Effects) -> Time {
    match seen {
        Seen::Nothing => now + RETRY,
        Seen::Gone => end_all(flight, |_| End::Again),
        Seen::Value(hit) => end_all(flight, |_| {
            effects.served.push((*hit).clone());
            End::Landing(Landing::Value((*hit).clone()))
        }),
        Seen::Failure(failure, instead) => end_all(flight, |seat| {
            let stale = instead.as_ref();
            let stale = stale.filter(|_| seat.options.stale != StaleMode::Never);
            if let Some(hit) = stale {
                effects.served.push((**hit).clone());
                return End::Landing(Landing::Value((**hit).clone()));
            }
            effects.failed += 1;
            End::Landing(Landing::Failed(failure.clone()))
        }),
        Seen::Open {
            round,
            reason,
            turn_in,
        } => {
            flight.begin_round(round, reason);
            now + turn_in + BEYOND
        }
        Seen::Taken {
            round,
            reason,
            lease,
        } => {
            match flight.seats.get_mut(&look.ticket) {
                Some(seat) if seat.end.is_none() => {
                    seat.end = Some(End::Landing(Landing::Lease(lease)));
                    seat.notify.notify_one();
                    effects.granted = true;
                }
                _ => effects.orphan = Some(lease.id),
            }
            flight.begin_round(round, reason);
            now + lease.ttl.min(LOOK_EVERY) + BEYOND
        }
        Seen::Flying {
            round,
            reason,
            ends_in,
            size,
            bytes,
        } => {
            flight.begin_round(round, reason);
            if look.offset == Some(flight.bytes.len()) && flight.round == round {
                flight.bytes.extend_from_slice(&bytes);
                let told = flight.seats.values().filter(|seat| seat.parts);
                told.for_each(|seat| seat.notify.notify_one());
            }
            if flight.wants_parts() && flight.bytes.len() < size {
                return now;
            }
            now + ends_in.min(LOOK_EVERY) + BEYOND
        }
    }
}

fn end_all(flight: &mut Flight, mut end: impl FnMut(&Seat) -> End) -> Time {
    for seat in flight.seats.values_mut() {
        if seat.end.is_none() {
            seat.end = Some(end(seat));
            seat.notify.notify_one();
        }
    }
    Time::NEVER
}

/// A value as it is told to a call that waited for it.
pub(super) fn coalesced(mut hit: Hit) -> Hit {
    if hit.source == Source::Stale {
        // A TTL of no time: the value is as fresh as a value can be.
        hit.source = Source::Coalesced;
    }
    hit
}

#[cfg(test)]
mod tests;
