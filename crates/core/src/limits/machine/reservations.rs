//! Reservations: charges that can be settled, extended, and end by themselves.
//!
//! A reservation is *open* until it is settled or its time is over. Its slots are freed then; its other
//! charges stay as reserved. It is remembered for a window longer, so that a repeated settle gets its
//! answer and late debt still counts.

use super::super::bucket::Hold;
use super::super::types::{
    Acquired, ExtendReservation, Granted, Outcome, Priority, ReservationId, Settle, Settled,
    SettledCharge, Usage, check_distinct,
};
use super::acquire::answer;
use super::requests::{Recall, RequestKey, Rpc, digest};
use super::store::BucketId;
use super::{Machine, Timer};
use crate::{Error, ErrorCode, Key, Name, Now, Result, Scope, Time};

/// One charge that was taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub limit: Name,
    pub key: Key,
    pub amount: i64,
    pub hold: Hold,
    pub at: Now,
}

/// A reservation and what became of it.
#[derive(Debug)]
pub(super) struct Reservation {
    taken: Vec<Taken>,
    until: Time,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Expired,
    /// The digest of the usage, and the answer.
    Settled(u64, Vec<SettledCharge>),
}

/// What a settle does to one bucket.
struct Share {
    limit: Name,
    key: Key,
    reserved: i64,
    actual: i64,
}

impl Machine {
    /// Ends a reservation. See [`super::super::Limits::settle`].
    pub fn settle(&mut self, settle: &Settle, now: Now) -> Result<Settled> {
        self.advance(now);
        let id = self.known_reservation(&settle.reservation)?;
        let reservation = &self.reservations[&id];
        let usage = digest(&settle.usage);
        match &reservation.state {
            State::Settled(first, charges) if *first == usage => {
                return Ok(Settled {
                    charges: charges.clone(),
                    scope: Scope::Local,
                });
            }
            State::Settled(..) => return Err(settled()),
            State::Open | State::Expired => {}
        }
        let shares = shares(&reservation.taken, &settle.usage)?;
        let open = matches!(reservation.state, State::Open);
        let owes = shares.iter().any(|share| share.actual > share.reserved);
        if !open && !owes && shares.iter().any(|share| share.actual < share.reserved) {
            return Err(expired());
        }
        let taken = reservation.taken.clone();
        let mut freed = Vec::new();
        let charges: Vec<_> = shares
            .into_iter()
            .map(|share| self.settle_share(share, &taken, open, &mut freed, now))
            .collect();
        self.close(id, State::Settled(usage, charges.clone()), now);
        self.serve(freed, now);
        Ok(Settled {
            charges,
            scope: Scope::Local,
        })
    }

    fn settle_share(
        &mut self,
        share: Share,
        taken: &[Taken],
        open: bool,
        freed: &mut Vec<BucketId>,
        now: Now,
    ) -> SettledCharge {
        let Share {
            limit,
            key,
            reserved,
            mut actual,
        } = share;
        let (mut refunded, mut remaining) = (0, 0);
        if let Some(bucket) = self.bucket_to_settle(&limit, &key, actual > reserved, now) {
            let entry = self.store.entry_mut(bucket);
            entry.bucket.advance(now);
            let mine = taken
                .iter()
                .rev()
                .filter(|taken| taken.limit == limit && taken.key == key);
            if entry.bucket.holds_slots() {
                actual = reserved;
                refunded = mine.map(|taken| entry.bucket.release(taken.hold)).sum();
            } else if actual > reserved {
                entry.bucket.take(actual - reserved, Hold::default(), now);
            } else if open {
                for taken in mine {
                    let back = taken.amount.min(reserved - actual - refunded);
                    refunded += entry.bucket.give_back(back, taken.hold, taken.at);
                }
            }
            remaining = entry.bucket.available();
            freed.push(bucket);
        }
        SettledCharge {
            limit,
            key,
            reserved,
            actual,
            refunded,
            remaining,
        }
    }

    /// The bucket of a settled charge. A dropped bucket was full: there is nothing to refund, but debt
    /// makes it anew, above the bound if need be (reservations are bounded themselves).
    fn bucket_to_settle(
        &mut self,
        limit: &Name,
        key: &Key,
        owes: bool,
        now: Now,
    ) -> Option<BucketId> {
        let id = self.store.find(limit)?;
        let bucket = self.store.limit(id).bucket(key);
        if bucket.is_some() || !owes {
            return bucket;
        }
        let bucket = self.store.bucket_or_full(id, key, now);
        self.schedule_sweep(now);
        Some(bucket)
    }

    /// Renews a reservation and takes further charges. See [`super::super::Limits::extend`].
    pub fn extend(&mut self, extend: &ExtendReservation, now: Now) -> Result<Acquired> {
        self.advance(now);
        check_distinct(&extend.charges)?;
        let Some(id) = &extend.request_id else {
            return self.extend_once(extend, now);
        };
        let key = RequestKey::new(Rpc::Extend, id);
        if let Recall::Answer(first) = self.requests.recall(&key, digest(extend), now.mono)? {
            return Ok(self.replay(first.acquired()?, now));
        }
        let acquired = self.extend_once(extend, now)?;
        self.requests.start(key.clone(), digest(extend), None);
        self.requests
            .finish(&key, acquired.clone().into(), now.mono);
        Ok(acquired)
    }

