//! Charges, what was taken, and what is to be settled, as bytes.

use super::super::charges::{SettleDue, Taken};
use super::super::record::JobRecord;
use super::super::slice::SettleSlice;
use crate::limits::{ActualAmount, Charge, ReservationId, Usage};
use crate::wire::{Put, Take};
use crate::{Key, Name, Namespace};

impl Put {
    pub(super) fn charged(&mut self, record: &JobRecord) {
        match record {
            JobRecord::Used { job, lease, used } => {
                self.byte(15);
                self.job(*job);
                self.lease(*lease);
                self.used(used);
            }
            JobRecord::Settled(leases) => {
                self.byte(23);
                self.number(leases.len() as u64);
                for lease in leases {
                    self.lease(*lease);
                }
            }
            JobRecord::Refused { job, error } => {
                self.byte(17);
                self.job(*job);
                self.text(error);
            }
            _ => {}
        }
    }

    pub(super) fn charges(&mut self, charges: &[Charge]) {
        self.number(charges.len() as u64);
        for charge in charges {
            self.bucket(&charge.limit, &charge.key, charge.amount());
        }
    }

    pub(super) fn used(&mut self, used: &[ActualAmount]) {
        self.number(used.len() as u64);
        for one in used {
            self.bucket(&one.limit, &one.key, one.amount);
        }
    }

    fn bucket(&mut self, limit: &Name, key: &Key, amount: i64) {
        self.text(limit.as_str());
        self.text(key.as_str());
        self.number(amount.unsigned_abs());
    }

    pub(super) fn taken(&mut self, taken: &Taken) {
        self.text(taken.reservation.as_str());
        match &taken.usage {
            Usage::RefundAll => self.flag(false),
            Usage::Actual(used) => {
                self.flag(true);
                self.used(used);
            }
        }
    }

    pub(super) fn settlement(&mut self, it: &SettleSlice) {
        self.lease(it.lease);
        self.text(it.due.namespace.as_str());
        self.taken(&it.due.taken);
    }
}

impl Take<'_> {
    pub(super) fn charged(&mut self, kind: u8) -> Option<JobRecord> {
        Some(match kind {
            15 => JobRecord::Used {
                job: self.job()?,
                lease: self.lease()?,
                used: self.used()?,
            },
            // As it was written for each attempt by itself.
            16 => JobRecord::Settled(vec![self.lease()?]),
            17 => JobRecord::Refused {
                job: self.job()?,
                error: self.text()?.into(),
            },
            23 => JobRecord::Settled(self.list(Take::lease)?),
            _ => return None,
        })
    }

    pub(super) fn charges(&mut self) -> Option<Vec<Charge>> {
        self.list(|rest| {
            let (limit, key, amount) = rest.bucket()?;
            Charge::new(limit, key, amount).ok()
        })
    }

    pub(super) fn used(&mut self) -> Option<Vec<ActualAmount>> {
        self.list(|rest| {
            let (limit, key, amount) = rest.bucket()?;
            Some(ActualAmount { limit, key, amount })
        })
    }

    fn bucket(&mut self) -> Option<(Name, Key, i64)> {
        let limit = Name::new(self.text()?, "limit").ok()?;
        let key = Key::new(self.text()?, "key").ok()?;
        Some((limit, key, i64::try_from(self.number()?).ok()?))
    }

    pub(super) fn reservation(&mut self) -> Option<ReservationId> {
        ReservationId::new(self.text()?).ok()
    }

    pub(super) fn taken(&mut self) -> Option<Taken> {
        let reservation = self.reservation()?;
        let usage = if self.flag()? {
            Usage::Actual(self.used()?)
        } else {
            Usage::RefundAll
        };
        Some(Taken { reservation, usage })
    }

    pub(super) fn settlement(&mut self) -> Option<SettleSlice> {
        Some(SettleSlice {
            lease: self.lease()?,
            due: SettleDue {
                namespace: Namespace::new(self.text()?, "namespace").ok()?,
                taken: self.taken()?,
            },
        })
    }
}
