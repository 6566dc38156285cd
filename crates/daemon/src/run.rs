//! Puts the daemon together and runs it until it is told to end.

use crate::announcing::{Voice, Watched, announce};
use crate::backend::Backend;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::connection::Acceptor;
use crate::error::RunError;
use crate::eventing::Eventing;
use crate::http::DaemonMetrics;
use crate::queueing::Queueing;
use crate::readiness::{Phase, Readiness};
use crate::supervisor::{Supervisor, TaskKind};
use crate::{grpc, http};
use serde_json::json;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use trellis_core::events::Events;
use trellis_core::limits::Limits;
use trellis_core::{Clock, Namespace};
use trellis_proto::DEFAULT_NAMESPACE;
use trellis_redis::Store;
use trellis_service::{Announcer, DaemonInfo, HealthHandle, Parts, RpcStats, routes};

/// Connections to the HTTP port: a handful of scrapers and probes.
const HTTP_CONNECTIONS: usize = 256;

/// How long such a connection may be silent; longer than probes pause, so that theirs are used again.
const HTTP_SILENCE: Duration = Duration::from_secs(30);

/// The ports of a daemon, bound already.
#[derive(Debug)]
pub struct Listeners {
    /// Where gRPC is served.
    pub grpc: TcpListener,
    /// Where metrics and probes are served.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds the addresses that the configuration names.
    pub async fn bind(config: &Config) -> Result<Self, RunError> {
        Ok(Self {
            grpc: bind("listen", config.settings.listen).await?,
            http: bind("http_listen", config.settings.http_listen).await?,
        })
    }
}

async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Bind {
            setting,
            address,
            source,
        })
}

/// Runs a daemon until `shutdown` completes and everything has ended in order. While it starts there is
/// nothing to end: it returns at once then.
///
/// Dropping the future cuts at once whatever is in flight.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut shutdown = pin!(shutdown);
    let mut daemon = tokio::select! {
        biased;
        started = Daemon::start(config, listeners) => started?,
        () = &mut shutdown => {
            tracing::info!("told to end while starting");
            return Ok(());
        }
    };
    let fault = tokio::select! {
        fault = daemon.supervisor.critical_fault() => Some(fault),
        () = shutdown => None,
    };
    let ended = daemon.shut_down().await;
    match fault {
        Some(task) => Err(RunError::Task(task.name())),
        None => ended,
    }
}

/// What the shutdown needs of a running daemon.
pub(crate) struct Daemon {
    pub supervisor: Supervisor,
    pub readiness: Arc<Readiness>,
    pub health: HealthHandle,
    pub limits: Arc<dyn Limits>,
    pub eventing: Eventing,
    pub queueing: Queueing,
    /// Tells what happens to the daemon itself.
    pub voice: Voice,
    /// The shared store, to be left; `None` in embedded mode.
    pub store: Option<Store>,
    /// Ends waiting calls and streams.
    pub drain: CancellationToken,
    /// Makes every gRPC connection fail.
    pub cut: CancellationToken,
    pub timeout: Duration,
    /// Makes every connection fail when the daemon is dropped.
    _cut_all: DropGuard,
}

impl Daemon {
    async fn start(config: Config, listeners: Listeners) -> Result<Self, RunError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let cut_all = CancellationToken::new();
        let mut supervisor = Supervisor::default();
        let address = listeners.grpc.local_addr();
        let listens_on = *address.as_ref().unwrap_or(&config.settings.listen);
        let mut backend = Backend::start(&config, listens_on, &clock, &mut supervisor)?;
        let eventing = Eventing::start(&config, &clock, &mut supervisor).await?;
        let queueing = Queueing::start(&config, &clock, &backend, &mut supervisor).await?;
        let parts = parts(&backend, (&eventing, &queueing), listens_on, clock);
        queueing.announce(&config, &parts.announcer, &mut supervisor);
        let readiness = Arc::new(Readiness::default());
        let pages = http::router(metrics(&parts, &readiness), Arc::clone(&readiness));
        log_address("serving HTTP", listeners.http.local_addr());
        let acceptor = Acceptor::new(
            listeners.http,
            HTTP_CONNECTIONS,
            HTTP_SILENCE,
            cut_all.child_token(),
        );
        supervisor.start(TaskKind::HttpServer, |stop| {
            http::serve(acceptor, pages, stop)
        });

