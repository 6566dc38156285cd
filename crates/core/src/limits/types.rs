//! What goes through the limits port.

use super::fair::FairShare;
use super::spec::{LimitSpec, check_amount};
use crate::{Error, Key, Micros, Name, Namespace, RequestId, Result, Scope};

/// One charge against one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Charge {
    /// The limit.
    pub limit: Name,
    /// The bucket of it.
    pub key: Key,
    amount: i64,
    /// The spec to use when the limit is not declared.
    pub spec: Option<LimitSpec>,
    /// Fail unless `spec` is in force.
    pub require_spec: bool,
}

impl Charge {
    /// A charge of `amount` units, 1 to [`super::MAX_AMOUNT`].
    pub fn new(limit: Name, key: Key, amount: i64) -> Result<Self> {
        let amount = check_amount(amount, "amount")?;
        Ok(Self {
            limit,
            key,
            amount,
            spec: None,
            require_spec: false,
        })
    }

    /// Units to take.
    #[must_use]
    pub fn amount(&self) -> i64 {
        self.amount
    }
}

/// Whether to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Answer at once.
    Try,
    /// Wait for at most so long.
    Wait(Micros),
}

/// Who is served first: every interactive call before any batch call of the same bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Someone is waiting for the answer.
    #[default]
    Interactive,
    /// Nobody is.
    Batch,
}

/// Takes charges, all or none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcquireRequest {
    /// Where the limits live.
    pub namespace: Namespace,
    /// The charges, of different buckets.
    pub charges: Vec<Charge>,
    /// Whether to wait.
    pub mode: Mode,
    /// How long the charges may be settled; `None` makes a reservation only where slots are held.
    pub reservation_ttl: Option<Micros>,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
    /// Who is served first.
    pub priority: Priority,
    /// On whose account it waits; of no effect on a call that does not.
    pub fair: FairShare,
    /// Only tell what would happen.
    pub dry_run: bool,
}

/// Checks that no two charges name the same bucket, or the same limit with different specs.
pub fn check_charges(charges: &[Charge]) -> Result<()> {
    for (index, charge) in charges.iter().enumerate() {
        for (first, other) in charges[..index].iter().enumerate() {
            if other.limit != charge.limit {
                continue;
            }
            if other.key == charge.key {
                return Err(Error::invalid(
                    format!("charges[{index}]"),
                    format!("charges the same bucket as charges[{first}]: add their amounts up"),
                ));
            }
            let specs = other.spec.as_ref().zip(charge.spec.as_ref());
            if specs.is_some_and(|(one, other)| one != other) {
                return Err(Error::invalid(
                    format!("charges[{index}].spec"),
                    format!("must be that of charges[{first}], which names the same limit"),
                ));
            }
        }
    }
    Ok(())
}

/// The opaque name of a reservation: at most 4,096 bytes that only the backend that made it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReservationId(Box<str>);

impl ReservationId {
    /// Wraps what a caller sent.
    pub fn new(value: impl Into<String>) -> Result<Self> {
        let value = value.into();
        if value.is_empty() || value.len() > 4_096 {
            return Err(Error::invalid("reservation_id", "must be 1 to 4096 bytes"));
        }
        Ok(Self(value.into()))
    }

    /// Wraps what a backend made.
    pub(crate) fn minted(value: String) -> Self {
        Self(value.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ReservationId> for String {
    fn from(id: ReservationId) -> Self {
        id.0.into()
    }
}

/// How an acquire ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// The outcome.
    pub outcome: Outcome,
    /// What each charge met, in request order. Empty for a [`Outcome::Lost`] grant.
    pub charges: Vec<ChargeState>,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// How an acquire ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was taken.
    Granted(Option<Granted>),
    /// Nothing was taken; try again after so long.
    Denied(Micros),
    /// Nothing was taken, and this amount never will be.
    Never,
    /// Nothing was taken in time.
    TimedOut {
        /// Try again after so long.
        retry_after: Micros,
        /// The place in line that the call had, from 1.
        position: u32,
    },
    /// The repeat of a granted call whose reservation has ended.
    Lost,
}

/// The reservation that a grant made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its name.
    pub id: ReservationId,
    /// How long from now it lasts.
    pub ttl: Micros,
}

/// What a charge met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeState {
    /// Units available after the call; negative while there is debt.
    pub remaining: i64,
    /// How long until this charge alone fits; `None` when it does now.
    pub retry_after: Option<Micros>,
    /// The spec in force.
    pub spec: LimitSpec,
    /// Where the spec comes from.
    pub source: SpecSource,
    /// This call's inline spec replaced a different one.
    pub spec_replaced: bool,
}

/// Where a spec comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecSource {
    /// A request carried it.
    Inline,
    /// The configuration declares it.
    Configuration,
    /// `SetLimit` declared it.
    SetLimit,
}

/// What was really used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// These amounts; what is not named was used as reserved.
    Actual(Vec<ActualAmount>),
    /// Nothing: the work was never done.
    RefundAll,
}

/// What was really used of one charge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActualAmount {
    /// The limit.
    pub limit: Name,
    /// The bucket of it.
    pub key: Key,
    /// Units, 0 to [`super::MAX_AMOUNT`].
    pub amount: i64,
}

/// Ends a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settle {
    /// Where the limits live.
    pub namespace: Namespace,
    /// The reservation.
    pub reservation: ReservationId,
    /// What was really used.
    pub usage: Usage,
}

