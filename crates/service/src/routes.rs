//! Every service of the daemon, ready to be served.

use crate::announce::Announcer;
use crate::cache::{CacheRpc, CacheServer};
use crate::events::{EventRpc, EventServer};
use crate::jobs::{JobRpc, JobServer};
use crate::layers::EndOnDrain;
use crate::limits::{LimitRpc, LimitServer};
use crate::locks::{LockRpc, LockServer};
use crate::pipelines::PipelineServer;
use crate::status::StatusServer;
use crate::{RpcStats, ServiceConfig};
use futures::future::BoxFuture;
use http::{Request, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::server::NamedService as _;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;
use trellis_core::cache::Cache;
use trellis_core::events::Events;
use trellis_core::jobs::Jobs;
use trellis_core::limits::Limits;
use trellis_core::locks::Locks;
use trellis_core::pipelines::LivePipelines;
use trellis_core::{Clock, Cluster, Error, ErrorCode, Now, Result};
use trellis_proto::FILE_DESCRIPTOR_SET;
use trellis_proto::v1::cache_service_server::CacheServiceServer;
use trellis_proto::v1::event_service_server::EventServiceServer;
use trellis_proto::v1::job_service_server::JobServiceServer;
use trellis_proto::v1::limit_service_server::LimitServiceServer;
use trellis_proto::v1::lock_service_server::LockServiceServer;
use trellis_proto::v1::pipeline_service_server::PipelineServiceServer;
use trellis_proto::v1::status_service_server::StatusServiceServer;

/// What this daemon is.
#[derive(Clone, Copy, Debug)]
pub struct DaemonInfo {
    /// Its version, as in semver.org.
    pub version: &'static str,
    /// Whether many daemons share its stores.
    pub distributed: bool,
    /// When it started.
    pub started: Now,
}

/// What the services stand on.
pub struct Parts {
    /// Limits.
    pub limits: Arc<dyn Limits>,
    /// Locks.
    pub locks: Arc<dyn Locks>,
    /// Pipelines, whose limits `limits` must obey.
    pub pipelines: Arc<dyn LivePipelines>,
    /// The cache.
    pub cache: Arc<dyn Cache>,
    /// Events; `None` where the daemon keeps none, and then has no `EventService`.
    pub events: Option<Arc<dyn Events>>,
    /// Jobs; `None` where the daemon runs none, and then has no `JobService`.
    pub jobs: Option<Arc<dyn Jobs>>,
    /// Where changes made by calls are told.
    pub announcer: Announcer,
    /// Time, for latencies.
    pub clock: Arc<dyn Clock>,
    /// What `StatusService` tells.
    pub info: DaemonInfo,
    /// The shared store and its members; `None` in embedded mode.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Where latencies of streamed requests are noted, and what `StatusService` tells.
    pub stats: Arc<RpcStats>,
    /// Cancelled when the daemon begins to shut down: waiting calls then answer `DRAINING`, and
    /// streams end with the reason. Calls that need no waiting are still answered.
    pub drain: CancellationToken,
}

/// Sets what the health service answers.
#[derive(Clone, Debug)]
pub struct HealthHandle {
    reporter: HealthReporter,
    services: Vec<&'static str>,
}

impl HealthHandle {
    /// Sets the health of the daemon and of each service.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in &self.services {
            self.reporter.set_service_status(*service, status).await;
        }
    }
}

/// Every service, as one. Calls of limits and of the cache go to theirs at once: the router that serves the
/// others costs a call half a microsecond, more than the decision.
#[derive(Clone)]
pub struct Services {
    limits: LimitServiceServer<LimitServer>,
    cache: CacheServiceServer<CacheServer>,
    others: Routes,
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        // All of them always are.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match service(request.uri().path()) {
            Some(LimitServiceServer::<LimitServer>::NAME) => self.limits.call(request),
            Some(CacheServiceServer::<CacheServer>::NAME) => self.cache.call(request),
            _ => Box::pin(self.others.call(request)),
        }
    }
}

