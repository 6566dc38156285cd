//! A store that comes and goes, and what its daemons admit meanwhile.

mod merging;
mod shares;
mod store;

use crate::{FallbackLimits, FallbackPolicy, Level};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use store::daemon;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trellis_conformance::limits::{Settings, Subject};
use trellis_conformance::{Pace, PausedClock, spawn};
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, ActualAmount, BucketPage, BucketState, Charge,
    ConcurrencySpec, DeleteLimit, ExtendReservation, FairShare, FallbackStatus, LimitPage,
    LimitSpec, LimitState, Limits, LimitsStatus, ListBuckets, ListLimits, Mode, Outcome, Priority,
    Reconcile, ReportThrottled, ResetLimit, SetLimit, Settle, Settled, Share, Spent, Usage,
    WindowSpec,
};
use trellis_core::{
    Clock, Error, ErrorCode, Key, Micros, Name, Namespace, RequestId, Result, Scope, StoreState,
    StoreView, Time,
};
use trellis_local::{MemoryLimits, MemoryLimitsConfig};

fn healthy(settings: Settings) -> Subject {
    let (_, limits, _) = daemon(settings, FallbackPolicy::default());
    Subject::new(vec![limits], Pace::Virtual)
}

mod over_a_healthy_store {
    trellis_conformance::limits_conformance!(super::healthy);
}
