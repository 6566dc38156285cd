//! Taking locks, waiting for them, and handing them on.

use super::super::ids::LeaseId;
use super::super::types::{AcquireLocks, AcquiredLocks, Holder, LockOutcome, LockSet, Wait};
use super::leases::{Claim, Life};
use super::requests::{First, Recall, Request, Rpc};
use super::{Answer, Machine, Step, Ticket, Timer, full};
use crate::{Error, ErrorCode, Micros, Name, Now, Result, Scope, Time};
use std::collections::HashMap;

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub claim: Claim,
    pub since: Time,
    deadline: Time,
    /// The place that was told last.
    told: u32,
}

impl Machine {
    /// Takes locks or puts the call in line. `secret` must be one that nobody can guess; it becomes part
    /// of the lease's id. See [`super::super::Locks::acquire`].
    pub fn acquire(&mut self, acquire: &AcquireLocks, secret: u128, now: Now) -> Result<Step> {
        self.advance(now);
        if let Holder::Session(key) = acquire.holder {
            self.session(key)?;
        }
        let request = acquire.request_id.as_ref().map(|id| {
            let rpc = match (&acquire.holder, acquire.wait) {
                (Holder::Session(_), _) => Rpc::Session,
                (_, Wait::Try) => Rpc::Try,
                (_, Wait::For(_)) => Rpc::Acquire,
            };
            let (life, value) = (Life::of(&acquire.holder), &acquire.value);
            Request::new(rpc, id, &(&acquire.locks, life, value, acquire.purpose))
        });
        match self.requests.recall(request.as_ref(), now.mono)? {
            Recall::New => {}
            Recall::Running(ticket) => {
                let place = self.table.place(acquire.locks.targets(), ticket);
                return Ok(Step::Waiting(ticket, place));
            }
            Recall::Answer(first) => return Ok(Step::Done(done(self.replay(&first, now)?))),
        }
        let claim = Claim {
            locks: acquire.locks.clone(),
            life: Life::of(&acquire.holder),
            value: acquire.value.clone(),
            secret,
            request,
        };
        self.admit_locks(&claim.locks)?;
        self.admit_lease()?;
        if self.has_begun(now) && self.table.admits(claim.locks.targets(), None) {
            let lease = self.grant(claim, now)?;
            return Ok(Step::Done(done(self.granted(lease, now)?)));
        }
        match acquire.wait {
            Wait::Try => Ok(Step::Done(done(self.refuse_try(&claim, now)))),
            Wait::For(max_wait) => self.wait(claim, max_wait, now),
        }
    }

    fn has_begun(&self, now: Now) -> bool {
        now.mono >= self.start.grants_from
    }

    fn admit_locks(&self, locks: &LockSet) -> Result<()> {
        let count = self.table.len();
        if count + self.table.missing(locks.targets()) <= self.config.max_locks {
            return Ok(());
        }
        let message = format!("{count} locks are in use in this namespace");
        Err(full(ErrorCode::TooManyLocks, message))
    }

    fn refuse_try(&mut self, claim: &Claim, now: Now) -> LockOutcome {
        self.decided.held += 1;
        let position = self.table.last_place(claim.locks.targets());
        let ready = self.ready_at(&claim.locks, None, now);
        let first = First::Held(ready, position);
        self.requests
            .finish(claim.request.as_ref(), first, now.mono);
        LockOutcome::Held {
            retry_after: until(ready, now),
            position,
        }
    }

    /// When the leases in the way of a call end, unless they are kept alive.
    fn ready_at(&self, locks: &LockSet, ticket: Option<Ticket>, now: Now) -> Time {
        let in_the_way = self.table.in_the_way(locks.targets(), ticket);
        let ends = in_the_way.map(|lease| self.ends(lease));
        let last = ends.max().unwrap_or_default();
        last.max(self.start.grants_from)
            .max(now.mono + Micros::TICK)
    }

