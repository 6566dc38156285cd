//! The port, one script for each method.

use super::RedisLimits;
use super::acquire::ttl;
use super::call::Done;
use super::convert::{self, BucketWire, LimitWire, SettledWire};
use super::failure::Asked;
use super::leasing::{Decided, may_be_leased};
use super::scripts::{
    DELETE_LIMIT, EXTEND, LIST_BUCKETS, LIST_LIMITS, PEEK, REPORT_THROTTLED, RESET_LIMIT,
    SET_LIMIT, SETTLE,
};
use super::wire::{Decision, Maybe, Spec};
use crate::Condition;
use async_trait::async_trait;
use serde::Serialize;
use std::sync::Arc;
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, DeleteLimit, ExtendReservation,
    LimitPage, LimitState, Limits, LimitsStatus, ListBuckets, ListLimits, ReportThrottled,
    ResetLimit, SetLimit, Settle, Settled, Usage, check_charges,
};
use trellis_core::{Key, Micros, Name, Namespace, Result, Scope};

/// `true`: everything is refunded.
#[derive(Serialize)]
#[serde(untagged)]
enum UsageWire<'a> {
    RefundAll(bool),
    Actual(Vec<(&'a str, &'a str, i64)>),
}

fn usage(usage: &Usage) -> UsageWire<'_> {
    match usage {
        Usage::RefundAll => UsageWire::RefundAll(true),
        Usage::Actual(amounts) => {
            let one = |it| {
                let it: &trellis_core::limits::ActualAmount = it;
                (it.limit.as_str(), it.key.as_str(), it.amount)
            };
            UsageWire::Actual(amounts.iter().map(one).collect())
        }
    }
}

/// What an error says of the limit that a call names.
fn about(limit: &Name) -> Asked<'_> {
    Asked {
        limit: Some(limit),
        ..Asked::default()
    }
}

impl RedisLimits {
    /// What this daemon holds of a bucket it can admit, like what is in the store.
    fn add_own(&self, namespace: &Namespace, bucket: &mut BucketState) {
        let (limit, key) = (bucket.limit.as_str(), bucket.key.as_str());
        bucket.remaining += self.leasing.left(namespace.as_str(), limit, key);
    }
}

