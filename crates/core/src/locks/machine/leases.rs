//! Leases: how they are made, kept alive and ended.

use super::super::ids::{LeaseId, SessionKey, Token};
use super::super::types::{
    ForceRelease, GrantedLock, Holder, LockGrant, LockOutcome, LockSet, LostReason, SessionNews,
};
use super::ended::{Ending, lost};
use super::requests::{First, Recall, Request, Rpc};
use super::{Machine, Timer};
use crate::{Error, ErrorCode, Micros, Name, Now, Result, Time};
use std::sync::Arc;

/// What a lease ends with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    /// Its own deadline.
    Own { ttl: Micros, owner: Arc<str> },
    /// That of a session.
    Session(u64),
}

impl Life {
    pub fn of(holder: &Holder) -> Self {
        match holder {
            Holder::Lease { ttl, owner } => Self::Own {
                ttl: *ttl,
                owner: owner.clone(),
            },
            Holder::Session(SessionKey { id, .. }) => Self::Session(id.number),
        }
    }
}

/// What a lease is made of.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub locks: LockSet,
    pub life: Life,
    pub value: Arc<[u8]>,
    pub secret: u128,
    pub request: Option<Request>,
}

/// Locks that are held.
#[derive(Debug)]
pub(super) struct Lease {
    pub locks: Arc<[GrantedLock]>,
    pub life: Life,
    pub value: Arc<[u8]>,
    pub since: Time,
    pub request: Option<Request>,
    secret: u128,
    /// For a life of its own.
    deadline: Time,
}

