//! Waiting: who is served when, without polling.
//!
//! A waiting call *lacks* a bucket that is paused, that holds too little, or in whose line a call stands
//! before it: it claims a place in that line. A bucket that it does not lack may be *held* by a call of
//! lower ticket (class, then arrival), which keeps it off. Once a call has waited `hold_after` it holds
//! every bucket that it neither lacks nor is kept off; until then others pass on those.
//!
//! The order of a line is fair (see `queue`) and differs from bucket to bucket, so it must not matter to
//! calls that could all be served: two could wait for each other. It does not: whoever is first in a
//! line lacks units, which time or a release brings, or else leaves the line when it is looked at. What
//! is left are holds, and these rank by ticket everywhere, so that the first to come is served.
//!
//! A hold does not keep off a call that goes before the holder in a line that the holder stands in.
//! Otherwise those who came first would hold what nobody lacks, and undo the fair order of what all do.
//!
//! Whatever could unblock a bucket looks at the head of its line: a release, refund, reset or new spec
//! at once, a refill at the microsecond computed for the head. If it still stands there after the look,
//! everyone behind it is blocked and the look ends; so its cost is that of the calls it serves.

use super::super::fair::FairShare;
use super::super::types::{AcquireRequest, Acquired, Outcome};
use super::acquire::{Want, answer};
use super::queue::Caller;
use super::requests::RequestKey;
use super::standing::{Obstacle, Stand, Standing};
use super::store::BucketId;
use super::{Answer, Machine, Receipt, Ticket, Timer};
use crate::{Error, ErrorCode, Micros, Now, Result, Time};
use smallvec::SmallVec;

/// A waiting call.
#[derive(Debug)]
pub(super) struct Waiter {
    pub wants: Vec<Want>,
    /// Where it stands at each bucket that it wants.
    pub stands: Vec<Stand>,
    pub fair: FairShare,
    pub reservation_ttl: Option<Micros>,
    pub request: Option<RequestKey>,
    /// When it gives up.
    pub deadline: Time,
    /// When it holds all of its buckets.
    pub hold_at: Time,
    pub holding: bool,
}

/// Looks after which serving is put off. A waiter is looked at a few times before it is served; so many
/// would be a defect.
const LOOKS_PER_WAITER: usize = 256;

impl Machine {
    /// Why no further call may wait.
    pub(super) fn too_many_waiters(&self) -> Error {
        let message = format!("{} calls are waiting in this namespace", self.waiters.len());
        Error::new(ErrorCode::TooManyWaiters, message).retry_after(Micros::from_millis(100))
    }

    /// Grants a call that would wait, if nothing is in its way. Where others of its class wait it takes
    /// a turn as they do, and may take it before them.
    pub(super) fn go_at_once(
        &mut self,
        request: &AcquireRequest,
        wants: &[Want],
        ticket: Ticket,
        now: Now,
    ) -> Option<Acquired> {
        let fair = &request.fair;
        let caller = Caller { ticket, fair };
        let mut obstacles = self.store.obstacles(wants, caller, &[], now).into_iter();
        if obstacles.any(Obstacle::is_there) {
            return None;
        }
        // That lets nobody go: no call of its account stands in these lines, or it would not have passed.
        self.store.count_turns(wants, caller, &[]);
        let (acquired, _) = self.grant(wants, request.reservation_ttl, now);
        Some(acquired)
    }

    /// Puts a blocked call in line for at most `max_wait`.
    pub(super) fn enqueue(
        &mut self,
        ticket: Ticket,
        wants: Vec<Want>,
        (fair, reservation_ttl, request): (FairShare, Option<Micros>, Option<RequestKey>),
        max_wait: Micros,
        now: Now,
    ) {
        let deadline = now.mono + max_wait;
        let hold_at = now.mono + self.config.hold_after;
        self.timers.insert((deadline, Timer::Deadline(ticket)));
        if wants.len() > 1 {
            self.timers.insert((hold_at, Timer::Hold(ticket)));
        }
        let enter = |want: &Want| {
            let queue = &mut self.store.entry_mut(want.bucket).queue;
            let queue = queue.get_or_insert_default();
            Stand {
                since: queue.enter(ticket.priority, &fair),
                place: Standing::Aside,
            }
        };
        let waiter = Waiter {
            stands: wants.iter().map(enter).collect(),
            wants,
            fair,
            reservation_ttl,
            request,
            deadline,
            hold_at,
            holding: false,
        };
        self.waiters.insert(ticket, waiter);
        let freed = self.review(ticket, now);
        self.serve(freed, now);
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

    /// Gives back what a granted waiting call took, so that no more is admitted than if it had never
    /// come: of a rate, less what was refilled since. For a grant that nobody received.
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
        let freed = self.take_all_back(&taken, now);
        self.serve(freed, now);
    }

    /// Serves the lines of these buckets, and of those that this frees in turn, until every head is
    /// blocked.
    pub(super) fn serve(&mut self, mut buckets: Vec<BucketId>, now: Now) {
        let mut looks = LOOKS_PER_WAITER * (1 + self.waiters.len());
        while let Some(bucket) = buckets.pop() {
            let mut turn = 0;
            while let Some(next) = self.next(bucket, turn) {
                looks -= 1;
                if looks == 0 {
                    debug_assert!(false, "the looks at {bucket} do not end");
                    buckets.push(bucket);
                    return self.look_later(&buckets, now);
                }
                let freed = self.review(next, now);
                turn = if self.next(bucket, turn) == Some(next) {
                    turn + 1
                } else {
                    0
                };
                buckets.extend(freed.into_iter().filter(|freed| *freed != bucket));
            }
        }
    }

