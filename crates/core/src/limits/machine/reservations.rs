//! Reservations: charges that can be settled, extended, and end by themselves.
//!
//! A reservation is *open* until it is settled or its time is over. Its slots are freed then; its other
//! charges stay as reserved. It is remembered for a window longer, so that a repeated settle gets its
//! answer and late debt still counts.

use super::super::bucket::Hold;
use super::super::types::{
    Acquired, ActualAmount, ExtendReservation, Granted, Outcome, Priority, ReservationId, Settle,
    Settled, SettledCharge, Usage, check_charges,
};
use super::acquire::answer;
use super::requests::Rpc;
use super::store::BucketId;
use super::{Machine, Timer};
use crate::{Error, ErrorCode, Key, Name, Now, Result, Scope, Time};

/// One charge that was taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub limit: Name,
    /// Which limit of that name.
    pub life: u64,
    pub key: Key,
    pub amount: i64,
    pub slots: bool,
    /// How often its bucket had been filled by decree.
    pub fills: u64,
    pub hold: Hold,
    pub at: Now,
}

impl Taken {
    fn same_bucket(&self, other: &Self) -> bool {
        self.life == other.life
            && self.slots == other.slots
            && self.key == other.key
            && self.limit == other.limit
    }
}

/// A reservation and what became of it.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) taken: Vec<Taken>,
    /// When its time is over; once it has ended, when it is forgotten.
    pub(super) until: Time,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    Open,
    Expired,
    /// What was said to be used of each share, and the answer.
    Settled(Vec<i64>, Vec<SettledCharge>),
}

/// What a settle does to one bucket: its charges, in the order in which they were taken.
struct Share<'a> {
    taken: Vec<&'a Taken>,
    reserved: i64,
    actual: i64,
}

/// Charges of one bucket that a reservation remembers apart: more than a window has sub-windows, so
/// that of more than these the oldest have left it.
const MAX_TAKEN_OF_A_BUCKET: usize = 64;
/// Charges that a reservation remembers. However often up to 32 buckets are topped up, it suffices.
const MAX_TAKEN: usize = 33 * MAX_TAKEN_OF_A_BUCKET;

impl Machine {
    /// Ends a reservation. See [`super::super::Limits::settle`].
    pub fn settle(&mut self, settle: &Settle, now: Now) -> Result<Settled> {
        self.advance(now);
        let id = self.known_reservation(&settle.reservation)?;
        let reservation = &self.reservations[&id];
        let taken = reservation.taken.clone();
        let shares = shares(&taken, &settle.usage)?;
        let usage: Vec<i64> = shares.iter().map(|share| share.actual).collect();
        match &reservation.state {
            State::Settled(first, charges) if *first == usage => {
                return Ok(Settled {
                    charges: charges.clone(),
                    scope: Scope::Local,
                });
            }
            State::Settled(..) => return Err(settled(", with other amounts")),
            State::Open | State::Expired => {}
        }
        let open = matches!(reservation.state, State::Open);
        let owes = shares.iter().any(|share| share.actual > share.reserved);
        if !open && !owes && shares.iter().any(|share| share.actual < share.reserved) {
            return Err(expired());
        }
        let mut freed = Vec::new();
        let charges: Vec<_> = shares
            .iter()
            .map(|share| self.settle_share(share, open, &mut freed, now))
            .collect();
        self.close(id, State::Settled(usage, charges.clone()), now);
        self.store.unpin(&taken);
        self.serve(freed, now);
        Ok(Settled {
            charges,
            scope: Scope::Local,
        })
    }

