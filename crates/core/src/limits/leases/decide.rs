//! Deciding a call.

use super::lease::Look;
use super::{Held, Leases, Verdict, Wanted};
use crate::limits::ChargeState;
use crate::{Micros, Time};
use smallvec::SmallVec;

impl Leases {
    /// Decides a call, all or nothing, as far as slices allow it; the others are the store's.
    ///
    /// `first`: the call was not seen here before. `waits`: it would rather stand in line than be denied, and
    /// lines are in the store.
    pub fn decide(
        &mut self,
        now: Time,
        charges: &[Wanted<'_>],
        waits: bool,
        first: bool,
    ) -> Verdict {
        let looks: SmallVec<[Look; 4]> = charges
            .iter()
            .map(|wanted| self.look(now, wanted, first))
            .collect();
        let is = |which: fn(&Look) -> bool| looks.iter().any(which);
        let (exact, denied) = (
            is(|look| *look == Look::Exact),
            is(|look| matches!(look, Look::Denied(_))),
        );
        if denied {
            return if waits || exact {
                Verdict::Exact
            } else {
                self.deny(now, charges, &looks)
            };
        }
        if let Some(short) = looks.iter().position(|look| *look == Look::Short) {
            for (wanted, look) in charges.iter().zip(&looks) {
                if *look == Look::Short {
                    self.need(wanted);
                }
            }
            return Verdict::Join(short);
        }
        if !is(|look| *look == Look::Covered) {
            return Verdict::Exact;
        }
        if exact {
            Verdict::Mixed(self.hold(now, charges, &looks))
        } else {
            Verdict::Granted(self.spend(now, charges))
        }
    }

    fn look(&mut self, now: Time, wanted: &Wanted<'_>, first: bool) -> Look {
        let (bucket, amount) = (wanted.bucket, wanted.amount);
        if !self.by_hash.contains_key(&bucket.hash) {
            let horizon = self.config.horizon;
            let hot = if first {
                self.suspects.is_hot(bucket.hash, amount, now, horizon)
            } else {
                None
            };
            return match hot {
                Some(demand) if self.begin(now, bucket, demand) => Look::Short,
                _ => Look::Exact,
            };
        }
        let Some(lease) = self.by_hash.get_mut(&bucket.hash) else {
            return Look::Exact;
        };
        if !lease.is(bucket) || !lease.goes_by(wanted.spec, wanted.require_spec) {
            return Look::Exact;
        }
        if first {
            lease.see(now, amount, &self.config);
        }
        lease.expire(now, &self.config, &mut self.returns);
        match lease.look(now, amount, &self.config) {
            Look::Covered | Look::Denied(_) if !lease.knows_spec() => Look::Exact,
            look => look,
        }
    }

    fn need(&mut self, wanted: &Wanted<'_>) {
        let hash = wanted.bucket.hash;
        if let Some(lease) = self.by_hash.get_mut(&hash)
            && lease.need(wanted.amount)
        {
            self.queue_ask(hash);
        }
    }

    fn spend(&mut self, now: Time, charges: &[Wanted<'_>]) -> Vec<ChargeState> {
        let mut states = Vec::with_capacity(charges.len());
        for wanted in charges {
            let hash = wanted.bucket.hash;
            let Some(lease) = self.by_hash.get_mut(&hash) else {
                continue;
            };
            lease.spend(now, wanted.amount);
            states.extend(lease.state(None));
            if lease.runs_low(now, &self.config) {
                self.queue_ask(hash);
            }
        }
        states
    }

    /// Takes the charges that are covered, for as long as the others are not decided.
    fn hold(&mut self, now: Time, charges: &[Wanted<'_>], looks: &[Look]) -> Held {
        let mut held = Held::default();
        for (index, (wanted, look)) in charges.iter().zip(looks).enumerate() {
            let hash = wanted.bucket.hash;
            let lease = match look {
                Look::Covered => self.by_hash.get_mut(&hash),
                _ => None,
            };
            let Some(lease) = lease else { continue };
            lease.hold(now, wanted.amount, &mut held.parts);
            held.charges
                .extend(lease.state(None).map(|state| (index, state)));
            if lease.runs_low(now, &self.config) {
                self.queue_ask(hash);
            }
        }
        held
    }

    fn deny(&self, now: Time, charges: &[Wanted<'_>], looks: &[Look]) -> Verdict {
        let mut longest = Micros::TICK;
        let states: Option<Vec<ChargeState>> = charges
            .iter()
            .zip(looks)
            .map(|(wanted, look)| {
                let wait = match look {
                    Look::Denied(until) => Some((*until - now).max(Micros::TICK)),
                    _ => None,
                };
                longest = longest.max(wait.unwrap_or(Micros::TICK));
                self.by_hash.get(&wanted.bucket.hash)?.state(wait)
            })
            .collect();
        states.map_or(Verdict::Exact, |states| Verdict::Denied(longest, states))
    }
}
