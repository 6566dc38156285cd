//! What this daemon has the care of: the calls that wait here, the leases and sessions that it times, the watches.

use super::call::lost;
use super::wire::{Claim, Record, SessionRecord};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{Notify, watch};
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, LeaseId, LockOutcome, SessionId, SessionKey, SessionNews,
};
use trellis_core::{Error, Name, Namespace, Result, Scope, Time};

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A lease with a life of its own is over.
    Lease(u64),
    /// A session is over.
    Session(u64),
    /// A call may be told its grant, if its session has lasted.
    Grant(u128),
    /// A wait is over.
    Wait(u128),
    /// What the store has is to be looked at again.
    Look,
}

/// A call that waits, or is being made.
pub(super) struct Seat {
    pub acquire: Arc<AcquireLocks>,
    /// Where it stands in line, once it does.
    pub ticket: u64,
    /// When its wait is over; [`Time::NEVER`] for a try.
    pub deadline: Time,
    /// A call to the store is under way for it.
    pub asking: bool,
    /// The store does not have it, or may not: it is to be made again.
    pub astray: bool,
    /// Its place, until it is told.
    pub place: Option<u32>,
    pub last_place: u32,
    /// The number of a grant that is kept back until its session has lasted a little longer.
    pub kept_back: Option<AcquiredLocks>,
    pub outcome: Option<Result<AcquiredLocks>>,
    pub notify: Arc<Notify>,
    /// Its caller has its end: what an answer that comes later tells is not to be taken back.
    pub received: Arc<AtomicBool>,
}

impl Seat {
    pub fn session(&self) -> Option<SessionKey> {
        match self.acquire.holder {
            trellis_core::locks::Holder::Session(key) => Some(key),
            trellis_core::locks::Holder::Lease { .. } => None,
        }
    }

    pub fn end(&mut self, outcome: Result<AcquiredLocks>) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
            self.notify.notify_one();
        }
    }

    pub fn end_with(&mut self, outcome: LockOutcome) {
        let scope = Scope::Shared;
        self.end(Ok(AcquiredLocks { outcome, scope }));
    }
}

/// A lease that this daemon times.
pub(super) struct Held {
    pub record: Record,
    /// For a life of its own.
    pub deadline: Time,
    /// It is being ended: renewals are not acknowledged from memory any more.
    pub ending: bool,
}

/// A session that this daemon times.
pub(super) struct Hosted {
    pub record: SessionRecord,
    pub deadline: Time,
    pub ending: bool,
    pub leases: BTreeSet<u64>,
    pub feed: Option<Arc<Feed>>,
}

impl Hosted {
    pub fn key(&self, number: u64) -> SessionKey {
        SessionKey {
            id: SessionId::new(number, self.record.claim.0),
            attachment: self.record.attachment,
        }
    }
}

/// News for the stream of a session. Bounded by the leases that it holds, each of which is told of once.
#[derive(Default)]
pub(super) struct Feed {
    news: Mutex<VecDeque<SessionNews>>,
    filled: Notify,
}

impl Feed {
    pub fn tell(&self, news: SessionNews) {
        self.news.lock().push_back(news);
        self.filled.notify_one();
    }

    pub async fn next(&self) -> SessionNews {
        loop {
            if let Some(news) = self.news.lock().pop_front() {
                return news;
            }
            self.filled.notified().await;
        }
    }
}

/// The watches of a lock.
pub(super) struct Watched {
    pub count: u64,
    pub changes: watch::Sender<()>,
}

/// What this daemon has the care of in a namespace.
#[derive(Default)]
pub(super) struct Space {
    pub seats: HashMap<Claim, Seat>,
    pub leases: HashMap<u64, Held>,
    pub sessions: HashMap<u64, Hosted>,
    pub watches: HashMap<Name, Watched>,
    /// Sessions that are being opened.
    pub opening: BTreeSet<u128>,
    /// Leases and sessions that were renewed here since the store was told last.
    pub renewed: BTreeSet<u64>,
    /// Claims under this daemon's name in the store that it does not know, and since when.
    pub strange: HashMap<Claim, Time>,
}

impl Space {
    fn is_empty(&self) -> bool {
        self.seats.is_empty()
            && self.leases.is_empty()
            && self.sessions.is_empty()
            && self.watches.is_empty()
            && self.opening.is_empty()
            && self.strange.is_empty()
    }
}

/// What this daemon has the care of.
#[derive(Default)]
pub(super) struct State {
    pub spaces: HashMap<Namespace, Space>,
    due: BTreeSet<(Time, Namespace, Due)>,
    /// Calls that are to be made again.
    astray: Vec<(Namespace, Claim)>,
    /// The task has something to do earlier than it knows.
    is_sooner: bool,
}

impl State {
    /// The store does not have a call, or may not: it is made again, soon.
    pub fn lead_astray(&mut self, namespace: &Namespace, claim: Claim) {
        let space = self.spaces.get_mut(namespace);
        if let Some(seat) = space.and_then(|space| space.seats.get_mut(&claim))
            && !std::mem::replace(&mut seat.astray, true)
        {
            self.astray.push((namespace.clone(), claim));
            self.is_sooner = true;
        }
    }

    /// Calls that are to be made again, with the tickets that they had, in the order in which they came.
    pub fn take_astray(&mut self) -> Vec<(Namespace, Claim, i64)> {
        let mut astray = Vec::new();
        for (namespace, claim) in std::mem::take(&mut self.astray) {
            let space = self.spaces.get_mut(&namespace);
            let Some(seat) = space.and_then(|space| space.seats.get_mut(&claim)) else {
                continue;
            };
            seat.astray = false;
            if !seat.asking && seat.outcome.is_none() {
                seat.asking = true;
                let ticket = i64::try_from(seat.ticket).unwrap_or(0);
                astray.push((namespace, claim, ticket));
            }
        }
        astray.sort_by_key(|(_, _, ticket)| *ticket);
        astray
    }