        backend.ready(&config, &mut supervisor).await?;
        let (services, health) = routes(&parts, config.service()).map_err(RunError::Contract)?;
        let settings = config.settings.grpc;
        let cut = cut_all.child_token();
        let acceptor = Acceptor::new(
            listeners.grpc,
            settings.max_connections,
            settings.silence(),
            cut.clone(),
        );
        let stats = Arc::clone(&parts.stats);
        supervisor.start(TaskKind::GrpcServer, |stop| {
            grpc::serve(settings, acceptor, services, stats, stop)
        });
        let voice = start_announcing(&parts, &mut supervisor)?;
        health.set_serving(true).await;
        readiness.advance(Phase::Serving);
        log_address("serving gRPC", address);
        Ok(Self {
            supervisor,
            readiness,
            health,
            limits: parts.limits,
            eventing,
            queueing,
            voice,
            store: backend.store,
            drain: parts.drain,
            cut,
            timeout: config.settings.shutdown_timeout.into(),
            _cut_all: cut_all.drop_guard(),
        })
    }
}

/// What the services stand on, in a daemon that listens on this address.
fn parts(
    backend: &Backend,
    (eventing, queueing): (&Eventing, &Queueing),
    listens_on: SocketAddr,
    clock: Arc<dyn Clock>,
) -> Parts {
    let source = format!("/trellis/{listens_on}");
    let events: Arc<dyn Events> = eventing.engine.clone();
    let announcer = Announcer::new(Some(Arc::clone(&events)), Arc::clone(&clock), &source);
    Parts {
        limits: Arc::clone(&backend.limits),
        locks: Arc::clone(&backend.locks),
        pipelines: Arc::clone(&backend.pipelines),
        cache: Arc::clone(&backend.cache),
        events: Some(events),
        jobs: Some(queueing.engine.clone()),
        announcer,
        cluster: backend.cluster.clone(),
        stats: Arc::new(RpcStats::new(Arc::clone(&clock))),
        info: DaemonInfo {
            version: env!("CARGO_PKG_VERSION"),
            distributed: backend.store.is_some(),
            started: clock.now(),
        },
        clock,
        drain: CancellationToken::new(),
    }
}

/// Tells that the daemon serves, and from now on how the shared store fares.
fn start_announcing(parts: &Parts, supervisor: &mut Supervisor) -> Result<Voice, RunError> {
    let namespace = Namespace::new(DEFAULT_NAMESPACE, "namespace").map_err(RunError::Contract)?;
    let voice = Voice(parts.announcer.clone(), namespace);
    let mode = if parts.info.distributed {
        "distributed"
    } else {
        "embedded"
    };
    let data = json!({"version": parts.info.version, "mode": mode});
    voice.tell("trellis.daemon.started", "daemon", &data);
    let watched = Watched {
        limits: Arc::clone(&parts.limits),
        cache: Arc::clone(&parts.cache),
        locks: Arc::clone(&parts.locks),
        cluster: parts.cluster.clone(),
    };
    let telling = voice.clone();
    supervisor.start(TaskKind::Announcing, |stop| {
        announce(watched, telling, stop)
    });
    Ok(voice)
}

fn metrics(parts: &Parts, readiness: &Arc<Readiness>) -> DaemonMetrics {
    DaemonMetrics {
        limits: Arc::clone(&parts.limits),
        locks: Arc::clone(&parts.locks),
        cache: Arc::clone(&parts.cache),
        events: parts.events.clone(),
        jobs: parts.jobs.clone(),
        cluster: parts.cluster.clone(),
        stats: Arc::clone(&parts.stats),
        readiness: Arc::clone(readiness),
        clock: Arc::clone(&parts.clock),
        started: parts.info.started,
    }
}

/// One line for each port, so that whoever asked for port 0 learns which one it is.
fn log_address(message: &'static str, address: io::Result<SocketAddr>) {
    match address {
        Ok(address) if address.ip().to_canonical().is_loopback() => {
            tracing::info!(%address, "{message}");
        }
        Ok(address) => {
            tracing::info!(%address, "{message}");
            tracing::warn!(%address, "callers are neither authenticated nor encrypted");
        }
        Err(error) => tracing::warn!(%error, "{message} on an unknown address"),
    }
}
