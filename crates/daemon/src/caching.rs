//! Which cache a daemon serves: its own, or the shared one with its own behind it.

use crate::config::Config;
use crate::error::RunError;
use crate::supervisor::{Supervisor, TaskKind};
use std::sync::Arc;
use trellis_core::Clock;
use trellis_core::cache::Cache;
use trellis_local::MemoryCache;
use trellis_redis::{Membership, RedisCache, RedisCacheConfig, RedisCluster, Store};
use trellis_resilience::{CacheFallbackTask, FallbackCache};

/// Starts a cache of this daemon alone, its timer under this name.
pub(crate) fn own(
    config: &Config,
    clock: &Arc<dyn Clock>,
    (supervisor, kind): (&mut Supervisor, TaskKind),
) -> Result<Arc<dyn Cache>, RunError> {
    let cache = MemoryCache::new(config.memory_cache(), clock.clone());
    let cache = Arc::new(cache.map_err(RunError::Contract)?);
    let timer = Arc::clone(&cache);
    supervisor.start(kind, |stop| async move {
        stop.run_until_cancelled(timer.run()).await;
    });
    Ok(cache)
}

/// Starts the cache that all daemons share.
pub(crate) fn shared(
    config: &Config,
    (store, membership): (&Store, Membership),
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> Result<Arc<RedisCache>, RunError> {
    let memory = config.memory_cache();
    let bounds = RedisCacheConfig {
        machine: memory.machine,
        max_namespaces: memory.max_namespaces,
        near: config.near_cache(),
    };
    let opened = RedisCache::open(store.clone(), membership, bounds, clock.clone());
    let (cache, task) = opened.map_err(RunError::Contract)?;
    supervisor.start(TaskKind::CacheTimer, |stop| task.run(stop));
    Ok(cache)
}

/// Puts a cache of this daemon alone behind the shared one, for the time in which the store is away. The task begins
/// once the store has had its time to come.
pub(crate) fn with_fallback(
    config: &Config,
    shared: Arc<RedisCache>,
    cluster: Arc<RedisCluster>,
    clock: &Arc<dyn Clock>,
    supervisor: &mut Supervisor,
) -> Result<(Arc<dyn Cache>, Option<CacheFallbackTask>), RunError> {
    if !config.cache_falls_back() {
        return Ok((shared, None));
    }
    let local = own(config, clock, (supervisor, TaskKind::CacheFallbackTimer))?;
    let (cache, task) = FallbackCache::new(shared, local, cluster, clock.clone());
    Ok((cache, Some(task)))
}
