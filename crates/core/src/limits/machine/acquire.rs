//! Charging: find the buckets, check them all, then take all or nothing.

use super::super::bucket::Hold;
use super::super::spec::LimitSpec;
use super::super::types::{
    AcquireRequest, Acquired, Charge, ChargeState, Granted, Mode, Outcome, Priority, SpecSource,
    check_charges,
};
use super::requests::{Recall, RequestKey, Rpc, digest};
use super::reservations::Taken;
use super::store::{BucketId, Place};
use super::{Machine, Step, Timer};
use crate::{Error, ErrorCode, Micros, Now, Result, Scope, Time};
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// Where the charges of a call go. Most calls have few, and need no memory for it.
type Places = SmallVec<[Place; 4]>;

/// One charge of a call, its bucket found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub bucket: BucketId,
    pub amount: i64,
    pub replaced: bool,
}

impl Machine {
    /// Decides an acquire, or puts it in line. See [`super::super::Limits::acquire`].
    pub fn acquire(&mut self, request: &AcquireRequest, now: Now) -> Result<Step> {
        self.advance(now);
        check_charges(&request.charges)?;
        let remember = match &request.request_id {
            Some(id) if !request.dry_run => {
                let (key, body) = (RequestKey::new(Rpc::Acquire, id), body(request));
                match self.requests.recall(&key, body, now.mono)? {
                    Recall::Answer(answer) => {
                        return Ok(Step::Done(self.replay(answer.acquired()?, now)));
                    }
                    Recall::Running(ticket) => return Ok(Step::Waiting(ticket)),
                    Recall::New => Some((key, body)),
                }
            }
            _ => None,
        };
        let places = self.locate_all(&request.charges)?;
        let key = remember.as_ref().map(|(key, _)| key.clone());
        let step = self.decide(request, &places, key, now)?;
        if let Some((key, body)) = remember {
            match &step {
                Step::Done(acquired) => {
                    self.requests.start(key.clone(), body, None);
                    self.requests
                        .finish(&key, acquired.clone().into(), now.mono);
                }
                Step::Waiting(ticket) => {
                    self.requests.start(key, body, Some(*ticket));
                }
            }
        }
        Ok(step)
    }

    fn decide(
        &mut self,
        request: &AcquireRequest,
        places: &[Place],
        remember: Option<RequestKey>,
        now: Now,
    ) -> Result<Step> {
        let charges = &request.charges;
        if self.is_never(charges, places) {
            self.decided.never += u64::from(!request.dry_run);
            return Ok(Step::Done(self.never(
                charges,
                places,
                request.priority,
                now,
            )));
        }
        if request.dry_run {
            let (wait, charges) = self.preview(charges, places, request.priority, now);
            let outcome = wait.map_or(Outcome::Granted(None), Outcome::Denied);
            return Ok(Step::Done(answer(outcome, charges)));
        }
        self.check_bounds(request, places, now)?;
        let wants = self.place_all(charges, places, now)?;
        if self.is_hopeless(&wants) {
            self.decided.never += 1;
            let (_, charges) = self.refusal(&wants, request.priority, now);
            return Ok(Step::Done(answer(Outcome::Never, charges)));
        }
        match request.mode {
            Mode::Try if self.all_open(&wants, request.priority, now) => {
                let (acquired, _) = self.grant(&wants, request.reservation_ttl, now);
                Ok(Step::Done(acquired))
            }
            Mode::Try => {
                let (wait, charges) = self.refusal(&wants, request.priority, now);
                self.decided.denied += 1;
                Ok(Step::Done(answer(Outcome::Denied(wait), charges)))
            }
            Mode::Wait(max_wait) => {
                let ticket = self.next_ticket(request.priority);
                if let Some(acquired) = self.go_at_once(request, &wants, ticket, now) {
                    return Ok(Step::Done(acquired));
                }
                let share = (request.fair.clone(), request.reservation_ttl, remember);
                self.enqueue(ticket, wants, share, max_wait, now);
                Ok(Step::Waiting(ticket))
            }
        }
    }

    /// Refuses what would pass a bound, before anything is changed.
    fn check_bounds(&mut self, request: &AcquireRequest, places: &[Place], now: Now) -> Result<()> {
        let charges = &request.charges;
        if request.reservation_ttl.is_some() || self.needs_slots(charges, places) {
            self.check_reservations()?;
        }
        let full = self.waiters.len() >= self.config.max_waiters;
        if !full || request.mode == Mode::Try {
            return Ok(());
        }
        let (wait, _) = self.preview(charges, places, request.priority, now);
        match wait {
            Some(_) => Err(self.too_many_waiters()),
            None => Ok(()),
        }
    }

