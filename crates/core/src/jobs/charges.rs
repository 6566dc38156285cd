//! Charges against limits: what an attempt has taken before it began, and what of it is to be settled once it is over.
//!
//! Taking and settling are the owner's calls elsewhere; here stands what they were. A charge that no lease was logged for is nobody's, and stays
//! spent.

use super::fold::{JobFold, Verdict, done};
use super::ids::{JobId, LeaseId};
use super::job::Job;
use crate::limits::{ActualAmount, Charge, MAX_AMOUNT, ReservationId, Usage, check_charges};
use crate::{Error, Key, Name, Namespace, Result, check_rules};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The most charges of a job.
pub const MAX_CHARGES: usize = 8;

/// A bucket that a job charges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChargedBucket {
    /// Where the limit lives: the namespace of the job.
    pub namespace: Namespace,
    /// The limit.
    pub limit: Name,
    /// The bucket of it.
    pub key: Key,
}

/// The buckets that jobs charge together, in the order in which the jobs name them. Their texts are hashed once.
#[derive(Clone, Debug)]
pub struct ChargedBuckets {
    buckets: Arc<[ChargedBucket]>,
    hash: u64,
}

impl ChargedBuckets {
    /// Those that charges name; none if there are none.
    #[must_use]
    pub fn of(charges: &[Charge], namespace: &Namespace) -> Option<Self> {
        if charges.is_empty() {
            return None;
        }
        let buckets = charges.iter().map(|charge| ChargedBucket {
            namespace: namespace.clone(),
            limit: charge.limit.clone(),
            key: charge.key.clone(),
        });
        let buckets: Arc<[ChargedBucket]> = buckets.collect();
        let mut hasher = DefaultHasher::new();
        buckets.hash(&mut hasher);
        let hash = hasher.finish();
        Some(Self { buckets, hash })
    }
}

impl Deref for ChargedBuckets {
    type Target = [ChargedBucket];

    fn deref(&self) -> &[ChargedBucket] {
        &self.buckets
    }
}

impl PartialEq for ChargedBuckets {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.buckets == other.buckets
    }
}

impl Eq for ChargedBuckets {}

impl Hash for ChargedBuckets {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// What an attempt under way has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// By which it is settled.
    pub reservation: ReservationId,
    /// What is to be settled: as reserved, unless the worker says otherwise.
    pub usage: Usage,
}

/// What is to be settled of an attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleDue {
    /// Where the limits live.
    pub namespace: Namespace,
    /// What was taken, and used.
    pub taken: Taken,
}

/// Checks the charges of a job. Errors: `InvalidField`.
pub(super) fn check_job_charges(charges: &[Charge]) -> Result<()> {
    check_rules([(charges.len() <= MAX_CHARGES, "charges", "must be at most 8")])?;
    for (index, charge) in charges.iter().enumerate() {
        if charge.spec.is_some() || charge.require_spec {
            let field = format!("charges[{index}].spec");
            let allowed = "must be left out: jobs charge limits that are declared";
            return Err(Error::invalid(field, allowed));
        }
    }
    check_charges(charges)
}

/// Checks what a worker says that it has used, against what its job charges. Errors: `InvalidField`.
pub fn check_used(used: &[ActualAmount], charges: &[Charge]) -> Result<()> {
    let own =
        |one: &ActualAmount, charge: &Charge| charge.limit == one.limit && charge.key == one.key;
    for (index, one) in used.iter().enumerate() {
        let twice = used[..index]
            .iter()
            .any(|it| it.limit == one.limit && it.key == one.key);
        if twice || !charges.iter().any(|charge| own(one, charge)) {
            let field = format!("used[{index}]");
            return Err(Error::invalid(
                field,
                "must be a bucket that the job charges, each once",
            ));
        }
        if !(0..=MAX_AMOUNT).contains(&one.amount) {
            let allowed = format!("must be 0 to {MAX_AMOUNT}");
            return Err(Error::invalid(format!("used[{index}].amount"), allowed));
        }
    }
    Ok(())
}

impl Job {
    /// What the attempt under way has taken.
    #[must_use]
    pub fn taken(&self) -> Option<&Taken> {
        self.taken.as_deref()
    }

    /// What it charges, as buckets.
    #[must_use]
    pub fn buckets(&self) -> Option<&ChargedBuckets> {
        self.asked.as_ref()?.buckets.as_ref()
    }
}

impl JobFold {
    /// What is to be settled, by the leases that are over.
    #[must_use]
    pub fn due_settlements(&self) -> impl ExactSizeIterator<Item = (LeaseId, &SettleDue)> {
        self.settlements.iter().map(|(lease, due)| (*lease, due))
    }

    pub(super) fn used(&mut self, (id, lease): (JobId, LeaseId), used: &[ActualAmount]) -> Verdict {
        let taken = self.jobs.get(&id).is_some_and(|job| job.taken.is_some());
        let counts = taken && self.has(id, lease);
        if counts {
            self.set_usage(id, Usage::Actual(used.to_vec()));
        }
        done(counts)
    }

    pub(super) fn set_usage(&mut self, id: JobId, usage: Usage) {
        if self.jobs.get(&id).is_some_and(|job| job.taken.is_some()) {
            self.alter(id, |job| {
                if let Some(taken) = &mut job.taken {
                    taken.usage = usage;
                }
            });
        }
    }

    /// An attempt is over: what it has taken is to be settled.
    pub(super) fn settle_due(&mut self, lease: LeaseId, namespace: Namespace, taken: Taken) {
        self.keep_settlement(lease);
        self.settlements
            .insert(lease, SettleDue { namespace, taken });
    }

    pub(super) fn settled(&mut self, leases: &[LeaseId]) -> Verdict {
        let mut were_due = false;
        for lease in leases {
            self.keep_settlement(*lease);
            were_due |= self.settlements.remove(lease).is_some();
        }
        done(were_due)
    }

    fn keep_settlement(&mut self, lease: LeaseId) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.keep_settlement(lease, self.settlements.get(&lease));
        }
    }
}
