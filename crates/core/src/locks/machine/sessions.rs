//! Sessions: leases that live and end together, on a stream that may break and come back.

use super::super::ids::{SessionId, SessionKey};
use super::super::types::{HeldLease, LostReason, OnBreak, OpenSession, SessionNews, SessionState};
use super::ended::{Ending, lost};
use super::leases::count;
use super::{Machine, Ticket, Timer};
use crate::{Error, ErrorCode, Micros, Now, Result, Scope, Time};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub owner: Arc<str>,
    pub deadline: Time,
    /// The leases that it holds.
    pub leases: BTreeSet<u64>,
    /// Its acquires that wait.
    pub waiting: BTreeSet<Ticket>,
    secret: u128,
    ttl: Micros,
    on_break: OnBreak,
    /// The number of the newest attachment.
    attachment: u64,
    /// Whether its stream is not known to be broken.
    attached: bool,
}

impl Session {
    fn key(&self, number: u64) -> SessionKey {
        let secret = self.secret;
        SessionKey {
            id: SessionId { number, secret },
            attachment: self.attachment,
        }
    }
}

impl Machine {
    /// Opens a session, attached to the caller; `secret` as in [`Machine::acquire`].
    /// See [`super::super::Locks::open_session`].
    pub fn open_session(
        &mut self,
        open: &OpenSession,
        secret: u128,
        now: Now,
    ) -> Result<SessionState> {
        self.advance(now);
        self.admit_lease()?;
        let number = self.number();
        let deadline = now.mono + open.ttl;
        self.timers.insert((deadline, Timer::Session(number)));
        let session = Session {
            owner: open.owner.clone(),
            deadline,
            leases: BTreeSet::new(),
            waiting: BTreeSet::new(),
            secret,
            ttl: open.ttl,
            on_break: open.on_break,
            attachment: 1,
            attached: true,
        };
        self.sessions.insert(number, session);
        self.session_state(SessionId { number, secret }, now)
    }

    /// Attaches to a session. See [`super::super::Locks::attach_session`].
    pub fn attach_session(&mut self, id: SessionId, now: Now) -> Result<SessionState> {
        self.advance(now);
        let Some(session) = self
            .sessions
            .get_mut(&id.number)
            .filter(|it| it.secret == id.secret)
        else {
            return Err(self.gone(id));
        };
        let waiting = std::mem::take(&mut session.waiting);
        let superseded = lost("another stream has attached to the session");
        let awaited = self.turn_away(waiting, &superseded);
        self.tell(id.number, SessionNews::Ended(superseded));
        if let Some(session) = self.sessions.get_mut(&id.number) {
            session.attachment += 1;
            session.attached = true;
        }
        self.renew(id.number, now);
        self.serve(awaited, now);
        self.session_state(id, now)
    }

    /// Makes a session last. See [`super::super::Locks::keep_session`].
    pub fn keep_session(&mut self, key: SessionKey, now: Now) -> Result<Micros> {
        self.advance(now);
        self.session(key)?;
        Ok(self.renew(key.id.number, now))
    }

    /// Ends a session and tells how many leases ended with it. See [`super::super::Locks::close_session`].
    pub fn close_session(&mut self, key: SessionKey, now: Now) -> Result<usize> {
        self.advance(now);
        self.session(key)?;
        Ok(self.close(key.id.number, now))
    }

    /// A stream broke. See [`super::super::Locks::break_session`].
    pub fn break_session(&mut self, key: SessionKey, now: Now) {
        self.advance(now);
        let Ok(session) = self.session(key) else {
            return;
        };
        session.attached = false;
        if session.on_break == OnBreak::Release {
            self.close(key.id.number, now);
            return;
        }
        let waiting = std::mem::take(&mut session.waiting);
        let broken = Error::new(ErrorCode::Cancelled, "the session's stream broke");
        let awaited = self.turn_away(waiting, &broken);
        self.serve(awaited, now);
    }

    /// The session of a key that is not void.
    pub(super) fn session(&mut self, key: SessionKey) -> Result<&mut Session> {
        let found = self.sessions.get(&key.id.number);
        match found.filter(|session| session.secret == key.id.secret) {
            None => return Err(self.gone(key.id)),
            Some(session) if session.attachment != key.attachment => {
                return Err(lost("another stream has attached to the session"));
            }
            Some(session) if !session.attached => return Err(lost("the session's stream broke")),
            Some(_) => {}
        }
        let session = self.sessions.get_mut(&key.id.number);
        session.ok_or_else(SessionId::unknown)
    }

    /// Why there is no such session.
    fn gone(&self, id: SessionId) -> Error {
        let known = self
            .ended
            .was_released((id.number, id.secret), SessionId::unknown);
        known
            .err()
            .unwrap_or_else(|| lost("the session was closed"))
    }

    fn renew(&mut self, number: u64, now: Now) -> Micros {
        let Some(session) = self.sessions.get_mut(&number) else {
            return Micros::ZERO;
        };
        self.timers
            .remove(&(session.deadline, Timer::Session(number)));
        session.deadline = now.mono + session.ttl;
        self.timers
            .insert((session.deadline, Timer::Session(number)));
        session.ttl
    }

    fn close(&mut self, number: u64, now: Now) -> usize {
        let Some(mut session) = self.sessions.remove(&number) else {
            return 0;
        };
        self.timers
            .remove(&(session.deadline, Timer::Session(number)));
        let closed = Error::new(ErrorCode::Cancelled, "the session was closed");
        // Its own calls first, so that none of them is let in.
        let mut names = self.turn_away(std::mem::take(&mut session.waiting), &closed);
        for lease in &session.leases {
            names.extend(self.end(*lease, Ending::Released, now));
        }
        self.ended
            .note(number, session.secret, Ending::Released, now.mono);
        self.serve(names, now);
        session.leases.len()
    }

    /// A session was not kept alive.
    pub(super) fn expire_session(&mut self, number: u64, now: Now) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let waiting = std::mem::take(&mut session.waiting);
        let leases: Vec<u64> = session.leases.iter().copied().collect();
        let over = lost("the session was not kept alive in time");
        // Its own calls first, so that none of them is let in.
        let mut names = self.turn_away(waiting, &over);
        self.decided.expired += count(leases.len());
        names.extend(self.end_lost(&leases, &LostReason::Expired, now));
        let why = over.message.as_str().into();
        self.tell(number, SessionNews::Ended(over));
        if let Some(session) = self.sessions.remove(&number) {
            self.ended
                .note(number, session.secret, Ending::Lost(why), now.mono);
        }
        self.serve(names, now);
    }

    /// Tells the stream that a session is attached to.
    pub(super) fn tell(&mut self, number: u64, news: SessionNews) {
        let session = self.sessions.get(&number);
        if let Some(session) = session.filter(|session| session.attached) {
            let key = session.key(number);
            self.effects.news.push((key, news));
        }
    }

    fn session_state(&self, id: SessionId, now: Now) -> Result<SessionState> {
        let session = self
            .sessions
            .get(&id.number)
            .ok_or_else(SessionId::unknown)?;
        let held = session.leases.iter().filter_map(|number| {
            let request = self.leases.get(number)?.request.as_ref();
            Some(HeldLease {
                grant: self.grant_of(*number, now)?,
                request_id: request.map(|request| request.id().clone()),
            })
        });
        Ok(SessionState {
            key: session.key(id.number),
            ttl: session.ttl,
            remaining: session.deadline - now.mono,
            held: held.collect(),
            generation: self.start.generation,
            scope: Scope::Local,
        })
    }
}
