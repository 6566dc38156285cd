//! Backends on the daemons of a test, and subjects of the suites made of them.

use super::{Daemon, Server, spawn};
use std::sync::Arc;
use trellis_conformance::{Pace, Subject};
use trellis_core::Micros;
use trellis_core::limits::MachineConfig;
use trellis_core::limits::leases::LeaseConfig;
use trellis_core::pipelines::{Base, PipelineBounds};
use trellis_redis::{
    AfterLoss, RedisCache, RedisCacheConfig, RedisLimits, RedisLimitsConfig, RedisLocks,
    RedisLocksConfig, RedisPipelines, RedisPipelinesConfig,
};

/// More than a round trip on a busy machine.
const TOLERANCE: Micros = Micros::from_millis(80);

/// The default bounds, and a few namespaces.
pub fn limits_config() -> RedisLimitsConfig {
    RedisLimitsConfig {
        machine: MachineConfig::default(),
        max_namespaces: 16,
        leases: LeaseConfig::default(),
        after_loss: AfterLoss::default(),
    }
}

/// The default bounds of locks.
pub fn locks_config() -> RedisLocksConfig {
    RedisLocksConfig {
        machine: trellis_core::locks::MachineConfig::default(),
        max_namespaces: 64,
        max_watchers: 64,
    }
}

/// As [`limits_config`], with sweeps that follow each other soon.
pub fn swept_limits_config() -> RedisLimitsConfig {
    RedisLimitsConfig {
        machine: MachineConfig {
            sweep_every: Micros::from_millis(50),
            ..MachineConfig::default()
        },
        ..limits_config()
    }
}

impl Daemon {
    /// Limits of this daemon, their task running.
    pub fn limits(&self, config: RedisLimitsConfig) -> Arc<RedisLimits> {
        let (store, membership) = (self.store.clone(), self.membership.clone());
        let (limits, task) = RedisLimits::open(store, membership, config, self.clock.clone());
        spawn(task.run(self.stop.clone()));
        limits
    }

    /// The cache of this daemon, its task running.
    pub fn cache(&self, config: RedisCacheConfig) -> Arc<RedisCache> {
        let (store, membership) = (self.store.clone(), self.membership.clone());
        let opened = RedisCache::open(store, membership, config, self.clock.clone());
        let (cache, task) = opened.unwrap();
        spawn(task.run(self.stop.clone()));
        cache
    }

    /// The pipelines of this daemon, without a configuration, their task running.
    pub fn pipelines(
        &self,
        config: RedisPipelinesConfig,
        bounds: PipelineBounds,
    ) -> Arc<RedisPipelines> {
        let base = Base::new(&[], bounds).unwrap();
        let (pipelines, task) = RedisPipelines::open(self.store.clone(), base, config);
        spawn(task.run(self.stop.clone()));
        pipelines
    }

    /// Locks of this daemon, their task running.
    pub fn locks(&self, config: RedisLocksConfig) -> Arc<RedisLocks> {
        let (store, membership) = (self.store.clone(), self.membership.clone());
        let (locks, task) = RedisLocks::open(store, membership, config, self.clock.clone());
        spawn(task.run(self.stop.clone()));
        locks
    }
}

/// A backend of a server of its own, through daemons of these names.
pub async fn through<P: ?Sized + Send + Sync + 'static>(
    names: &[&str],
    open: impl Fn(&Daemon) -> Arc<P>,
) -> Subject<P> {
    let server = Server::start().unwrap();
    let (mut daemons, mut handles) = (Vec::new(), Vec::new());
    for name in names {
        let daemon = Daemon::on(&server, name).await;
        handles.push(open(&daemon));
        daemons.push(daemon);
    }
    let pace = Pace::Wall {
        tolerance: TOLERANCE,
    };
    // The daemons end before their server.
    Subject::new(handles, pace).owning((daemons, server))
}