    fn wait(&mut self, claim: Claim, max_wait: Micros, now: Now) -> Result<Step> {
        if self.waiters.len() >= self.config.max_waiters {
            let message = format!("{} calls wait in this namespace", self.waiters.len());
            return Err(full(ErrorCode::TooManyWaiters, message));
        }
        let place = self.table.last_place(claim.locks.targets());
        if max_wait == Micros::ZERO {
            return Ok(Step::Done(done(self.timed_out(&claim, place, None, now))));
        }
        let ticket = Ticket(self.number());
        let deadline = now.mono + max_wait;
        self.table.join(claim.locks.targets(), ticket);
        self.timers.insert((deadline, Timer::Deadline(ticket)));
        if !self.has_begun(now) {
            self.timers.insert((self.start.grants_from, Timer::Begin));
        }
        self.requests.start(claim.request.as_ref(), ticket);
        if let Life::Session(number) = claim.life
            && let Some(session) = self.sessions.get_mut(&number)
        {
            session.waiting.insert(ticket);
            self.tell_later(now);
        }
        let waiter = Waiter {
            claim,
            since: now.mono,
            deadline,
            told: place,
        };
        self.waiters.insert(ticket, waiter);
        Ok(Step::Waiting(ticket, place))
    }

    fn timed_out(
        &mut self,
        claim: &Claim,
        position: u32,
        ticket: Option<Ticket>,
        now: Now,
    ) -> LockOutcome {
        self.decided.timed_out += 1;
        let ready = self.ready_at(&claim.locks, ticket, now);
        let first = First::TimedOut(ready, position);
        self.requests
            .finish(claim.request.as_ref(), first, now.mono);
        LockOutcome::TimedOut {
            retry_after: until(ready, now),
            position,
        }
    }

    /// A wait is over.
    pub(super) fn time_out(&mut self, ticket: Ticket, now: Now) {
        let Some(waiter) = self.waiters.get(&ticket) else {
            return;
        };
        let locks = waiter.claim.locks.clone();
        let place = self.table.place(locks.targets(), ticket);
        // Told while it still stands in line: nothing behind it is in its way.
        let claim = waiter.claim.clone();
        let outcome = self.timed_out(&claim, place, Some(ticket), now);
        self.leave(ticket);
        self.answer(ticket, Ok(done(outcome)), None);
        self.serve(names(&locks), now);
    }

    /// Takes a waiting call back, as if it had never come.
    pub fn cancel(&mut self, ticket: Ticket, now: Now) {
        self.advance(now);
        if let Some(waiter) = self.leave(ticket) {
            self.requests.forget(waiter.claim.request.as_ref());
            self.serve(names(&waiter.claim.locks), now);
        }
    }

    /// Gives back what a call was granted that nobody received, as if it had never come.
    pub fn take_back(&mut self, lease: LeaseId, now: Now) {
        self.advance(now);
        if let Some(request) = self.find_lease(lease).map(|lease| lease.request.clone()) {
            self.requests.forget(request.as_ref());
            self.end_released(lease.number, now);
        }
    }

    /// Takes calls out of line that end with this error; returns the locks that they awaited.
    pub(super) fn turn_away(
        &mut self,
        tickets: impl IntoIterator<Item = Ticket>,
        error: &Error,
    ) -> Vec<Name> {
        let mut awaited = Vec::new();
        for ticket in tickets {
            if let Some(waiter) = self.leave(ticket) {
                self.requests.forget(waiter.claim.request.as_ref());
                self.answer(ticket, Err(error.clone()), None);
                awaited.extend(names(&waiter.claim.locks));
            }
        }
        awaited
    }

    fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        self.timers
            .remove(&(waiter.deadline, Timer::Deadline(ticket)));
        self.table.leave(waiter.claim.locks.targets(), ticket);
        if let Life::Session(number) = waiter.claim.life
            && let Some(session) = self.sessions.get_mut(&number)
        {
            session.waiting.remove(&ticket);
        }
        Some(waiter)
    }

    fn answer(&mut self, ticket: Ticket, result: Result<AcquiredLocks>, lease: Option<LeaseId>) {
        let answer = Answer {
            ticket,
            result,
            lease,
        };
        self.effects.answers.push(answer);
    }

    /// Lets in whoever has come to the head of these lines. Costs what it grants, and one look more.
    pub(super) fn serve(&mut self, names: impl IntoIterator<Item = Name>, now: Now) {
        if !self.has_begun(now) {
            return;
        }
        for name in names {
            let mut after = None;
            while !self.table.is_shut(&name)
                && let Some((ticket, mode)) = self.table.next_in_line(&name, after)
            {
                if !self.let_in(ticket, now) && !mode.goes_with(mode) {
                    // Whoever comes behind a call that wants it alone waits for that call.
                    break;
                }
                after = Some(ticket);
            }
        }
    }

    /// Grants begin.
    pub(super) fn serve_all(&mut self, now: Now) {
        let names: Vec<Name> = self.table.names().cloned().collect();
        self.serve(names, now);
    }

    /// Grants a waiting call if nothing is in its way; tells whether it is out of line.
    fn let_in(&mut self, ticket: Ticket, now: Now) -> bool {
        let Some(waiter) = self.waiters.get(&ticket) else {
            return true;
        };
        if let Life::Session(number) = waiter.claim.life
            && self
                .sessions
                .get(&number)
                .is_none_or(|it| it.deadline <= now.mono)
        {
            // Its session is about to end, and the call with it.
            return false;
        }
        if !self
            .table
            .admits(waiter.claim.locks.targets(), Some(ticket))
        {
            return false;
        }
        let Some(waiter) = self.leave(ticket) else {
            return true;
        };
        let request = waiter.claim.request.clone();
        let granted = self.grant(waiter.claim, now);
        let outcome =
            granted.and_then(|lease| Ok((self.granted(lease, now)?, self.lease_id(lease))));
        match outcome {
            Ok((outcome, lease)) => self.answer(ticket, Ok(done(outcome)), lease),
            Err(error) => {
                self.requests.forget(request.as_ref());
                self.answer(ticket, Err(error), None);
            }
        }
        true
    }

    /// The first answer to a request, as it stands now.
    pub(super) fn replay(&self, first: &First, now: Now) -> Result<LockOutcome> {
        Ok(match *first {
            First::Granted(lease) if self.leases.contains_key(&lease) => {
                self.granted(lease, now)?
            }
            First::Granted(_) => LockOutcome::Lost,
            First::Held(ready, position) => LockOutcome::Held {
                retry_after: until(ready, now),
                position,
            },
            First::TimedOut(ready, position) => LockOutcome::TimedOut {
                retry_after: until(ready, now),
                position,
            },
            First::Forced(_) => {
                let message = "a request id recalled the answer of another method";
                return Err(Error::new(ErrorCode::Internal, message));
            }
        })
    }

    fn tell_later(&mut self, now: Now) {
        if !self.telling {
            self.telling = true;
            let at = now.mono + self.config.position_every;
            self.timers.insert((at, Timer::Positions));
        }
    }

    /// Tells the waiting calls of sessions their places, if they have changed.
    pub(super) fn tell_positions(&mut self, now: Now) {
        self.telling = false;
        let mut places: HashMap<Ticket, u32> = HashMap::new();
        for (_, entry) in self.table.after(None) {
            for (place, ticket) in (1..).zip(entry.line.keys()) {
                let told = places.entry(*ticket).or_default();
                *told = place.max(*told);
            }
        }
        let mut waits = false;
        for (ticket, waiter) in &mut self.waiters {
            let place = places.get(ticket).copied().unwrap_or_default();
            if !matches!(waiter.claim.life, Life::Session(_)) {
                continue;
            }
            waits = true;
            if waiter.told != place {
                waiter.told = place;
                self.effects.positions.push((*ticket, place));
            }
        }
        if waits {
            self.tell_later(now);
        }
    }
}

fn names(locks: &LockSet) -> Vec<Name> {
    let targets = locks.targets().iter();
    targets.map(|target| target.name.clone()).collect()
}

fn until(ready: Time, now: Now) -> Micros {
    (ready - now.mono).max(Micros::TICK)
}

/// The machine's own answers are this process's alone; a backend that shares them says so.
fn done(outcome: LockOutcome) -> AcquiredLocks {
    AcquiredLocks {
        outcome,
        scope: Scope::Local,
    }
}
