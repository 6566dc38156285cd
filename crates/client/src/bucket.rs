//! Looking at buckets, making them full, and pausing them.

use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::acquired::SpecSource;
use crate::convert;
use crate::definition::Sharing;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::scope::Scope;
use crate::spec::Spec;

/// The state of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The limit's name.
    pub limit: String,
    /// The key; empty for the shared bucket.
    pub key: String,
    /// The spec in force.
    pub spec: Spec,
    /// Where the spec in force comes from.
    pub source: SpecSource,
    /// Units available now; negative while there is debt.
    pub remaining: i64,
    /// Units available when full.
    pub capacity: i64,
    /// How long until it is full when nothing else is charged.
    pub full_after: Duration,
    /// How long it stays paused by `report_throttled`; `None` when it is not.
    pub paused_for: Option<Duration>,
    /// Calls in line.
    pub waiters: i64,
    /// How daemons come to its units.
    pub sharing: Sharing,
    /// Slices that daemons hold of it.
    pub slices: i64,
    /// Units in them, as far as their holders have told.
    pub stranded: i64,
    /// Units admitted above the limit.
    pub overshoot: i64,
}

/// The bucket that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// Its state.
    pub bucket: Bucket,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// A reset being put together. Made by [`Limits::reset_limit`].
#[derive(Clone, Debug)]
#[must_use = "a limit is not reset until the call is sent"]
pub struct ResetLimit {
    limits: Limits,
    name: String,
    key: Option<String>,
    request_id: String,
}

/// How many buckets were made full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Live buckets that were reset.
    pub buckets: i64,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

impl ResetLimit {
    pub(crate) fn new(limits: Limits, name: String) -> Self {
        Self {
            limits,
            name,
            key: None,
            request_id: String::new(),
        }
    }

    /// Resets the bucket of this key alone (empty: the shared bucket). Default: every bucket.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Makes a repeat with the same id get the first answer.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Sends the reset.
    pub async fn send(self) -> Result<Reset> {
        let request = self.limits.request(proto::ResetLimitRequest {
            namespace: self.limits.namespace_name(),
            name: self.name,
            key: self.key,
            request_id: self.request_id,
        });
        let answer = self.limits.stub().reset_limit(request).await?.into_inner();
        Ok(Reset {
            buckets: answer.buckets,
            scope: answer.scope.try_into()?,
        })
    }
}

/// A provider's refusal being passed on. Made by [`Limits::report_throttled`].
#[derive(Clone, Debug)]
#[must_use = "nothing is reported until the call is sent"]
pub struct ReportThrottled {
    limits: Limits,
    limit: String,
    key: String,
    retry_after: Duration,
    remaining: Option<i64>,
    spec: Option<Spec>,
    request_id: String,
}

/// The pause in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// How long from now the bucket stays paused.
    pub paused_for: Duration,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

impl ReportThrottled {
    pub(crate) fn new(limits: Limits, limit: String, retry_after: Duration) -> Self {
        let (key, request_id) = (String::new(), String::new());
        Self {
            limits,
            limit,
            key,
            retry_after,
            remaining: None,
            spec: None,
            request_id,
        }
    }

    /// Pauses the bucket of this key instead of the shared one.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// What the provider says is left (0 to 10^12): lowers the level to it, never raises it.
    pub fn remaining(mut self, remaining: i64) -> Self {
        self.remaining = Some(remaining);
        self
    }

    /// The spec to use when the limit is not declared, as the charges carry it.
    pub fn spec(mut self, spec: impl Into<Spec>) -> Self {
        self.spec = Some(spec.into());
        self
    }

    /// Makes a repeat with the same id get the first answer.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Sends the report.
    pub async fn send(self) -> Result<Throttled> {
        let request = self.limits.request(proto::ReportThrottledRequest {
            namespace: self.limits.namespace_name(),
            limit: self.limit,
            key: self.key,
            retry_after: Some(convert::to_proto(self.retry_after, "retry_after")?),
            remaining: self.remaining,
            spec: self.spec.map(TryInto::try_into).transpose()?,
            request_id: self.request_id,
        });
        let answer = self
            .limits
            .stub()
            .report_throttled(request)
            .await?
            .into_inner();
        Ok(Throttled {
            paused_for: convert::duration(answer.paused_for, "paused_for")?,
            scope: answer.scope.try_into()?,
        })
    }
}

impl TryFrom<proto::PeekResponse> for Peeked {
    type Error = Error;

    fn try_from(answer: proto::PeekResponse) -> Result<Self> {
        Ok(Self {
            bucket: convert::required(answer.bucket, "bucket")?.try_into()?,
            scope: answer.scope.try_into()?,
        })
    }
}

impl TryFrom<proto::Bucket> for Bucket {
    type Error = Error;

    fn try_from(bucket: proto::Bucket) -> Result<Self> {
        Ok(Self {
            limit: bucket.limit,
            key: bucket.key,
            spec: convert::required(bucket.spec, "bucket.spec")?.try_into()?,
            source: SpecSource::decode(bucket.source)?,
            remaining: bucket.remaining,
            capacity: bucket.capacity,
            // Unset by a daemon for which 0 is the default: full already.
            full_after: convert::optional_duration(bucket.full_after, "bucket.full_after")?
                .unwrap_or_default(),
            paused_for: convert::optional_duration(bucket.paused_for, "bucket.paused_for")?,
            waiters: bucket.waiters,
            sharing: Sharing::decode(bucket.sharing)?,
            slices: bucket.slices,
            stranded: bucket.stranded,
            overshoot: bucket.overshoot,
        })
    }
}