    pub fn space(&mut self, namespace: &Namespace) -> &mut Space {
        self.spaces.entry(namespace.clone()).or_default()
    }

    /// Drops a namespace in which nothing is left to care for.
    pub fn tidy(&mut self, namespace: &Namespace) {
        if self.spaces.get(namespace).is_some_and(Space::is_empty) {
            self.spaces.remove(namespace);
        }
    }

    pub fn set_due(&mut self, namespace: &Namespace, at: Time, due: Due) {
        if at != Time::NEVER {
            self.is_sooner |= self.next_due().is_none_or(|first| at < first);
            self.due.insert((at, namespace.clone(), due));
        }
    }

    /// Whether the task has something to do earlier than it knew when it was asked last.
    pub fn take_sooner(&mut self) -> bool {
        std::mem::take(&mut self.is_sooner)
    }

    fn clear_due(&mut self, namespace: &Namespace, at: Time, due: Due) {
        self.due.remove(&(at, namespace.clone(), due));
    }

    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Takes what is due.
    pub fn take_due(&mut self, now: Time) -> Vec<(Namespace, Due)> {
        let mut due = Vec::new();
        while let Some((at, ..)) = self.due.first()
            && *at <= now
            && let Some((_, namespace, what)) = self.due.pop_first()
        {
            due.push((namespace, what));
        }
        due
    }

    /// Takes the care of a lease, unless this daemon has it.
    pub fn host_lease(&mut self, namespace: &Namespace, number: u64, record: Record, end: Time) {
        let space = self.space(namespace);
        if space.leases.contains_key(&number) {
            return;
        }
        let deadline = if record.session == 0 {
            end
        } else {
            Time::NEVER
        };
        if let Some(session) = space.sessions.get_mut(&record.session) {
            session.leases.insert(number);
        }
        let held = Held {
            record,
            deadline,
            ending: false,
        };
        space.leases.insert(number, held);
        self.set_due(namespace, deadline, Due::Lease(number));
    }

    /// Takes the care of a session; of the attachment before nothing is left.
    pub fn host_session(&mut self, namespace: &Namespace, number: u64, session: Hosted) {
        let deadline = session.deadline;
        self.drop_session(namespace, number);
        self.space(namespace).sessions.insert(number, session);
        self.set_due(namespace, deadline, Due::Session(number));
    }

    /// Lays down the care of a lease.
    pub fn drop_lease(&mut self, namespace: &Namespace, number: u64) -> Option<Held> {
        let space = self.spaces.get_mut(namespace)?;
        let held = space.leases.remove(&number)?;
        space.renewed.remove(&number);
        if let Some(session) = space.sessions.get_mut(&held.record.session) {
            session.leases.remove(&number);
        }
        self.clear_due(namespace, held.deadline, Due::Lease(number));
        Some(held)
    }

    /// Lays down the care of a session and its leases.
    pub fn drop_session(&mut self, namespace: &Namespace, number: u64) -> Option<Hosted> {
        let space = self.spaces.get_mut(namespace)?;
        let session = space.sessions.remove(&number)?;
        space.renewed.remove(&number);
        for lease in &session.leases {
            space.leases.remove(lease);
        }
        self.clear_due(namespace, session.deadline, Due::Session(number));
        Some(session)
    }

    /// A lease lasts until this time.
    pub fn renew_lease(&mut self, namespace: &Namespace, number: u64, end: Time) {
        let space = self.spaces.get_mut(namespace);
        let Some(held) = space.and_then(|space| space.leases.get_mut(&number)) else {
            return;
        };
        held.ending = false;
        let before = std::mem::replace(&mut held.deadline, end);
        self.clear_due(namespace, before, Due::Lease(number));
        self.set_due(namespace, end, Due::Lease(number));
    }

    /// A session lasts until this time.
    pub fn renew_session(&mut self, namespace: &Namespace, number: u64, end: Time) {
        let space = self.spaces.get_mut(namespace);
        let Some(session) = space.and_then(|space| space.sessions.get_mut(&number)) else {
            return;
        };
        session.ending = false;
        let before = std::mem::replace(&mut session.deadline, end);
        self.clear_due(namespace, before, Due::Session(number));
        self.set_due(namespace, end, Due::Session(number));
    }

    /// Takes a call out; of it nothing is left here.
    pub fn leave(&mut self, namespace: &Namespace, claim: Claim) -> Option<Seat> {
        let seat = self.spaces.get_mut(namespace)?.seats.remove(&claim)?;
        self.clear_due(namespace, seat.deadline, Due::Wait(claim.0));
        self.tidy(namespace);
        Some(seat)
    }

    /// An attachment is over: its calls are told, and its stream is unless it ended it itself.
    pub fn end_attachment(
        &mut self,
        namespace: &Namespace,
        number: u64,
        error: Error,
        told: bool,
    ) -> Option<Hosted> {
        let session = self.drop_session(namespace, number)?;
        let key = session.key(number);
        let seats = self.space(namespace).seats.values_mut();
        for seat in seats.filter(|seat| seat.session() == Some(key)) {
            seat.end(Err(error.clone()));
        }
        if let Some(feed) = session.feed.as_ref().filter(|_| told) {
            feed.tell(SessionNews::Ended(error));
        }
        self.tidy(namespace);
        Some(session)
    }
}

/// The id of a lease.
pub(super) fn lease_id(number: u64, record: &Record) -> LeaseId {
    LeaseId::new(number, record.claim.0)
}

/// Why a session is over that was not kept alive.
pub(super) fn over() -> Error {
    lost("the session was not kept alive in time")
}
