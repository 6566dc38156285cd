//! Waiting: who is served when, without polling.
//!
//! Every waiting call has a rank: its priority, then its arrival. It *claims* a bucket while it is
//! blocked there: the bucket is paused, holds too little, or is claimed by a call of lower rank. A call
//! is blocked by claims of lower rank only, so two calls can never block each other, and small calls
//! cannot starve a large one. For `hold_after` a call claims only the buckets that block it, so that
//! others pass on the rest; then it claims all of them until it is served.
//!
//! Whatever could unblock a bucket looks at the head of its line: a release, refund, reset or new spec
//! at once, a refill at the microsecond computed for the head. If the head still claims the bucket
//! after the look, everyone behind it is blocked and the look ends; so its cost is that of the calls it
//! serves.

use super::super::types::{Acquired, Outcome};
use super::acquire::{Want, answer};
use super::requests::RequestKey;
use super::store::BucketId;
use super::{Answer, Machine, Receipt, Ticket, Timer};
use crate::{Error, ErrorCode, Micros, Now, Result, Time};

/// A waiting call.
#[derive(Debug)]
pub(super) struct Waiter {
    pub wants: Vec<Want>,
    pub reservation_ttl: Option<Micros>,
    pub request: Option<RequestKey>,
    /// When it gives up.
    pub deadline: Time,
    /// When it claims all of its buckets.
    pub hold_at: Time,
    pub holding: bool,
}

/// Places in line are counted up to here.
const MAX_POSITION: usize = 1_000;

impl Machine {
    /// Why no further call may wait.
    pub(super) fn too_many_waiters(&self) -> Error {
        let message = format!("{} calls are waiting in this namespace", self.waiters.len());
        Error::new(ErrorCode::TooManyWaiters, message).retry_after(Micros::from_millis(100))
    }

    /// Puts a blocked call in line for at most `max_wait`.
    pub(super) fn enqueue(
        &mut self,
        ticket: Ticket,
        waiter: (Vec<Want>, Option<Micros>, Option<RequestKey>),
        max_wait: Micros,
        now: Now,
    ) {
        let (wants, reservation_ttl, request) = waiter;
        let deadline = now.mono + max_wait;
        let hold_at = now.mono + self.config.hold_after;
        self.timers.insert((deadline, Timer::Deadline(ticket)));
        if wants.len() > 1 {
            self.timers.insert((hold_at, Timer::Hold(ticket)));
        }
        let waiter = Waiter {
            wants,
            reservation_ttl,
            request,
            deadline,
            hold_at,
            holding: false,
        };
        for want in &waiter.wants {
            self.store.entry_mut(want.bucket).wanted += 1;
        }
        self.waiters.insert(ticket, waiter);
        self.review(ticket, now);
    }

    /// Takes a waiting call out of every line, as if it had never come. Does nothing when it has ended.
    pub fn cancel(&mut self, ticket: Ticket, now: Now) {
        self.advance(now);
        if let Some((waiter, freed)) = self.leave(ticket) {
            if let Some(request) = waiter.request {
                self.requests.forget(&request);
            }
            self.serve(freed, now);
        }
    }

    /// Gives back everything that a granted waiting call took, as if it had never come. For a grant
    /// that nobody received.
    pub fn take_back(&mut self, receipt: Receipt, now: Now) {
        self.advance(now);
        if let Some(request) = receipt.request {
            self.requests.forget(&request);
        }
        // A reservation that was extended since holds more, and until later.
        let taken = match receipt.reservation {
            Some(id) => self.revoke_reservation(id),
            None => receipt.taken,
        };
        let freed = self.give_all_back(&taken);
        self.serve(freed, now);
    }

    /// Whether a charge of `amount` by a call of rank `ticket` must wait at this bucket.
    pub(super) fn is_blocked(
        &mut self,
        bucket: BucketId,
        amount: i64,
        ticket: Ticket,
        now: Now,
    ) -> bool {
        let entry = self.store.entry_mut(bucket);
        entry.bucket.advance(now);
        now.mono < entry.paused_until
            || entry.bucket.available() < amount
            || entry.head().is_some_and(|head| head < ticket)
    }

    /// Serves the lines of these buckets, and of those that this frees in turn, until every head is
    /// blocked.
    pub(super) fn serve(&mut self, mut buckets: Vec<BucketId>, now: Now) {
        while let Some(bucket) = buckets.pop() {
            while let Some(head) = self.head(bucket) {
                buckets.extend(self.review(head, now));
                if self.head(bucket) == Some(head) {
                    break;
                }
            }
        }
    }

    fn head(&self, bucket: BucketId) -> Option<Ticket> {
        if !self.store.contains(bucket) {
            return None;
        }
        self.store.entry(bucket).head()
    }

    /// Looks at one waiter: grants it when nothing blocks it, otherwise makes it claim what it should.
    /// Returns the buckets that it stopped claiming.
    fn review(&mut self, ticket: Ticket, now: Now) -> Vec<BucketId> {
        let Some(waiter) = self.waiters.get_mut(&ticket) else {
            return Vec::new();
        };
        let holding = waiter.holding;
        let mut wants = std::mem::take(&mut waiter.wants);
        let mut open = true;
        for want in &mut wants {
            want.blocked = self.is_blocked(want.bucket, want.amount, ticket, now);
            open &= !want.blocked;
        }
        let mut freed = Vec::new();
        for want in wants.iter_mut().filter(|_| !open) {
            let claims = holding || want.blocked;
            if claims != want.claimed {
                self.set_claim(want, ticket, claims);
                if !claims {
                    freed.push(want.bucket);
                }
            }
            if want.blocked {
                self.schedule_wake(want.bucket, now);
            }
        }
        if let Some(waiter) = self.waiters.get_mut(&ticket) {
            waiter.wants = wants;
        }
        if open {
            self.grant_waiter(ticket, now)
        } else {
            freed
        }
    }