/// The service that a path names: `/<service>/<method>`.
fn service(path: &str) -> Option<&str> {
    let (service, _) = path.strip_prefix('/')?.split_once('/')?;
    Some(service)
}

/// Every service: limits, cache, locks, pipelines, events, jobs, status, health (not serving yet), and reflection v1 and v1alpha.
pub fn routes(parts: &Parts, config: ServiceConfig) -> Result<(Services, HealthHandle)> {
    let bytes = config.max_message_bytes;
    let streams = Arc::new(Semaphore::new(config.max_streams));
    let limits = LimitRpc::new(parts, &config, Arc::clone(&streams))?;
    let limits = LimitServiceServer::new(LimitServer(Arc::new(limits)))
        .max_decoding_message_size(bytes)
        .accept_compressed(Gzip);
    let cache = CacheServiceServer::new(CacheServer(Arc::new(CacheRpc::new(parts, &config)?)))
        .max_decoding_message_size(bytes)
        .accept_compressed(Gzip);
    let status = StatusServiceServer::new(StatusServer::new(parts))
        .max_decoding_message_size(bytes)
        .accept_compressed(Gzip);
    let pipelines = PipelineServer::new(parts, &config, Arc::clone(&streams))?;
    let pipelines = PipelineServiceServer::new(pipelines)
        .max_decoding_message_size(bytes)
        .accept_compressed(Gzip);
    let locks = LockRpc::new(parts, &config, streams)?;
    let locks = LockServiceServer::new(LockServer(Arc::new(locks)))
        .max_decoding_message_size(bytes)
        .accept_compressed(Gzip);
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let broken = |error: tonic_reflection::server::Error| {
        Error::new(
            ErrorCode::Internal,
            format!("the contract's descriptors: {error}"),
        )
    };
    let reflection_v1 = reflection().build_v1().map_err(broken)?;
    let reflection_v1alpha = reflection().build_v1alpha().map_err(broken)?;
    let mut others = Routes::new(status)
        .add_service(locks)
        .add_service(pipelines)
        .add_service(EndOnDrain::new(health, &parts.drain))
        .add_service(EndOnDrain::new(reflection_v1, &parts.drain))
        .add_service(EndOnDrain::new(reflection_v1alpha, &parts.drain));
    let mut names = vec![
        "",
        "trellis.v1.CacheService",
        "trellis.v1.LimitService",
        "trellis.v1.LockService",
        "trellis.v1.PipelineService",
        "trellis.v1.StatusService",
    ];
    others = add_kept(others, parts, &config, &mut names)?;
    let health = HealthHandle {
        reporter,
        services: names,
    };
    let services = Services {
        limits,
        cache,
        others: others.prepare(),
    };
    Ok((services, health))
}

/// Adds the services of what the daemon keeps in logs, and their names.
fn add_kept(
    mut others: Routes,
    parts: &Parts,
    config: &ServiceConfig,
    names: &mut Vec<&'static str>,
) -> Result<Routes> {
    let bytes = config.max_message_bytes;
    if let Some(events) = &parts.events {
        let events = EventRpc::new(parts, Arc::clone(events), config)?;
        let events = EventServiceServer::new(EventServer(Arc::new(events)))
            .max_decoding_message_size(bytes)
            .accept_compressed(Gzip);
        names.push(EventServiceServer::<EventServer>::NAME);
        others = others.add_service(events);
    }
    if let Some(jobs) = &parts.jobs {
        let jobs = JobRpc::new(parts, Arc::clone(jobs), config)?;
        let jobs = JobServiceServer::new(JobServer(Arc::new(jobs)))
            .max_decoding_message_size(bytes)
            .accept_compressed(Gzip);
        names.push(JobServiceServer::<JobServer>::NAME);
        others = others.add_service(jobs);
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_service() {
        let path = "/trellis.v1.LimitService/Acquire";
        assert_eq!(service(path), Some("trellis.v1.LimitService"));
        for other in [
            "",
            "/",
            "/trellis.v1.LimitService",
            "trellis.v1.LimitService/Acquire",
        ] {
            assert_eq!(service(other), None, "{other:?}");
        }
    }
}