#[async_trait]
impl Limits for RedisLimits {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        self.acquire_kept(&Arc::new(request))
    }

    fn acquire_kept(self: Arc<Self>, request: &Arc<AcquireRequest>) -> Acquiring {
        if let Err(error) = check_charges(&request.charges) {
            return Acquiring::done(Err(error));
        }
        if !may_be_leased(request) {
            return Acquiring::Waiting(Box::pin(self.acquire_all(Arc::clone(request))));
        }
        match self.leasing.decide(request, true) {
            Decided::Done(acquired) => {
                self.decided.count(&acquired.outcome);
                Acquiring::done(Ok(acquired))
            }
            decided => {
                let request = Arc::clone(request);
                Acquiring::Waiting(Box::pin(self.acquire_leased(request, decided)))
            }
        }
    }

    async fn settle(&self, settle: Settle) -> Result<Settled> {
        let args = (settle.reservation.as_str(), usage(&settle.usage));
        let done: Done<Vec<SettledWire>> = self
            .call(&SETTLE, &settle.namespace, &args, Asked::default())
            .await?;
        let (payload, at) = done.payload_at()?;
        let charges = convert::settled(payload)?;
        let namespace = settle.namespace.as_str();
        self.book
            .settled(namespace, &settle.reservation, &charges, at);
        Ok(Settled {
            charges,
            scope: Scope::Shared,
        })
    }

    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired> {
        check_charges(&extend.charges)?;
        let charges = convert::charges(&extend.charges);
        let (id, ttl) = (extend.reservation.as_str(), ttl(Some(extend.ttl)));
        let named = convert::request("extend", extend.request_id.as_ref(), &(id, ttl, &charges));
        let asked = Asked {
            charges: &extend.charges,
            request_id: extend.request_id.as_ref(),
            ..Asked::default()
        };
        let args = (id, ttl, &charges, &named);
        match self
            .call::<Decision>(&EXTEND, &extend.namespace, &args, asked)
            .await?
        {
            Done::Replayed {
                now,
                at,
                payload,
                until,
            } => convert::replayed(payload, now - at.min(now), until, now),
            done => {
                let (payload, at) = done.payload_at()?;
                let acquired = convert::acquired(payload)?;
                let (namespace, id) = (extend.namespace.as_str(), &extend.reservation);
                self.book
                    .extended(namespace, id, &extend.charges, &acquired, at);
                Ok(acquired)
            }
        }
    }

    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)> {
        let args = (limit.as_str(), key.as_str());
        let done: Done<BucketWire> = self.call(&PEEK, &namespace, &args, about(&limit)).await?;
        let mut bucket = convert::bucket(done.payload()?)?;
        self.add_own(&namespace, &mut bucket);
        Ok((bucket, Scope::Shared))
    }

    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)> {
        let overrides: Vec<(&str, Spec)> = set
            .overrides
            .iter()
            .map(|it| (it.key.as_str(), convert::spec(&it.spec)))
            .collect();
        let (name, spec) = (set.name.as_str(), convert::spec(&set.spec));
        let (policy, source) = (
            convert::policy(set.level_policy),
            convert::source(set.source),
        );
        let sharing = convert::sharing(set.sharing);
        let body = (name, &spec, &overrides, policy, source, sharing);
        let named = convert::request("set", set.request_id.as_ref(), &body);
        let args = (name, &spec, &overrides, policy, source, &named, sharing);
        let asked = Asked {
            request_id: set.request_id.as_ref(),
            ..Asked::default()
        };
        let done: Done<(LimitWire, bool)> =
            self.call(&SET_LIMIT, &set.namespace, &args, asked).await?;
        let (limit, created) = done.payload()?;
        Ok((convert::limit(limit)?, created, Scope::Shared))
    }

    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)> {
        let name = delete.name.as_str();
        let named = convert::request("delete", delete.request_id.as_ref(), &name);
        let asked = Asked {
            request_id: delete.request_id.as_ref(),
            ..Asked::default()
        };
        let done: Done<bool> = self
            .call(&DELETE_LIMIT, &delete.namespace, &(name, &named), asked)
            .await?;
        Ok((done.payload()?, Scope::Shared))
    }

    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage> {
        let args = (list.page_size, Maybe(list.after.as_ref().map(Name::as_str)));
        let done: Done<(Vec<LimitWire>, bool)> = self
            .call(&LIST_LIMITS, &list.namespace, &args, Asked::default())
            .await?;
        let (limits, more) = done.payload()?;
        let limits = limits
            .into_iter()
            .map(convert::limit)
            .collect::<Result<_>>()?;
        Ok(LimitPage {
            limits,
            more,
            scope: Scope::Shared,
        })
    }

    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage> {
        let after = Maybe(list.after.as_ref().map(Key::as_str));
        let args = (list.limit.as_str(), list.page_size, after);
        let done: Done<(Vec<BucketWire>, bool)> = self
            .call(&LIST_BUCKETS, &list.namespace, &args, about(&list.limit))
            .await?;
        let (buckets, more) = done.payload()?;
        let mut buckets: Vec<BucketState> = buckets
            .into_iter()
            .map(convert::bucket)
            .collect::<Result<_>>()?;
        for bucket in &mut buckets {
            self.add_own(&list.namespace, bucket);
        }
        Ok(BucketPage {
            buckets,
            more,
            scope: Scope::Shared,
        })
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        let (name, key) = (
            reset.name.as_str(),
            Maybe(reset.key.as_ref().map(Key::as_str)),
        );
        let named = convert::request("reset", reset.request_id.as_ref(), &(name, &key));
        let asked = Asked {
            request_id: reset.request_id.as_ref(),
            ..about(&reset.name)
        };
        let args = (name, &key, &named);
        let done: Done<usize> = self
            .call(&RESET_LIMIT, &reset.namespace, &args, asked)
            .await?;
        Ok((done.payload()?, Scope::Shared))
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        let (limit, key) = (report.limit.as_str(), report.key.as_str());
        let spec = Maybe(report.spec.as_ref().map(convert::spec));
        let (wait, remaining) = (report.retry_after.0, Maybe(report.remaining));
        let body = (limit, key, wait, &remaining, &spec);
        let named = convert::request("throttle", report.request_id.as_ref(), &body);
        let args = (limit, key, wait, &remaining, &spec, &named);
        let asked = Asked {
            request_id: report.request_id.as_ref(),
            ..about(&report.limit)
        };
        let done: Done<u64> = self
            .call(&REPORT_THROTTLED, &report.namespace, &args, asked)
            .await?;
        let (until, now) = done.payload_at()?;
        Ok((Micros(until.saturating_sub(now)), Scope::Shared))
    }

    fn status(&self) -> LimitsStatus {
        self.total_status()
    }

    fn scope(&self) -> Scope {
        let health = self.store.health();
        let health = health.borrow();
        match health.condition {
            Condition::Up => Scope::Shared,
            _ => Scope::Degraded {
                since: health.since.wall,
                reason: health.reason.clone(),
            },
        }
    }
}