impl Machine {
    /// Makes a lease over locks that admit it.
    pub(super) fn grant(&mut self, claim: Claim, now: Now) -> Result<u64> {
        let targets = claim.locks.targets();
        let mut minted = Token::NONE;
        if self.table.any_free(targets) {
            minted = self.last_token.next(now.wall.0)?;
            self.last_token = minted;
        }
        let number = self.number();
        let held = targets.iter().map(|target| GrantedLock {
            token: self.table.hold(target, number, minted),
            name: target.name.clone(),
            mode: target.mode,
        });
        let locks: Arc<[GrantedLock]> = held.collect();
        for lock in &*locks {
            self.changed(&lock.name);
        }
        let mut deadline = Time::NEVER;
        match &claim.life {
            Life::Own { ttl, .. } => {
                deadline = now.mono + *ttl;
                self.timers.insert((deadline, Timer::Lease(number)));
            }
            Life::Session(session) => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.leases.insert(number);
                }
            }
        }
        self.decided.granted += 1;
        let first = First::Granted(number);
        self.requests
            .finish(claim.request.as_ref(), first, now.mono);
        let lease = Lease {
            locks,
            life: claim.life,
            value: claim.value,
            since: now.mono,
            request: claim.request,
            secret: claim.secret,
            deadline,
        };
        self.leases.insert(number, lease);
        Ok(number)
    }

    /// A lease as its holder is told of it.
    pub(super) fn grant_of(&self, number: u64, now: Now) -> Option<LockGrant> {
        let lease = self.leases.get(&number)?;
        Some(LockGrant {
            lease: self.lease_id(number)?,
            locks: lease.locks.clone(),
            remaining: self.ends(number) - now.mono,
            generation: self.start.generation,
        })
    }

    pub(super) fn granted(&self, number: u64, now: Now) -> Result<LockOutcome> {
        let missing = || Error::new(ErrorCode::Internal, "a lease was lost as it was made");
        let grant = self.grant_of(number, now).ok_or_else(missing)?;
        Ok(LockOutcome::Granted(grant))
    }

    pub(super) fn lease_id(&self, number: u64) -> Option<LeaseId> {
        let secret = self.leases.get(&number)?.secret;
        Some(LeaseId { number, secret })
    }

    pub(super) fn find_lease(&self, id: LeaseId) -> Option<&Lease> {
        let lease = self.leases.get(&id.number);
        lease.filter(|lease| lease.secret == id.secret)
    }

    /// When a lease ends unless it is kept alive.
    pub(super) fn ends(&self, number: u64) -> Time {
        let Some(lease) = self.leases.get(&number) else {
            return Time::default();
        };
        match lease.life {
            Life::Own { .. } => lease.deadline,
            Life::Session(session) => {
                let session = self.sessions.get(&session);
                session.map_or(Time::default(), |session| session.deadline)
            }
        }
    }

    /// Who a lease or waiting call is of.
    pub(super) fn owner(&self, life: &Life) -> Arc<str> {
        match life {
            Life::Own { owner, .. } => owner.clone(),
            Life::Session(session) => {
                let session = self.sessions.get(session);
                session.map_or_else(|| "".into(), |session| session.owner.clone())
            }
        }
    }

    /// Ends a lease. See [`super::super::Locks::release`].
    pub fn release(&mut self, id: LeaseId, now: Now) -> Result<()> {
        self.advance(now);
        if self.find_lease(id).is_none() {
            return self
                .ended
                .was_released((id.number, id.secret), LeaseId::unknown);
        }
        self.end_released(id.number, now);
        Ok(())
    }

    /// Makes a lease last. See [`super::super::Locks::keep_alive`].
    pub fn keep_alive(&mut self, id: LeaseId, now: Now) -> Result<Micros> {
        self.advance(now);
        let lease = self.leases.get_mut(&id.number);
        let Some(lease) = lease.filter(|lease| lease.secret == id.secret) else {
            let known = self
                .ended
                .was_released((id.number, id.secret), LeaseId::unknown);
            return Err(known.err().unwrap_or_else(|| lost("it was released")));
        };
        let Life::Own { ttl, .. } = lease.life else {
            let allowed = "is of a session, which keeps it alive";
            return Err(Error::invalid("lease_id", allowed));
        };
        self.timers
            .remove(&(lease.deadline, Timer::Lease(id.number)));
        lease.deadline = now.mono + ttl;
        self.timers
            .insert((lease.deadline, Timer::Lease(id.number)));
        Ok(ttl)
    }

    /// Takes a lock from its holders. See [`super::super::Locks::force_release`].
    pub fn force_release(&mut self, force: &ForceRelease, now: Now) -> Result<usize> {
        self.advance(now);
        let request = force.request_id.as_ref();
        let request = request.map(|id| Request::new(Rpc::Force, id, force));
        match self.requests.recall(request.as_ref(), now.mono)? {
            Recall::Answer(First::Forced(count)) => return Ok(count),
            Recall::New => {}
            other => {
                let message = format!("a request id recalled {other:?}");
                return Err(Error::new(ErrorCode::Internal, message));
            }
        }
        let entry = self
            .table
            .get(&force.name)
            .filter(|it| !it.holders.is_empty());
        let Some(entry) = entry.filter(|entry| entry.token == force.expected) else {
            let held = entry.map_or_else(
                || "is free".to_owned(),
                |entry| format!("is held under token {}", entry.token.get()),
            );
            let message = format!("{:?} {held}: nothing was done", force.name.as_str());
            return Err(Error::new(ErrorCode::TokenMismatch, message));
        };
        let leases = entry.holders.clone();
        let reason = LostReason::Forced {
            reason: force.reason.clone(),
            actor: force.actor.clone(),
        };
        self.decided.forced += count(leases.len());
        let names = self.end_lost(&leases, &reason, now);
        self.requests
            .finish(request.as_ref(), First::Forced(leases.len()), now.mono);
        self.serve(names, now);
        Ok(leases.len())
    }

    /// A lease of its own was not kept alive.
    pub(super) fn expire_lease(&mut self, number: u64, now: Now) {
        self.decided.expired += 1;
        let names = self.end_lost(&[number], &LostReason::Expired, now);
        self.serve(names, now);
    }

    /// Ends a lease by its holder's will, and hands its locks on.
    pub(super) fn end_released(&mut self, number: u64, now: Now) {
        let names = self.end(number, Ending::Released, now);
        self.serve(names, now);
    }

    /// Ends leases against their holders' will, and tells their sessions. Returns the locks that they held.
    pub(super) fn end_lost(&mut self, numbers: &[u64], reason: &LostReason, now: Now) -> Vec<Name> {
        let why: Arc<str> = reason.message().into();
        let mut names = Vec::new();
        for number in numbers {
            let session = self.leases.get(number).map(|lease| lease.life.clone());
            if let Some(Life::Session(session)) = session
                && let Some(lease) = self.lease_id(*number)
            {
                let reason = reason.clone();
                self.tell(session, SessionNews::Lost { lease, reason });
            }
            names.extend(self.end(*number, Ending::Lost(why.clone()), now));
        }
        names
    }

    /// Ends a lease. Returns the locks that it held, which nobody has been let into yet.
    pub(super) fn end(&mut self, number: u64, ending: Ending, now: Now) -> Vec<Name> {
        let Some(lease) = self.leases.remove(&number) else {
            return Vec::new();
        };
        self.timers.remove(&(lease.deadline, Timer::Lease(number)));
        if let Life::Session(session) = lease.life
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.leases.remove(&number);
        }
        self.ended.note(number, lease.secret, ending, now.mono);
        let mut names = Vec::with_capacity(lease.locks.len());
        for lock in &*lease.locks {
            self.table.free(&lock.name, number);
            self.changed(&lock.name);
            names.push(lock.name.clone());
        }
        names
    }
}

/// A count of things in memory.
pub(super) fn count(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX)
}
