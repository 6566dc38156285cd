//! `StatusService`: what this daemon is and how it does.

use crate::convert::cache as spelled;
use crate::convert::events::durability;
use crate::convert::jobs::counts as job_counts;
use crate::convert::{count, duration, scope, timestamp};
use crate::{Parts, RpcStats};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use trellis_core::cache::Cache;
use trellis_core::events::Events;
use trellis_core::jobs::Jobs;
use trellis_core::limits::{FallbackStatus, Limits};
use trellis_core::locks::{Locks, LocksStatus};
use trellis_core::{Clock, Cluster, MemberState, Micros, StoreState};
use trellis_proto::v1::{self, status_service_server::StatusService};

use crate::DaemonInfo;

/// The service of the contract.
pub(crate) struct StatusServer {
    limits: Arc<dyn Limits>,
    locks: Arc<dyn Locks>,
    cache: Arc<dyn Cache>,
    events: Option<Arc<dyn Events>>,
    jobs: Option<Arc<dyn Jobs>>,
    clock: Arc<dyn Clock>,
    stats: Arc<RpcStats>,
    info: DaemonInfo,
    cluster: Option<Arc<dyn Cluster>>,
}

impl StatusServer {
    pub fn new(parts: &Parts) -> Self {
        Self {
            limits: Arc::clone(&parts.limits),
            locks: Arc::clone(&parts.locks),
            cache: Arc::clone(&parts.cache),
            events: parts.events.clone(),
            jobs: parts.jobs.clone(),
            clock: Arc::clone(&parts.clock),
            stats: Arc::clone(&parts.stats),
            info: parts.info,
            cluster: parts.cluster.clone(),
        }
    }
}

#[tonic::async_trait]
impl StatusService for StatusServer {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let limits = self.limits.status();
        let cache = self.cache.status();
        let mode = if self.info.distributed {
            v1::Mode::Distributed
        } else {
            v1::Mode::Embedded
        };
        let uptime = self.clock.now().mono - self.info.started.mono;
        let rpcs = self.stats.snapshot().into_iter().map(|rpc| v1::RpcStatus {
            name: rpc.name,
            calls: count(rpc.calls),
            errors: count(rpc.errors),
            p50: Some(duration(Micros::from(rpc.p50))),
            p90: Some(duration(Micros::from(rpc.p90))),
            p99: Some(duration(Micros::from(rpc.p99))),
            p999: Some(duration(Micros::from(rpc.p999))),
            max: Some(duration(Micros::from(rpc.max))),
        });
        Ok(Response::new(v1::GetStatusResponse {
            version: self.info.version.to_owned(),
            mode: mode.into(),
            started: Some(timestamp(self.info.started.wall)),
            uptime: Some(duration(uptime)),
            limits_scope: Some(scope(&self.limits.scope())),
            limits: Some(v1::LimitsStatus {
                namespaces: count(limits.namespaces),
                limits: count(limits.limits),
                buckets: count(limits.buckets),
                waiters: count(limits.waiters),
                reservations: count(limits.reservations),
                request_ids: count(limits.request_ids),
                granted: count(limits.granted),
                denied: count(limits.denied),
                never: count(limits.never),
                timed_out: count(limits.timed_out),
                leased: count(limits.leased),
                slices: count(limits.slices),
                slice_units: limits.slice_units,
                overshoot: count(limits.overshoot),
            }),
            locks_scope: Some(scope(&self.locks.scope())),
            locks: Some(locks(&self.locks.status())),
            rpcs: rpcs.collect(),
            store: self.cluster.as_ref().map(|cluster| store(cluster.store())),
            members: self.cluster.as_ref().map_or_else(Vec::new, |cluster| {
                cluster.members().into_iter().map(member).collect()
            }),
            cache_scope: Some(scope(&self.cache.scope())),
            cache: Some(v1::CacheStatus {
                namespaces: count(cache.namespaces),
                evictions: count(cache.evictions),
                stats: Some(spelled::stats(&cache.stats)),
            }),
            fallback: self.limits.fallback().map(fallback),
            events_scope: self.events.as_ref().map(|events| scope(&events.scope())),
            events: self.events.as_ref().map(|it| events(&**it)),
            jobs_scope: self.jobs.as_ref().map(|jobs| scope(&jobs.scope())),
            jobs: self.jobs.as_ref().map(|it| jobs(&**it)),
        }))
    }
}

fn locks(status: &LocksStatus) -> v1::LocksStatus {
    v1::LocksStatus {
        namespaces: count(status.namespaces),
        locks: count(status.locks),
        leases: count(status.leases),
        sessions: count(status.sessions),
        waiters: count(status.waiters),
        request_ids: count(status.request_ids),
        granted: count(status.granted),
        held: count(status.held),
        timed_out: count(status.timed_out),
        expired: count(status.expired),
        forced: count(status.forced),
    }
}

fn events(events: &dyn Events) -> v1::EventsStatus {
    let status = events.status();
    v1::EventsStatus {
        durability: durability(events.durability()).into(),
        topics: count(status.topics),
        events: count(status.events),
        bytes: count(status.bytes),
        groups: count(status.groups),
        leased: count(status.leased),
        retrying: count(status.retrying),
        dead_letters: count(status.dead),
        published: count(status.published),
        duplicates: count(status.duplicates),
        failure: status.failure.unwrap_or_default(),
    }
}

fn jobs(jobs: &dyn Jobs) -> v1::JobsStatus {
    let status = jobs.status();
    v1::JobsStatus {
        durability: durability(jobs.durability()).into(),
        queues: count(status.queues),
        counts: job_counts(status.counts),
        reserving: count(status.reserving),
        waiting: count(status.waiting),
        held_bytes: count(status.held_bytes),
        submitted: count(status.submitted),
        attempts: count(status.attempts),
        lost: count(status.lost),
        ended: job_counts(status.ended),
        failure: status.failure.unwrap_or_default(),
    }
}

fn store(state: StoreState) -> v1::StoreStatus {
    v1::StoreStatus {
        kind: state.kind.to_owned(),
        address: state.address,
        up: state.up,
        condition: state.condition,
        since: Some(timestamp(state.since)),
        reason: state.reason.to_string(),
        generation: count(state.generation),
        incarnation: count(state.incarnation),
        calls_in_flight: count(state.calls_in_flight),
    }
}

fn fallback(status: FallbackStatus) -> v1::FallbackStatus {
    let reason = status.outage.as_ref().map(|(_, reason)| reason.to_string());
    v1::FallbackStatus {
        open: status.outage.is_some(),
        since: status.outage.map(|(since, _)| timestamp(since)),
        reason: reason.unwrap_or_default(),
        shares: count(status.share.map_or(0, |share| share.count)),
        outages: count(status.outages),
        decisions: count(status.decisions),
        unmerged_buckets: count(status.unmerged_buckets),
        unmerged_units: status.unmerged_units,
    }
}

fn member(state: MemberState) -> v1::Member {
    v1::Member {
        daemon: state.daemon,
        incarnation: count(state.incarnation),
        version: state.version,
        protocol: i32::try_from(state.protocol).unwrap_or(i32::MAX),
        address: state.address,
        silence: Some(duration(state.silence)),
        attached: state.attached,
        this_daemon: state.this_daemon,
    }
}
