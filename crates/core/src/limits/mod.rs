//! Limits: the port that every backend implements, and the pure machine that decides in memory.
//!
//! - [`Limits`]: the port.
//! - [`AcquireRequest`], [`Acquired`] and their kin: what goes through it.
//! - [`FairShare`]: on whose account a call waits.
//! - [`LimitSpec`]: what a limit allows. [`Bucket`]: how much of it is left.
//! - [`leases`]: units taken from a shared store ahead of need, decided without I/O.
//! - [`Machine`]: all limits of one namespace, decided without I/O.

mod bucket;
mod calendar;
mod fair;
mod fallback;
pub mod leases;
mod machine;
mod port;
mod rate;
mod slots;
mod spec;
mod types;
mod window;

pub use bucket::{Bucket, Hold};
pub use fair::{FairShare, MAX_WEIGHT};
pub use fallback::{FallbackStatus, Reconcile, Share, Spent};
pub use machine::{Answer, Machine, MachineConfig, Receipt, Step, Ticket};
pub use port::{Acquiring, Limits};
pub use spec::{
    CalendarSpec, CalendarUnit, ConcurrencySpec, LimitSpec, MAX_AMOUNT, MAX_PERIOD, MIN_PERIOD,
    RateSpec, SUB_WINDOWS, WindowSpec,
};
pub use types::{
    AcquireRequest, Acquired, ActualAmount, BucketPage, BucketState, Charge, ChargeState,
    DeleteLimit, ExtendReservation, Granted, KeyOverride, LevelPolicy, LimitPage, LimitState,
    LimitsStatus, ListBuckets, ListLimits, Mode, Outcome, Priority, ReportThrottled, ReservationId,
    ResetLimit, SetLimit, Settle, Settled, SettledCharge, Sharing, SpecSource, Usage,
    check_charges,
};
