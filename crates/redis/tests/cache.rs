//! The cache on a real Redis against the suite of the cache port, through one daemon and through three.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use support::{Server, identity, spawn};
use tokio_util::sync::CancellationToken;
use trellis_conformance::Pace;
use trellis_conformance::cache::{Settings, Subject};
use trellis_core::Micros;
use trellis_core::cache::Cache;
use trellis_redis::{RedisCache, RedisCacheConfig, RedisConfig, Store};

/// More than a round trip on a busy machine.
const TOLERANCE: Micros = Micros::from_millis(80);

/// A server, and daemons' caches on it, until the case has ended.
struct Shared {
    _server: Server,
    stop: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn daemon(
    server: &Server,
    name: &str,
    settings: Settings,
    stop: &CancellationToken,
) -> Arc<dyn Cache> {
    let clock = support::TestClock::new();
    let config = RedisConfig {
        port: server.port,
        ..RedisConfig::default()
    };
    let (store, tasks, membership) = Store::open(config, identity(name), clock.clone()).unwrap();
    spawn(tasks.calls.run(stop.clone()));
    spawn(tasks.connections.run(stop.clone()));
    spawn(tasks.membership.run(stop.clone()));
    store.started().await.unwrap();
    let config = RedisCacheConfig {
        machine: settings.machine,
        max_namespaces: settings.max_namespaces,
    };
    let (cache, task) = RedisCache::open(store, membership, config, clock);
    spawn(task.run(stop.clone()));
    cache
}

async fn daemons(names: &[&str], settings: Settings) -> Subject {
    let server = Server::start().unwrap();
    let stop = CancellationToken::new();
    let mut handles = Vec::new();
    for name in names {
        handles.push(daemon(&server, name, settings, &stop).await);
    }
    Subject::new(
        handles,
        Pace::Wall {
            tolerance: TOLERANCE,
        },
    )
    .owning(Shared {
        _server: server,
        stop,
    })
}

async fn one(settings: Settings) -> Subject {
    daemons(&["a"], settings).await
}

async fn three(settings: Settings) -> Subject {
    daemons(&["a", "b", "c"], settings).await
}

mod through_one_daemon {
    trellis_conformance::cache_conformance!(
        crate::one,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}

mod through_three_daemons {
    trellis_conformance::cache_conformance!(
        crate::three,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}