    pub(super) fn locate_all(&self, charges: &[Charge]) -> Result<Places> {
        let locate = |(index, charge): (usize, &Charge)| {
            self.store
                .locate(charge)
                .map_err(|error| error.within(format!("charges[{index}]")))
        };
        charges.iter().enumerate().map(locate).collect()
    }

    /// Whether some charge is above what its bucket can ever hold.
    pub(super) fn is_never(&self, charges: &[Charge], places: &[Place]) -> bool {
        let mut pairs = charges.iter().zip(places);
        pairs.any(|(charge, place)| charge.amount() > self.store.spec_at(*place, charge).capacity())
    }

    /// The answer of a call that [`Machine::is_never`]: it changes nothing, not even a spec.
    pub(super) fn never(
        &mut self,
        charges: &[Charge],
        places: &[Place],
        priority: Priority,
        now: Now,
    ) -> Acquired {
        let (_, mut charges) = self.preview(charges, places, priority, now);
        for charge in &mut charges {
            charge.spec_replaced = false;
        }
        answer(Outcome::Never, charges)
    }

    /// As [`Machine::is_never`], for buckets found. They differ when one charge of a call brings a
    /// spec that another, without one, has to go by.
    pub(super) fn is_hopeless(&self, wants: &[Want]) -> bool {
        let capacity = |want: &Want| self.store.entry(want.bucket).bucket.capacity();
        wants.iter().any(|want| want.amount > capacity(want))
    }

    /// Whether some charge holds slots.
    fn needs_slots(&self, charges: &[Charge], places: &[Place]) -> bool {
        let mut pairs = charges.iter().zip(places);
        pairs.any(|(charge, place)| {
            matches!(
                self.store.spec_at(*place, charge),
                LimitSpec::Concurrency(_)
            )
        })
    }

    /// Finds the bucket of every charge, making what is missing. Fails before it changes anything.
    pub(super) fn place_all(
        &mut self,
        charges: &[Charge],
        places: &[Place],
        now: Now,
    ) -> Result<Vec<Want>> {
        let mut places = places;
        let found;
        let missing = missing(places);
        if missing > 0 {
            let max = self.config.max_buckets;
            self.store.make_room(missing, max, now)?;
            // Making room may have dropped idle buckets of this very call.
            found = self.locate_all(charges)?;
            places = &found;
            self.store.check_room(self::missing(places), max)?;
            self.check_limits(new_limits(charges, places))?;
        }
        let pairs = charges.iter().zip(places);
        let wants = pairs
            .map(|(charge, place)| self.place(charge, *place, now))
            .collect();
        if missing > 0 {
            self.schedule_sweep(now);
        }
        Ok(wants)
    }