    fn settle_share(
        &mut self,
        share: &Share<'_>,
        open: bool,
        freed: &mut Vec<BucketId>,
        now: Now,
    ) -> SettledCharge {
        let Share {
            taken,
            reserved,
            actual,
        } = share;
        let last = taken[taken.len() - 1];
        let mut refunded = 0;
        if let Some(bucket) = self.bucket_to_settle(last, actual > reserved, now) {
            let entry = self.store.entry_mut(bucket);
            entry.bucket.advance(now);
            let mine = taken.iter().rev().filter(|taken| taken.life == last.life);
            if entry.bucket.holds_slots() {
                refunded = mine.map(|taken| entry.bucket.release(taken.hold)).sum();
            } else if actual > reserved {
                entry.bucket.take(actual - reserved, Hold::default(), now);
            } else if open {
                for taken in mine {
                    let back = taken.amount.min(reserved - actual - refunded);
                    refunded += entry.give_back(back, taken);
                }
            }
            freed.push(bucket);
        }
        SettledCharge {
            limit: last.limit.clone(),
            key: last.key.clone(),
            reserved: *reserved,
            actual: *actual,
            refunded,
            remaining: self.remaining_of(last, now),
        }
    }

    /// The bucket of a settled charge. A dropped bucket was full: there is nothing to refund, but debt
    /// makes it anew, above the bound if need be (reservations are bounded themselves).
    fn bucket_to_settle(&mut self, taken: &Taken, owes: bool, now: Now) -> Option<BucketId> {
        let id = self.store.limit_of(taken)?;
        let bucket = self.store.limit(id).bucket(&taken.key);
        if bucket.is_some() || !owes {
            return bucket;
        }
        let bucket = self.store.bucket_or_full(id, &taken.key, now);
        self.schedule_sweep(now);
        Some(bucket)
    }

    /// Units available where a charge was taken; none when its limit was deleted.
    fn remaining_of(&self, taken: &Taken, now: Now) -> i64 {
        let Some(id) = self.store.limit_of(taken) else {
            return 0;
        };
        let limit = self.store.limit(id);
        let spec = limit.spec_for(&taken.key);
        let bucket = limit.bucket(&taken.key);
        bucket.map_or(spec.capacity(), |bucket| {
            self.store.entry(bucket).under(spec, now).available()
        })
    }

    /// Renews a reservation and takes further charges. See [`super::super::Limits::extend`].
    pub fn extend(&mut self, extend: &ExtendReservation, now: Now) -> Result<Acquired> {
        check_charges(&extend.charges)?;
        let id = extend.request_id.as_ref();
        let first = self.once(Rpc::Extend, id, extend, now, |machine| {
            machine.extend_once(extend, now).map(Into::into)
        })?;
        Ok(self.replay(first.acquired()?, now))
    }

    fn extend_once(&mut self, extend: &ExtendReservation, now: Now) -> Result<Acquired> {
        let id = self.known_reservation(&extend.reservation)?;
        match self.reservations[&id].state {
            State::Open => {}
            State::Expired => return Err(expired()),
            State::Settled(..) => return Err(settled("")),
        }
        if self.reservations[&id].taken.len() + extend.charges.len() > MAX_TAKEN {
            let allowed = format!("a reservation holds at most {MAX_TAKEN} charges");
            return Err(Error::invalid("charges", allowed));
        }
        let places = self.locate_all(&extend.charges)?;
        let priority = Priority::Interactive;
        if self.is_never(&extend.charges, &places) {
            return Ok(self.never(&extend.charges, &places, priority, now));
        }
        let wants = self.place_all(&extend.charges, &places, now)?;
        if self.is_hopeless(&wants) {
            let (_, charges) = self.refusal(&wants, priority, now);
            return Ok(answer(Outcome::Never, charges));
        }
        if !self.all_open(&wants, priority, now) {
            let (wait, charges) = self.refusal(&wants, priority, now);
            return Ok(answer(Outcome::Denied(wait), charges));
        }
        let until = self.reservations[&id].until.max(now.mono + extend.ttl);
        self.renew(id, until);
        let hold = Hold {
            until,
            reservation: id,
        };
        let charges = self.take_all(&wants, hold, now);
        let taken = self.receipt(&wants, hold, now);
        self.add_charges(id, taken);
        let granted = Granted {
            id: extend.reservation.clone(),
            ttl: until - now.mono,
        };
        Ok(answer(Outcome::Granted(Some(granted)), charges))
    }

