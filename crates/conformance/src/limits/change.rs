//! Mutations being put together, except for the acquire.

use super::Bench;
use super::dsl::{key, name};
use trellis_core::limits::{
    Acquired, Charge, ExtendReservation, KeyOverride, LevelPolicy, LimitSpec, LimitState,
    ReportThrottled, ReservationId, ResetLimit, SetLimit, Sharing, SpecSource,
};
use trellis_core::{Micros, RequestId, Result};

fn id(id: &str) -> RequestId {
    RequestId::new(id, "request_id").unwrap()
}

/// A declaration being put together.
pub(super) struct Definition(Bench, SetLimit);

impl Definition {
    pub fn new(bench: &Bench, limit: &str, spec: LimitSpec) -> Self {
        let set = SetLimit {
            namespace: bench.namespace.clone(),
            name: name(limit),
            spec,
            overrides: Vec::new(),
            level_policy: LevelPolicy::default(),
            source: SpecSource::SetLimit,
            sharing: Sharing::default(),
            request_id: None,
        };
        Self(bench.clone(), set)
    }

    pub fn with_override(mut self, of: &str, spec: LimitSpec) -> Self {
        self.1.overrides.push(KeyOverride { key: key(of), spec });
        self
    }

    pub fn policy(mut self, policy: LevelPolicy) -> Self {
        self.1.level_policy = policy;
        self
    }

    pub fn request_id(mut self, name: &str) -> Self {
        self.1.request_id = Some(id(name));
        self
    }

    /// Sends it; tells the limit and whether it is new.
    pub async fn send(self) -> Result<(LimitState, bool)> {
        let answer = self.0.port().set_limit(self.1).await;
        answer.map(|(limit, created, _)| (limit, created))
    }
}

/// An extension being put together.
pub(super) struct Extension(Bench, ExtendReservation);

impl Extension {
    pub fn new(bench: &Bench, reservation: &ReservationId, ttl: Micros) -> Self {
        let extend = ExtendReservation {
            namespace: bench.namespace.clone(),
            reservation: reservation.clone(),
            ttl,
            charges: Vec::new(),
            request_id: None,
        };
        Self(bench.clone(), extend)
    }

    pub fn taking(mut self, charges: impl Into<Vec<Charge>>) -> Self {
        self.1.charges = charges.into();
        self
    }

    pub fn request_id(mut self, name: &str) -> Self {
        self.1.request_id = Some(id(name));
        self
    }

    pub async fn send(self) -> Result<Acquired> {
        self.0.port().extend(self.1).await
    }
}

/// A reset being put together: of every bucket, unless a key is named.
pub(super) struct Reset(Bench, ResetLimit);

impl Reset {
    pub fn new(bench: &Bench, limit: &str) -> Self {
        let reset = ResetLimit {
            namespace: bench.namespace.clone(),
            name: name(limit),
            key: None,
            request_id: None,
        };
        Self(bench.clone(), reset)
    }

    pub fn only(mut self, of: &str) -> Self {
        self.1.key = Some(key(of));
        self
    }

    pub fn request_id(mut self, name: &str) -> Self {
        self.1.request_id = Some(id(name));
        self
    }

    /// Sends it; tells how many buckets were made full.
    pub async fn send(self) -> Result<usize> {
        let answer = self.0.port().reset_limit(self.1).await;
        answer.map(|(buckets, _)| buckets)
    }
}

/// A provider's refusal being passed on.
pub(super) struct Throttle(Bench, ReportThrottled);

impl Throttle {
    pub fn new(bench: &Bench, limit: &str, retry_after: Micros) -> Self {
        let report = ReportThrottled {
            namespace: bench.namespace.clone(),
            limit: name(limit),
            key: key(""),
            retry_after,
            remaining: None,
            spec: None,
            request_id: None,
        };
        Self(bench.clone(), report)
    }

    pub fn remaining(mut self, remaining: i64) -> Self {
        self.1.remaining = Some(remaining);
        self
    }

    pub fn spec(mut self, spec: LimitSpec) -> Self {
        self.1.spec = Some(spec);
        self
    }

    pub fn request_id(mut self, name: &str) -> Self {
        self.1.request_id = Some(id(name));
        self
    }

    /// Sends it; tells how long the bucket is paused now.
    pub async fn send(self) -> Result<Micros> {
        let answer = self.0.port().report_throttled(self.1).await;
        answer.map(|(paused, _)| paused)
    }
}
