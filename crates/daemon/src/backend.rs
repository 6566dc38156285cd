//! Which backends serve limits, cache and locks, and the tasks that they need.

use crate::caching;
use crate::config::Config;
use crate::declarations::{declare_once, keep_declared};
use crate::error::RunError;
use crate::locking;
use crate::supervisor::{Supervisor, TaskKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use trellis_core::cache::Cache;
use trellis_core::limits::leases::LeaseConfig;
use trellis_core::limits::{Limits, Reconcile, SetLimit};
use trellis_core::locks::Locks;
use trellis_core::pipelines::LivePipelines;
use trellis_core::{Clock, Cluster, StoreView};
use trellis_engine::{ObeyedPipelines, PipelineLimits};
use trellis_local::{MemoryLimits, MemoryPipelines};
use trellis_redis::{
    Identity, RedisCluster, RedisConfig, RedisLimits, RedisLimitsConfig, RedisPipelines,
    RedisPipelinesConfig, Start, Store,
};
use trellis_resilience::{CacheFallbackTask, FallbackLimits, FallbackTask, LocksFallbackTask};

/// The backend of a daemon.
pub(crate) struct Backend {
    pub limits: Arc<dyn Limits>,
    pub cache: Arc<dyn Cache>,
    pub locks: Arc<dyn Locks>,
    /// Pipelines, which `limits` obeys.
    pub pipelines: Arc<dyn LivePipelines>,
    /// The shared store and its members; `None` in embedded mode.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Left at the end.
    pub store: Option<Store>,
    joining: Option<Joining>,
}

/// What a start waits for in distributed mode.
struct Joining {
    /// The generation of the store in which every declared limit was tried last.
    tried: watch::Receiver<Option<u64>>,
    /// What the store knows of them is to be known here.
    pipelines: Arc<RedisPipelines>,
    /// How long it waits.
    within: Duration,
    /// Begins after that: a store that is not there *yet* is no store that was lost.
    fallback: FallbackTask,
    /// The same; `None` where the cache fails instead.
    cache_fallback: Option<CacheFallbackTask>,
    /// The same.
    locks_fallback: LocksFallbackTask,
}

impl Backend {
    /// Starts the tasks of the backend that the configuration names, for a daemon that listens on this
    /// address. Waits for nothing.
    pub(crate) fn start(
        config: &Config,
        listens_on: SocketAddr,
        clock: &Arc<dyn Clock>,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        match config.store(listens_on) {
            None => Self::embedded(config, clock, supervisor),
            Some(store) => Self::distributed(config, store, clock, supervisor),
        }
    }

    /// Waits until calls may come: in embedded mode until the declared limits are declared. In distributed
    /// mode until the store is attached and they have been tried there, for at most the connect timeout; a
    /// daemon whose store stays away goes on without it, and is joined to it when it comes.
    pub(crate) async fn ready(
        &mut self,
        config: &Config,
        supervisor: &mut Supervisor,
    ) -> Result<(), RunError> {
        let (Some(store), Some(mut joining)) = (&self.store, self.joining.take()) else {
            return declare_once(&*self.limits, &config.limits).await;
        };
        let until = Instant::now() + joining.within;
        let start = store
            .started()
            .await
            .map_err(|error| RunError::Store(error.to_string()))?;
        supervisor.start(TaskKind::Fallback, |stop| joining.fallback.run(stop));
        if let Some(task) = joining.cache_fallback {
            supervisor.start(TaskKind::CacheFallback, |stop| task.run(stop));
        }
        supervisor.start(TaskKind::LocksFallback, |stop| {
            joining.locks_fallback.run(stop)
        });
        match start {
            Start::Attached(_) => {
                let tried = joining.tried.wait_for(Option::is_some);
                if tokio::time::timeout_at(until, tried).await.is_err() {
                    tracing::warn!("serving before all limits of the configuration are declared");
                }
                let loaded = joining.pipelines.loaded();
                if tokio::time::timeout_at(until, loaded).await.is_err() {
                    tracing::warn!("serving before the settings of pipelines are known");
                }
            }
            Start::Degraded(health) => tracing::warn!(
                condition = ?health.condition,
                reason = %health.reason,
                "the store is away: starting degraded, joining when it is back"
            ),
        }
        Ok(())
    }

    fn embedded(
        config: &Config,
        clock: &Arc<dyn Clock>,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        let memory = Arc::new(MemoryLimits::new(config.memory_limits(), clock.clone()));
        let timer = memory.clone();
        supervisor.start(TaskKind::LimitsTimer, |stop| async move {
            stop.run_until_cancelled(timer.run()).await;
        });
        let locks = locking::own(config, clock, (&mut *supervisor, TaskKind::LocksTimer));
        let pipelines = config.memory_pipelines();
        let pipelines = MemoryPipelines::new(config.pipelines.clone(), pipelines, clock.clone());
        let (pipelines, limits) = ObeyedPipelines::new(Arc::new(pipelines), memory);
        Ok(Self {
            limits: Arc::new(limits),
            cache: caching::own(config, clock, (supervisor, TaskKind::CacheTimer))?,
            locks,
            pipelines: Arc::new(pipelines),
            cluster: None,
            store: None,
            joining: None,
        })
    }

    fn distributed(
        config: &Config,
        (redis, identity): (RedisConfig, Identity),
        clock: &Arc<dyn Clock>,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        tracing::info!(
            daemon = identity.daemon,
            advertise = identity.address,
            "sharing limits, the cache, locks and pipelines with every daemon on this Redis"
        );
        let within = redis.connect_timeout;
        let opened = Store::open(redis, identity, clock.clone());
        let (store, tasks, membership) =
            opened.map_err(|error| RunError::Store(error.to_string()))?;
        supervisor.start(TaskKind::StoreCalls, |stop| tasks.calls.run(stop));
        supervisor.start(TaskKind::StoreConnections, |stop| {
            tasks.connections.run(stop)
        });
        supervisor.start(TaskKind::Membership, |stop| tasks.membership.run(stop));
        let memory = config.memory_limits();
        let bounds = RedisLimitsConfig {
            machine: memory.machine,
            max_namespaces: memory.max_namespaces,
            leases: LeaseConfig::default(),
            after_loss: config.after_loss(),
        };
        let (limits, task) =
            RedisLimits::open(store.clone(), membership.clone(), bounds, clock.clone());
        supervisor.start(TaskKind::LimitsTimer, |stop| task.run(stop));
        let cluster = Arc::new(RedisCluster::new(store.clone(), membership.clone()));
        let locks = locking::shared(config, (&store, membership.clone()), clock, supervisor);
        let (locks, locks_fallback) =
            locking::with_fallback(config, locks, (&store, cluster.clone()), clock, supervisor);
        let cache = caching::shared(config, (&store, membership), clock, supervisor)?;
        let (cache, cache_fallback) =
            caching::with_fallback(config, cache, cluster.clone(), clock, supervisor)?;
        let (shared, fallback) =
            with_fallback(config, limits.clone(), cluster.clone(), clock, supervisor);
        let pipelines = shared_pipelines(config, &store, supervisor);
        let (obeying, obeyed) = ObeyedPipelines::new(pipelines.clone(), shared);
        let obeyed = Arc::new(obeyed);
        let tried = declare_in_every_history(config, &store, (&limits, &obeyed), supervisor);
        Ok(Self {
            limits: obeyed,
            cache,
            locks,
            pipelines: Arc::new(obeying),
            cluster: Some(cluster),
            store: Some(store),
            joining: Some(Joining {
                tried,
                pipelines,
                within,
                fallback,
                cache_fallback,
                locks_fallback,
            }),
        })
    }
}

/// Starts the task that declares the configuration's limits in the store; tells where all have been tried.
/// Calls that miss a limit wait for that. A limit that a pipeline has is not declared: the pipeline's stands above it.
fn declare_in_every_history(
    config: &Config,
    store: &Store,
    (limits, obeyed): (&Arc<RedisLimits>, &Arc<PipelineLimits>),
    supervisor: &mut Supervisor,
) -> watch::Receiver<Option<u64>> {
    let (sender, tried) = watch::channel(None);
    limits.await_declarations(tried.clone());
    let (sessions, declared) = (store.sessions(), config.limits.clone());
    let (limits, obeyed) = (Arc::clone(limits), Arc::clone(obeyed));
    let declare = move |limit: SetLimit| {
        let (limits, obeyed) = (Arc::clone(&limits), Arc::clone(&obeyed));
        async move {
            if obeyed
                .is_of_a_pipeline(&limit.namespace, &limit.name)
                .await?
            {
                return Ok(());
            }
            limits.set_limit(limit).await.map(drop)
        }
    };
    supervisor.start(TaskKind::Declarations, |stop| async move {
        stop.run_until_cancelled(keep_declared(sessions, declared, declare, sender))
            .await;
    });
    tried
}

/// Starts the pipelines that all daemons share.
fn shared_pipelines(
    config: &Config,
    store: &Store,
    supervisor: &mut Supervisor,
) -> Arc<RedisPipelines> {
    let bounds = RedisPipelinesConfig {
        max_namespaces: config.memory_pipelines().max_namespaces,
    };
    let base = config.pipelines.clone();
    let (pipelines, task) = RedisPipelines::open(store.clone(), base, bounds);
    supervisor.start(TaskKind::Pipelines, |stop| task.run(stop));
    pipelines
}

/// Puts limits of this daemon alone behind the shared ones, for the time in which the store is away.
fn with_fallback(
    config: &Config,
    shared: Arc<RedisLimits>,
    cluster: Arc<RedisCluster>,
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> (Arc<dyn Limits>, FallbackTask) {
    let local = Arc::new(MemoryLimits::new(config.memory_limits(), clock.clone()));
    let timer = local.clone();
    supervisor.start(TaskKind::FallbackTimer, |stop| async move {
        stop.run_until_cancelled(timer.run()).await;
    });
    let store = (
        shared.clone() as Arc<dyn Reconcile>,
        cluster as Arc<dyn StoreView>,
    );
    let (limits, task) =
        FallbackLimits::new(shared, local, store, config.fallback(), clock.clone());
    (limits, task)
}