    /// Adds further charges to a reservation. It may be extended any number of times, so charges that
    /// come back together are counted as one, and so are the two oldest of too many.
    fn add_charges(&mut self, id: u64, more: Vec<Taken>) {
        let Some(reservation) = self.reservations.get_mut(&id) else {
            return;
        };
        self.store.pin(&more);
        for new in more {
            let all = reservation.taken.iter().enumerate();
            let same = all.filter(|(_, taken)| taken.same_bucket(&new));
            let same: Vec<usize> = same.map(|(index, _)| index).collect();
            let entry = self.store.bucket_of(&new).map(|id| self.store.entry(id));
            let last = same.last().map(|index| &mut reservation.taken[*index]);
            if let (Some(entry), Some(last)) = (entry, last)
                && entry.counts_with_newest(last)
            {
                last.amount += new.amount;
                self.store.unpin(&[new]);
                continue;
            }
            if let [first, second, ..] = same[..]
                && same.len() >= MAX_TAKEN_OF_A_BUCKET
            {
                let merged = reservation.taken.remove(second);
                reservation.taken[first].amount += merged.amount;
                self.store.unpin(&[merged]);
            }
            reservation.taken.push(new);
        }
    }

    /// Moves the end of an open reservation and of the slots that it holds.
    fn renew(&mut self, id: u64, until: Time) {
        let Some(reservation) = self.reservations.get_mut(&id) else {
            return;
        };
        let former = std::mem::replace(&mut reservation.until, until);
        for taken in &mut reservation.taken {
            if let Some(bucket) = self.store.bucket_of(taken) {
                self.store.entry_mut(bucket).bucket.renew(taken.hold, until);
            }
            taken.hold.until = until;
        }
        self.timers.remove(&(former, Timer::Expire(id)));
        self.schedule_expiry(id, until);
    }

    pub(super) fn open_reservation(&mut self, id: u64, taken: Vec<Taken>, until: Time) {
        self.store.pin(&taken);
        self.reservations.insert(
            id,
            Reservation {
                taken,
                until,
                state: State::Open,
            },
        );
        self.schedule_expiry(id, until);
    }

    /// Frees the slots of a reservation whose time is over.
    pub(super) fn expire_reservation(&mut self, id: u64, now: Now) {
        let Some(reservation) = self.reservations.get(&id) else {
            return;
        };
        let mut freed = Vec::new();
        for taken in &reservation.taken {
            if let Some(bucket) = self.store.bucket_of(taken)
                && self.store.entry_mut(bucket).bucket.release(taken.hold) > 0
            {
                freed.push(bucket);
            }
        }
        self.close(id, State::Expired, now);
        self.serve(freed, now);
    }

    /// Ends a reservation and schedules its being forgotten.
    fn close(&mut self, id: u64, state: State, now: Now) {
        let Some(reservation) = self.reservations.get_mut(&id) else {
            return;
        };
        if matches!(reservation.state, State::Open) {
            self.timers.remove(&(reservation.until, Timer::Expire(id)));
            reservation.until = now.mono + self.config.settle_window;
            self.timers.insert((reservation.until, Timer::Forget(id)));
        }
        reservation.state = state;
    }

    pub(super) fn forget_reservation(&mut self, id: u64) {
        if let Some(reservation) = self.reservations.remove(&id)
            && !matches!(reservation.state, State::Settled(..))
        {
            self.store.unpin(&reservation.taken);
        }
    }

    /// Forgets a reservation at once. Returns what is to be given back: nothing of a settled one, for
    /// whoever settled it had it.
    pub(super) fn revoke_reservation(&mut self, id: u64) -> Vec<Taken> {
        let Some(mut reservation) = self.reservations.remove(&id) else {
            return Vec::new();
        };
        self.timers.remove(&(reservation.until, Timer::Expire(id)));
        self.timers.remove(&(reservation.until, Timer::Forget(id)));
        if matches!(reservation.state, State::Settled(..)) {
            return Vec::new();
        }
        self.store.unpin(&reservation.taken);
        std::mem::take(&mut reservation.taken)
    }