    fn set_claim(&mut self, want: &mut Want, ticket: Ticket, claims: bool) {
        want.claimed = claims;
        let entry = self.store.entry_mut(want.bucket);
        let mut line = entry.line.take().unwrap_or_default();
        if claims {
            line.claim(ticket, want.amount);
        } else {
            line.unclaim(ticket);
        }
        entry.line = (!line.claims.is_empty()).then_some(line);
        if entry.line.is_none() {
            // Nobody waits for the time any more, and the bucket may be gone by then.
            self.cancel_wake(want.bucket);
        }
    }

    /// Sets the time at which the head of the line is looked at again: when the pause is over and the
    /// bucket holds what the head wants. Slots come back by events, not by time.
    fn schedule_wake(&mut self, bucket: BucketId, now: Now) {
        let entry = self.store.entry_mut(bucket);
        let head = entry
            .line
            .as_ref()
            .and_then(|line| line.claims.values().next().copied());
        let wake = head.and_then(|amount| {
            let ready = if entry.bucket.holds_slots() {
                Time(0)
            } else {
                entry.bucket.ready_at(amount, now)
            };
            let at = ready.max(entry.paused_until);
            // A look that is due already and still to come, because the driver is late, must come.
            let due = entry.wake.filter(|wake| *wake <= now.mono);
            (at > now.mono).then_some(at).or(due)
        });
        if entry.wake != wake {
            let former = std::mem::replace(&mut entry.wake, wake);
            self.timers.extend(wake.map(|at| (at, Timer::Wake(bucket))));
            if let Some(at) = former {
                self.timers.remove(&(at, Timer::Wake(bucket)));
            }
        }
    }

    pub(super) fn wake(&mut self, bucket: BucketId, now: Now) {
        self.store.entry_mut(bucket).wake = None;
        self.serve(vec![bucket], now);
    }

    pub(super) fn hold(&mut self, ticket: Ticket, now: Now) {
        if let Some(waiter) = self.waiters.get_mut(&ticket) {
            waiter.holding = true;
            let freed = self.review(ticket, now);
            self.serve(freed, now);
        }
    }

    fn grant_waiter(&mut self, ticket: Ticket, now: Now) -> Vec<BucketId> {
        let Some((waiter, freed)) = self.leave(ticket) else {
            return Vec::new();
        };
        let (acquired, hold) = self.grant(&waiter.wants, waiter.reservation_ttl, now);
        let taken = self.receipt(&waiter.wants, hold, now);
        if let Some(request) = &waiter.request {
            self.requests
                .finish(request, acquired.clone().into(), now.mono);
        }
        let reservation = match &acquired.outcome {
            Outcome::Granted(Some(granted)) => self.parse_reservation(&granted.id),
            _ => None,
        };
        let receipt = Some(Receipt {
            taken,
            reservation,
            request: waiter.request,
        });
        self.answers.push(Answer {
            ticket,
            result: Ok(acquired),
            receipt,
        });
        freed
    }

    pub(super) fn time_out(&mut self, ticket: Ticket, now: Now) {
        let Some(waiter) = self.waiters.get(&ticket) else {
            return;
        };
        let position = self.position(&waiter.wants, ticket);
        let Some((waiter, freed)) = self.leave(ticket) else {
            return;
        };
        // A repeat comes after all who wait now, those that stood behind this call included.
        self.serve(freed, now);
        let (retry_after, charges) = self.refusal(&waiter.wants, ticket.priority, now);
        self.decided.timed_out += 1;
        let outcome = Outcome::TimedOut {
            retry_after,
            position,
        };
        let timed_out = answer(outcome, charges);
        self.tell(ticket, waiter.request.as_ref(), Ok(timed_out), now);
    }

    fn position(&self, wants: &[Want], ticket: Ticket) -> u32 {
        let lines = wants
            .iter()
            .filter_map(|want| self.store.entry(want.bucket).line.as_ref());
        let ahead = lines
            .map(|line| line.claims.range(..ticket).take(MAX_POSITION - 1).count())
            .max()
            .unwrap_or(0);
        u32::try_from(ahead + 1).unwrap_or(u32::MAX)
    }

    /// Tells a call that has left the line how it ended, without a grant.
    pub(super) fn tell(
        &mut self,
        ticket: Ticket,
        request: Option<&RequestKey>,
        result: Result<Acquired>,
        now: Now,
    ) {
        if let Some(request) = request {
            match &result {
                Ok(acquired) => self
                    .requests
                    .finish(request, acquired.clone().into(), now.mono),
                Err(_) => self.requests.forget(request),
            }
        }
        self.answers.push(Answer {
            ticket,
            result,
            receipt: None,
        });
    }

    /// Takes a waiter out of every line; returns it and the buckets that it claimed.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<(Waiter, Vec<BucketId>)> {
        let mut waiter = self.waiters.remove(&ticket)?;
        self.timers
            .remove(&(waiter.deadline, Timer::Deadline(ticket)));
        self.timers.remove(&(waiter.hold_at, Timer::Hold(ticket)));
        let mut freed = Vec::new();
        for want in &waiter.wants {
            self.store.entry_mut(want.bucket).wanted -= 1;
        }
        for want in waiter.wants.iter_mut().filter(|want| want.claimed) {
            self.set_claim(want, ticket, false);
            freed.push(want.bucket);
        }
        Some((waiter, freed))
    }

    pub(super) fn cancel_wake(&mut self, bucket: BucketId) {
        if let Some(at) = self.store.entry_mut(bucket).wake.take() {
            self.timers.remove(&(at, Timer::Wake(bucket)));
        }
    }
}