    /// Goes on a little later, so that a defect in the rules could slow this namespace down but never
    /// hang it.
    fn look_later(&mut self, buckets: &[BucketId], now: Now) {
        let at = now.mono + Micros::from_millis(1);
        for &bucket in buckets {
            if self.next(bucket, 0).is_some() {
                self.cancel_wake(bucket);
                self.store.entry_mut(bucket).wake = Some(at);
                self.timers.insert((at, Timer::Wake(bucket)));
            }
        }
    }

    fn next(&self, bucket: BucketId, turn: usize) -> Option<Ticket> {
        if !self.store.contains(bucket) {
            return None;
        }
        self.store.entry(bucket).queue.as_ref()?.next(turn)
    }

    /// Looks at one waiter: grants it when nothing is in its way, otherwise makes it claim what it
    /// should. Returns the buckets at which that may let others go.
    fn review(&mut self, ticket: Ticket, now: Now) -> Vec<BucketId> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let Self { waiters, store, .. } = self;
        let Some(waiter) = waiters.get_mut(&ticket) else {
            return Vec::new();
        };
        let Waiter { wants, stands, .. } = waiter;
        let fair = &waiter.fair;
        let caller = Caller { ticket, fair };
        let obstacles = store.obstacles(wants, caller, stands, now);
        if !obstacles.iter().any(|it| it.is_there()) {
            return self.grant_waiter(ticket, now);
        }
        let mut pairs = wants.iter().zip(&obstacles);
        let root = pairs.find(|(_, obstacle)| obstacle.lacks);
        let root = root.map(|(want, _)| want.bucket);
        let mut freed = Vec::new();
        let mut touched = SmallVec::<[BucketId; 4]>::new();
        for ((want, stand), obstacle) in wants.iter().zip(stands).zip(&obstacles) {
            let place = match obstacle {
                Obstacle { lacks: true, .. } => Standing::Line,
                Obstacle { held_off: true, .. } => Standing::KeptOff,
                _ if waiter.holding => Standing::Hold(root),
                _ => Standing::Aside,
            };
            if place != Standing::Line && place == stand.place {
                continue;
            }
            touched.push(want.bucket);
            if stand.place != Standing::Aside && stand.place != place {
                freed.push(want.bucket);
            }
            if let Some(queue) = &mut store.entry_mut(want.bucket).queue {
                stand.go(place, queue, caller, want.amount);
            }
        }
        for bucket in touched {
            self.schedule_wake(bucket, now);
        }
        freed
    }

    /// Sets the time at which the next in line is looked at again: when the pause is over and the
    /// bucket holds what it wants. Slots come back by events, not by time.
    fn schedule_wake(&mut self, bucket: BucketId, now: Now) {
        let entry = self.store.entry_mut(bucket);
        entry.bucket.advance(now);
        let queue = entry.queue.as_ref();
        let next = queue.and_then(|queue| queue.line.head_amount());
        let wake = next.and_then(|amount| {
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
        let Self { waiters, store, .. } = self;
        let Some(waiter) = waiters.get(&ticket) else {
            return Vec::new();
        };
        let fair = &waiter.fair;
        let caller = Caller { ticket, fair };
        let mut freed = store.count_turns(&waiter.wants, caller, &waiter.stands);
        let Some((waiter, left)) = self.leave(ticket) else {
            return freed;
        };
        freed.extend(left);
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
        let position = self.position(waiter, ticket);
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

    /// What a caller is told that has joined a waiting call and whose own time is over; the call goes on. `None`
    /// when it has ended.
    pub fn overdue(&mut self, ticket: Ticket, now: Now) -> Option<Acquired> {
        self.advance(now);
        let waiter = self.waiters.get(&ticket)?;
        let position = self.position(waiter, ticket);
        let wants = waiter.wants.clone();
        let (_, charges) = self.refusal(&wants, ticket.priority, now);
        // A repeat joins it again: it stands behind those before it, not behind itself.
        let ready = wants.iter().map(|want| self.ready_at(want, now)).max();
        let outcome = Outcome::TimedOut {
            retry_after: ready.map_or(Micros::TICK, |at| (at - now.mono).max(Micros::TICK)),
            position,
        };
        Some(answer(outcome, charges))
    }

    /// The place of a waiting call in the line where most go before it.
    fn position(&self, waiter: &Waiter, ticket: Ticket) -> u32 {
        let fair = &waiter.fair;
        let caller = Caller { ticket, fair };
        let pairs = waiter.wants.iter().zip(&waiter.stands);
        let ahead = pairs.filter_map(|(want, stand)| {
            let entry = self.store.entry(want.bucket);
            let queue = entry.queue.as_ref()?;
            Some(queue.ahead(caller, stand.since, entry.bucket.capacity()))
        });
        u32::try_from(ahead.max().unwrap_or(0) + 1).unwrap_or(u32::MAX)
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
        let fair = &waiter.fair;
        for (want, stand) in waiter.wants.iter().zip(&mut waiter.stands) {
            let entry = self.store.entry_mut(want.bucket);
            let Some(queue) = &mut entry.queue else {
                continue;
            };
            if stand.place != Standing::Aside {
                stand.go(Standing::Aside, queue, Caller { ticket, fair }, want.amount);
                freed.push(want.bucket);
            }
            queue.leave(ticket.priority, fair.account());
            // Nobody waits for the time any more, and the bucket may be gone by then.
            let alone = queue.line.head().is_none();
            if queue.wanted == 0 {
                entry.queue = None;
            }
            if alone {
                self.cancel_wake(want.bucket);
            }
        }
        Some((waiter, freed))
    }

    pub(super) fn cancel_wake(&mut self, bucket: BucketId) {
        if let Some(at) = self.store.entry_mut(bucket).wake.take() {
            self.timers.remove(&(at, Timer::Wake(bucket)));
        }
    }
}