    /// Gives back what was taken and never used; returns the buckets that got something.
    pub(super) fn take_all_back(&mut self, taken: &[Taken], now: Now) -> Vec<BucketId> {
        let mut freed = Vec::new();
        for taken in taken {
            if let Some(bucket) = self.store.bucket_of(taken) {
                self.store.entry_mut(bucket).take_back(taken, now);
                freed.push(bucket);
            }
        }
        freed
    }

    /// Refuses another reservation above the bound. Each waiting call may come to make one.
    pub(super) fn check_reservations(&self) -> Result<()> {
        if self.reservations.len() + self.waiters.len() < self.config.max_reservations {
            return Ok(());
        }
        let message = format!(
            "{} reservations are open or remembered",
            self.reservations.len()
        );
        Err(Error::new(ErrorCode::TooManyReservations, message)
            .retry_after(crate::Micros::from_secs(1)))
    }

    /// Until when a reservation is open; `None` when it is not.
    pub(super) fn open_until(&self, id: &ReservationId) -> Option<Time> {
        let reservation = self.reservations.get(&self.parse_reservation(id)?)?;
        matches!(reservation.state, State::Open).then_some(reservation.until)
    }

    pub(super) fn reservation_id(&self, id: u64) -> ReservationId {
        ReservationId::minted(format!("{:016x}{id:016x}", self.epoch))
    }

    pub(super) fn parse_reservation(&self, id: &ReservationId) -> Option<u64> {
        let (epoch, id) = id.as_str().split_at_checked(16)?;
        let this = u64::from_str_radix(epoch, 16).ok()? == self.epoch;
        if this && id.len() == 16 {
            u64::from_str_radix(id, 16).ok()
        } else {
            None
        }
    }

    fn known_reservation(&self, id: &ReservationId) -> Result<u64> {
        self.parse_reservation(id)
            .filter(|id| self.reservations.contains_key(id))
            .ok_or_else(|| {
                Error::new(
                    ErrorCode::ReservationNotFound,
                    "no such reservation: never made in this namespace, or ended and forgotten",
                )
            })
    }
}

fn settled(how: &str) -> Error {
    let message = format!("the reservation was settled before{how}");
    Error::new(ErrorCode::ReservationSettled, message)
}

fn expired() -> Error {
    Error::new(
        ErrorCode::ReservationExpired,
        "the reservation's time is over: its charges stay as reserved; extend it in time",
    )
}

/// What each bucket of a reservation was charged and what was really used, in order of first charge.
/// Slots are used as reserved, whatever the caller says.
fn shares<'a>(taken: &'a [Taken], usage: &Usage) -> Result<Vec<Share<'a>>> {
    let mut shares: Vec<Share<'a>> = Vec::new();
    for new in taken {
        let same =
            |share: &&mut Share| share.taken[0].limit == new.limit && share.taken[0].key == new.key;
        match shares.iter_mut().find(same) {
            Some(share) => share.taken.push(new),
            None => shares.push(Share {
                taken: vec![new],
                reserved: 0,
                actual: 0,
            }),
        }
    }
    for share in &mut shares {
        share.reserved = share.taken.iter().map(|taken| taken.amount).sum();
        share.actual = share.reserved;
    }
    match usage {
        Usage::RefundAll => {
            for share in shares.iter_mut().filter(|share| !share.taken[0].slots) {
                share.actual = 0;
            }
        }
        Usage::Actual(amounts) => apply_actual(&mut shares, amounts)?,
    }
    Ok(shares)
}

fn apply_actual(shares: &mut [Share<'_>], amounts: &[ActualAmount]) -> Result<()> {
    for (index, actual) in amounts.iter().enumerate() {
        let refused = |allowed: &str| Err(Error::invalid(format!("actual[{index}]"), allowed));
        let same = |other: &ActualAmount| other.limit == actual.limit && other.key == actual.key;
        if amounts[..index].iter().any(same) {
            return refused("names a bucket twice");
        }
        let same = |share: &&mut Share| {
            share.taken[0].limit == actual.limit && share.taken[0].key == actual.key
        };
        let Some(share) = shares.iter_mut().find(same) else {
            return refused("must name a bucket that the reservation charged");
        };
        if !share.taken[0].slots {
            share.actual = actual.amount;
        }
    }
    Ok(())
}