    /// Refuses `more` limits above the bound.
    pub(super) fn check_limits(&self, more: usize) -> Result<()> {
        if self.store.limit_count() + more <= self.config.max_limits {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::TooManyLimits,
            format!(
                "this namespace has {} limits; delete some",
                self.store.limit_count()
            ),
        ))
    }

    fn place(&mut self, charge: &Charge, place: Place, now: Now) -> Want {
        let bucket = match place.bucket {
            Some(bucket) if !place.replaces => bucket,
            _ => self.make_place(charge, place, now),
        };
        let followed = place.source == SpecSource::Inline && self.follow_spec(bucket, now);
        Want {
            bucket,
            amount: charge.amount(),
            replaced: place.replaces || (followed && charge.spec.is_some()),
        }
    }

    /// Makes what is missing: the limit, its new inline spec, the bucket.
    fn make_place(&mut self, charge: &Charge, place: Place, now: Now) -> BucketId {
        // Two charges of one acquire may share a limit that the first of them has just made.
        let limit = match (self.store.find(&charge.limit), &charge.spec) {
            (Some(limit), Some(spec)) if place.replaces => {
                self.store.limit_mut(limit).spec = spec.clone();
                limit
            }
            (Some(limit), _) => limit,
            (None, Some(spec)) => {
                self.store
                    .insert_limit(charge.limit.clone(), spec.clone(), place.source)
            }
            (None, None) => unreachable!("locate refuses an unknown limit without a spec"),
        };
        self.store.bucket_or_full(limit, &charge.key, now)
    }

    /// Whether a call that does not wait may go: it passes nobody of its class.
    pub(super) fn all_open(&mut self, wants: &[Want], priority: Priority, now: Now) -> bool {
        wants.iter().all(|want| {
            let entry = self.store.entry_mut(want.bucket);
            entry.open_units(now) >= want.amount
                && !entry.queue.as_ref().is_some_and(|it| it.stops(priority))
        })
    }

    /// Takes every charge. Returns the answer and the hold of the slots.
    pub(super) fn grant(
        &mut self,
        wants: &[Want],
        ttl: Option<Micros>,
        now: Now,
    ) -> (Acquired, Hold) {
        self.decided.granted += 1;
        let slots = |want: &Want| self.store.entry(want.bucket).bucket.holds_slots();
        let ttl = ttl.or_else(|| {
            wants
                .iter()
                .any(slots)
                .then_some(self.config.default_reservation_ttl)
        });
        let reservation = ttl.map(|ttl| {
            self.minted += 1;
            (self.minted, ttl)
        });
        let hold = reservation.map_or(Hold::default(), |(reservation, ttl)| Hold {
            until: now.mono + ttl,
            reservation,
        });
        let charges = self.take_all(wants, hold, now);
        let granted = reservation.map(|(id, ttl)| {
            self.open_reservation(id, self.receipt(wants, hold, now), hold.until);
            Granted {
                id: self.reservation_id(id),
                ttl,
            }
        });
        (answer(Outcome::Granted(granted), charges), hold)
    }

    /// Takes every charge and tells what each met.
    pub(super) fn take_all(&mut self, wants: &[Want], hold: Hold, now: Now) -> Vec<ChargeState> {
        let take = |want: &Want| {
            let entry = self.store.entry_mut(want.bucket);
            entry.bucket.take(want.amount, hold, now);
            self.charge_state(want, None)
        };
        wants.iter().map(take).collect()
    }

    /// What is needed to give the charges back.
    pub(super) fn receipt(&self, wants: &[Want], hold: Hold, now: Now) -> Vec<Taken> {
        let taken = |want: &Want| {
            let entry = self.store.entry(want.bucket);
            let limit = self.store.limit(entry.limit);
            Taken {
                limit: limit.name.clone(),
                life: limit.life,
                key: entry.key.clone(),
                amount: want.amount,
                slots: entry.bucket.holds_slots(),
                hold,
                fills: limit.fills,
                at: now,
            }
        };
        wants.iter().map(taken).collect()
    }

    /// The first answer of a request id, its times counted anew.
    pub(super) fn replay(&self, first: (Acquired, Time), now: Now) -> Acquired {
        let (mut acquired, at) = first;
        let elapsed = now.mono - at;
        let left = |wait: Micros| Micros(wait.0.saturating_sub(elapsed.0)).max(Micros::TICK);
        match &mut acquired.outcome {
            Outcome::Denied(wait) => *wait = left(*wait),
            Outcome::TimedOut { retry_after, .. } => *retry_after = left(*retry_after),
            Outcome::Granted(Some(granted)) => match self.open_until(&granted.id) {
                Some(until) => granted.ttl = until - now.mono,
                None => return answer(Outcome::Lost, Vec::new()),
            },
            _ => {}
        }
        for charge in &mut acquired.charges {
            charge.retry_after = charge.retry_after.map(left);
        }
        acquired
    }

    /// Schedules the end of a reservation.
    pub(super) fn schedule_expiry(&mut self, id: u64, at: Time) {
        self.timers.insert((at, Timer::Expire(id)));
    }
}

/// What distinguishes one acquire from another. How long its caller waits does not: a repeat under a
/// gRPC deadline has less time left than the first call had.
fn body(request: &AcquireRequest) -> u64 {
    let mut request = request.clone();
    if let Mode::Wait(max_wait) = &mut request.mode {
        *max_wait = Micros::ZERO;
    }
    digest(&request)
}

/// Buckets to be made.
fn missing(places: &[Place]) -> usize {
    places.iter().filter(|place| place.bucket.is_none()).count()
}

/// Limits to be made: several charges may name the same one.
fn new_limits(charges: &[Charge], places: &[Place]) -> usize {
    let missing = charges
        .iter()
        .zip(places)
        .filter(|(_, place)| place.limit.is_none());
    let names: BTreeSet<_> = missing.map(|(charge, _)| &charge.limit).collect();
    names.len()
}

pub(super) fn answer(outcome: Outcome, charges: Vec<ChargeState>) -> Acquired {
    Acquired {
        outcome,
        charges,
        scope: Scope::Local,
    }
}