    fn extend_once(&mut self, extend: &ExtendReservation, now: Now) -> Result<Acquired> {
        let id = self.known_reservation(&extend.reservation)?;
        match self.reservations[&id].state {
            State::Open => {}
            State::Expired => return Err(expired()),
            State::Settled(..) => return Err(settled()),
        }
        let places = self.locate_all(&extend.charges)?;
        let ticket = self.next_ticket(Priority::Interactive);
        if self.is_never(&extend.charges, &places) {
            let (_, charges) = self.preview(&extend.charges, &places, ticket, now);
            return Ok(answer(Outcome::Never, charges));
        }
        let wants = self.place_all(&extend.charges, &places, now)?;
        if !self.all_open(&wants, ticket, now) {
            let (wait, charges) = self.refusal(&wants, ticket, now);
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
        if let Some(reservation) = self.reservations.get_mut(&id) {
            reservation.taken.extend(taken);
        }
        let granted = Granted {
            id: extend.reservation.clone(),
            ttl: until - now.mono,
        };
        Ok(answer(Outcome::Granted(Some(granted)), charges))
    }

    /// Moves the end of an open reservation and of the slots that it holds.
    fn renew(&mut self, id: u64, until: Time) {
        let Some(reservation) = self.reservations.get_mut(&id) else {
            return;
        };
        let former = std::mem::replace(&mut reservation.until, until);
        let mut held = Vec::new();
        for taken in &mut reservation.taken {
            held.push((taken.limit.clone(), taken.key.clone(), taken.hold));
            taken.hold.until = until;
        }
        self.timers.remove(&(former, Timer::Expire(id)));
        self.schedule_expiry(id, until);
        for (limit, key, hold) in held {
            if let Some(bucket) = self.existing_bucket(&limit, &key) {
                self.store.entry_mut(bucket).bucket.renew(hold, until);
            }
        }
    }

    pub(super) fn open_reservation(&mut self, id: u64, taken: Vec<Taken>, until: Time) {
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
        for taken in reservation.taken.clone() {
            if let Some(bucket) = self.existing_bucket(&taken.limit, &taken.key)
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
            self.timers
                .insert((now.mono + self.config.settle_window, Timer::Forget(id)));
        }
        reservation.state = state;
    }

    pub(super) fn forget_reservation(&mut self, id: u64) {
        self.reservations.remove(&id);
    }

    /// Forgets an open reservation at once.
    pub(super) fn drop_reservation(&mut self, id: u64) {
        if let Some(reservation) = self.reservations.remove(&id) {
            self.timers.remove(&(reservation.until, Timer::Expire(id)));
        }
    }

    /// Gives back what was taken; returns the buckets that got something.
    pub(super) fn give_all_back(&mut self, taken: &[Taken]) -> Vec<BucketId> {
        let mut freed = Vec::new();
        for taken in taken {
            if let Some(bucket) = self.existing_bucket(&taken.limit, &taken.key) {
                self.store
                    .entry_mut(bucket)
                    .bucket
                    .give_back(taken.amount, taken.hold, taken.at);
                freed.push(bucket);
            }
        }
        freed
    }

    fn existing_bucket(&self, limit: &Name, key: &Key) -> Option<BucketId> {
        self.store.limit(self.store.find(limit)?).bucket(key)
    }

    /// Refuses another reservation above the bound.
    pub(super) fn check_reservations(&self) -> Result<()> {
        if self.reservations.len() < self.config.max_reservations {
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

fn settled() -> Error {
    Error::new(
        ErrorCode::ReservationSettled,
        "the reservation was settled before",
    )
}

fn expired() -> Error {
    Error::new(
        ErrorCode::ReservationExpired,
        "the reservation's time is over: its charges stay as reserved; extend it in time",
    )
}

/// What each bucket of a reservation was charged and what was really used, in order of first charge.
fn shares(taken: &[Taken], usage: &Usage) -> Result<Vec<Share>> {
    let mut shares: Vec<Share> = Vec::new();
    for Taken {
        limit, key, amount, ..
    } in taken
    {
        match shares
            .iter_mut()
            .find(|share| share.limit == *limit && share.key == *key)
        {
            Some(share) => share.reserved += amount,
            None => shares.push(Share {
                limit: limit.clone(),
                key: key.clone(),
                reserved: *amount,
                actual: 0,
            }),
        }
    }
    let Usage::Actual(amounts) = usage else {
        return Ok(shares);
    };
    for share in &mut shares {
        share.actual = share.reserved;
    }
    for (index, actual) in amounts.iter().enumerate() {
        let same = |share: &&mut Share| share.limit == actual.limit && share.key == actual.key;
        let Some(share) = shares.iter_mut().find(same) else {
            let allowed = "must name a bucket that the reservation charged";
            return Err(Error::invalid(format!("actual[{index}]"), allowed));
        };
        share.actual = actual.amount;
    }
    Ok(shares)
}