/// How a reservation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// How each charge ended, in the order in which they were taken.
    pub charges: Vec<SettledCharge>,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// How one charge of a reservation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledCharge {
    /// The limit.
    pub limit: Name,
    /// The bucket of it.
    pub key: Key,
    /// Units reserved.
    pub reserved: i64,
    /// Units really used.
    pub actual: i64,
    /// Units given back.
    pub refunded: i64,
    /// Units available after this.
    pub remaining: i64,
}

/// Renews a reservation and takes further charges into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExtendReservation {
    /// Where the limits live.
    pub namespace: Namespace,
    /// The reservation.
    pub reservation: ReservationId,
    /// How long from now it shall last; never shortens.
    pub ttl: Micros,
    /// Further charges.
    pub charges: Vec<Charge>,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
}

/// What becomes of a level when the spec changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LevelPolicy {
    /// A rate keeps the units available, a window the units used.
    #[default]
    KeepAmount,
    /// The available share stays the same, rounded down.
    KeepProportion,
    /// Full.
    Refill,
}

/// How daemons that share a store come to the units of a limit. In memory there is nobody to share with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Slices are taken ahead where a limit is hot and a daemon's share of it is worth it.
    #[default]
    Auto,
    /// Every call is decided in the store.
    Exact,
    /// As [`Sharing::Auto`], however small the share.
    Leased,
}

/// Another spec for one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyOverride {
    /// The key.
    pub key: Key,
    /// Its spec.
    pub spec: LimitSpec,
}

/// Declares or changes a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetLimit {
    /// Where the limit lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: Name,
    /// What it allows.
    pub spec: LimitSpec,
    /// Keys with a spec of their own, each once.
    pub overrides: Vec<KeyOverride>,
    /// What becomes of the level.
    pub level_policy: LevelPolicy,
    /// Who declares it: [`SpecSource::Configuration`] or [`SpecSource::SetLimit`].
    pub source: SpecSource,
    /// How daemons come to its units.
    pub sharing: Sharing,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
}

/// A limit as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Its name.
    pub name: Name,
    /// What it allows.
    pub spec: LimitSpec,
    /// Keys with a spec of their own.
    pub overrides: Vec<KeyOverride>,
    /// Where the spec comes from.
    pub source: SpecSource,
    /// Live buckets.
    pub buckets: usize,
    /// How daemons come to its units.
    pub sharing: Sharing,
}

/// Forgets a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeleteLimit {
    /// Where the limit lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: Name,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
}

/// Asks for a page of limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// Where the limits live.
    pub namespace: Namespace,
    /// At most so many.
    pub page_size: usize,
    /// Only names after this one; `None` from the start.
    pub after: Option<Name>,
}

/// A page of limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitPage {
    /// By name, in byte order.
    pub limits: Vec<LimitState>,
    /// There are more after the last one.
    pub more: bool,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// Asks for a page of a limit's live buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListBuckets {
    /// Where the limit lives.
    pub namespace: Namespace,
    /// Its name.
    pub limit: Name,
    /// At most so many.
    pub page_size: usize,
    /// Only keys after this one; `None` from the start.
    pub after: Option<Key>,
}

/// A page of buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPage {
    /// By key, in byte order.
    pub buckets: Vec<BucketState>,
    /// There are more after the last one.
    pub more: bool,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// A bucket as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketState {
    /// The limit.
    pub limit: Name,
    /// The key.
    pub key: Key,
    /// The spec in force.
    pub spec: LimitSpec,
    /// Where the spec comes from.
    pub source: SpecSource,
    /// Units available; negative while there is debt.
    pub remaining: i64,
    /// Units available when full.
    pub capacity: i64,
    /// How long until it is full when nothing else is charged.
    pub full_after: Micros,
    /// How long it stays paused; `None` when it is not.
    pub paused_for: Option<Micros>,
    /// Calls in line.
    pub waiters: usize,
    /// How daemons come to its units.
    pub sharing: Sharing,
    /// Slices that daemons hold.
    pub slices: usize,
    /// Units in them, as far as their holders have told: spent or not, nobody else can have them.
    pub stranded: i64,
    /// Units admitted above the limit: 0 as long as every answer was agreed by all.
    pub overshoot: i64,
}

/// Makes buckets full.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResetLimit {
    /// Where the limit lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: Name,
    /// Which bucket; `None` for every one.
    pub key: Option<Key>,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
}

/// Passes a provider's refusal on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReportThrottled {
    /// Where the limit lives.
    pub namespace: Namespace,
    /// The limit.
    pub limit: Name,
    /// The bucket of it.
    pub key: Key,
    /// The provider's retry-after.
    pub retry_after: Micros,
    /// What the provider says is left.
    pub remaining: Option<i64>,
    /// The spec to use when the limit is not declared.
    pub spec: Option<LimitSpec>,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
}

/// How much state limits keep, and what was decided since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsStatus {
    /// Namespaces in use.
    pub namespaces: usize,
    /// Limits, declared and inline.
    pub limits: usize,
    /// Buckets kept.
    pub buckets: usize,
    /// Calls waiting.
    pub waiters: usize,
    /// Reservations open or remembered.
    pub reservations: usize,
    /// Request ids remembered.
    pub request_ids: usize,
    /// Acquires admitted.
    pub granted: u64,
    /// Acquires denied.
    pub denied: u64,
    /// Acquires that could never be admitted.
    pub never: u64,
    /// Acquires that waited in vain.
    pub timed_out: u64,
    /// Of the admitted and denied ones, those decided out of slices, without asking the store.
    pub leased: u64,
    /// Slices that this daemon holds.
    pub slices: usize,
    /// Units left in them.
    pub slice_units: i64,
    /// Units of this daemon's that were found to be above a limit when they were merged.
    pub overshoot: u64,
}
