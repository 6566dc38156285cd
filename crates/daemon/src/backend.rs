//! Which backends serve the limits and the cache, and the tasks that they need.

use crate::config::Config;
use crate::error::RunError;
use crate::supervisor::{Supervisor, TaskKind};
use std::sync::Arc;
use std::time::Duration;
use trellis_core::cache::Cache;
use trellis_core::limits::leases::LeaseConfig;
use trellis_core::limits::{Limits, Reconcile, SetLimit};
use trellis_core::{Clock, Cluster, StoreView};
use trellis_local::{MemoryCache, MemoryLimits};
use trellis_redis::{
    Identity, Membership, RedisCache, RedisCacheConfig, RedisCluster, RedisConfig, RedisLimits,
    RedisLimitsConfig, Start, Store,
};
use trellis_resilience::{FallbackCache, FallbackLimits};

/// The backend of a daemon.
pub(crate) struct Backend {
    pub limits: Arc<dyn Limits>,
    pub cache: Arc<dyn Cache>,
    /// The shared store and its members; `None` in embedded mode.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Left at the end.
    pub store: Option<Store>,
}

impl Backend {
    /// Starts the backend that the configuration names. Its declared limits are declared when this returns,
    /// or, while the store is away, as soon as it is there.
    pub(crate) async fn start(
        config: &Config,
        clock: &Arc<dyn Clock>,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        match config.store() {
            None => Self::embedded(config, clock, supervisor).await,
            Some(store) => Self::distributed(config, store, clock, supervisor).await,
        }
    }

    async fn embedded(
        config: &Config,
        clock: &Arc<dyn Clock>,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        let memory = Arc::new(MemoryLimits::new(config.memory_limits(), clock.clone()));
        let timer = memory.clone();
        supervisor.start(TaskKind::LimitsTimer, |stop| async move {
            stop.run_until_cancelled(timer.run()).await;
        });
        declare(&*memory, &config.limits).await?;
        Ok(Self {
            limits: memory,
            cache: own_cache(config, clock, supervisor, TaskKind::CacheTimer)?,
            cluster: None,
            store: None,
        })
    }

    async fn distributed(
        config: &Config,
        (redis, identity): (RedisConfig, Identity),
        clock: &Arc<dyn Clock>,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        tracing::info!(
            daemon = identity.daemon,
            advertise = identity.address,
            "sharing limits and the cache with every daemon on this Redis"
        );
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
        };
        let (limits, task) =
            RedisLimits::open(store.clone(), membership.clone(), bounds, clock.clone());
        supervisor.start(TaskKind::LimitsTimer, |stop| task.run(stop));
        let cluster = Arc::new(RedisCluster::new(store.clone(), membership.clone()));
        match store.started().await {
            Ok(Start::Attached(_)) => declare(&*limits, &config.limits).await?,
            Ok(Start::Degraded(health)) => tracing::warn!(
                condition = ?health.condition,
                reason = %health.reason,
                "the store is away: starting degraded, joining when it is back"
            ),
            Err(error) => return Err(RunError::Store(error.to_string())),
        }
        let (again, declared) = (limits.clone(), config.limits.clone());
        let sessions = store.clone();
        supervisor.start(TaskKind::Declarations, |stop| async move {
            stop.run_until_cancelled(keep_declared(sessions, again, declared))
                .await;
        });
        let cache = shared_cache(config, (&store, membership), clock, supervisor);
        Ok(Self {
            limits: with_fallback(config, limits, cluster.clone(), clock, supervisor),
            cache: cache_with_fallback(config, cache, cluster.clone(), clock, supervisor)?,
            cluster: Some(cluster),
            store: Some(store),
        })
    }
}

/// Puts limits of this daemon alone behind the shared ones, for the time in which the store is away.
fn with_fallback(
    config: &Config,
    shared: Arc<RedisLimits>,
    cluster: Arc<RedisCluster>,
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> Arc<dyn Limits> {
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
    supervisor.start(TaskKind::Fallback, |stop| task.run(stop));
    limits
}

/// Starts a cache of this daemon alone.
fn own_cache(
    config: &Config,
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
    timer_kind: TaskKind,
) -> Result<Arc<dyn Cache>, RunError> {
    let cache = MemoryCache::new(config.memory_cache(), clock.clone());
    let cache = Arc::new(cache.map_err(RunError::Contract)?);
    let timer = Arc::clone(&cache);
    supervisor.start(timer_kind, |stop| async move {
        stop.run_until_cancelled(timer.run()).await;
    });
    Ok(cache)
}

/// Starts the cache that all daemons share.
fn shared_cache(
    config: &Config,
    (store, membership): (&Store, Membership),
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> Arc<RedisCache> {
    let memory = config.memory_cache();
    let bounds = RedisCacheConfig {
        machine: memory.machine,
        max_namespaces: memory.max_namespaces,
    };
    let (cache, task) = RedisCache::open(store.clone(), membership, bounds, clock.clone());
    supervisor.start(TaskKind::CacheTimer, |stop| task.run(stop));
    cache
}

/// Puts a cache of this daemon alone behind the shared one, for the time in which the store is away.
fn cache_with_fallback(
    config: &Config,
    shared: Arc<RedisCache>,
    cluster: Arc<RedisCluster>,
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> Result<Arc<dyn Cache>, RunError> {
    if !config.cache_falls_back() {
        return Ok(shared);
    }
    let local = own_cache(config, clock, supervisor, TaskKind::CacheFallbackTimer)?;
    let (cache, task) = FallbackCache::new(shared, local, cluster, clock.clone());
    supervisor.start(TaskKind::CacheFallback, |stop| task.run(stop));
    Ok(cache)
}

/// Declares the configuration's limits before the first call can ask for them.
async fn declare(limits: &dyn Limits, declared: &[SetLimit]) -> Result<(), RunError> {
    for (index, limit) in declared.iter().enumerate() {
        if let Err(error) = limits.set_limit(limit.clone()).await {
            return Err(RunError::Declared { index, error });
        }
    }
    Ok(())
}

/// How long to wait before a declaration that failed is tried again.
const DECLARE_AGAIN: Duration = Duration::from_secs(1);

/// Declares the configuration's limits anew in every history of the store that does not know them.
async fn keep_declared(store: Store, limits: Arc<RedisLimits>, declared: Vec<SetLimit>) {
    let mut sessions = store.sessions();
    let mut done = sessions
        .borrow_and_update()
        .map(|session| session.generation);
    loop {
        let generation = sessions
            .borrow_and_update()
            .map(|session| session.generation);
        if generation.is_some() && generation != done {
            match declare(&*limits, &declared).await {
                Ok(()) => done = generation,
                Err(error) => {
                    tracing::warn!(%error, "the configuration's limits are not declared yet");
                    tokio::time::sleep(DECLARE_AGAIN).await;
                    continue;
                }
            }
        }
        if sessions.changed().await.is_err() {
            return;
        }
    }
}
