//! The cache on a real Redis against the suite of the cache port, through one daemon and through three, with near
//! copies and without.

mod support;

use std::sync::Arc;
use support::{Settled, cached, through};
use trellis_conformance::cache::{Settings, Subject};
use trellis_core::cache::Cache;
use trellis_redis::{NearConfig, RedisCacheConfig};

fn config(settings: Settings, near: Option<NearConfig>) -> RedisCacheConfig {
    RedisCacheConfig {
        machine: settings.machine,
        max_namespaces: settings.max_namespaces,
        near,
    }
}

async fn daemons(names: &[&str], settings: Settings) -> Subject {
    let config = config(settings, None);
    through(names, |daemon| daemon.cache(config) as Arc<dyn Cache>).await
}

async fn one(settings: Settings) -> Subject {
    daemons(&["a"], settings).await
}

async fn three(settings: Settings) -> Subject {
    daemons(&["a", "b", "c"], settings).await
}

/// What this daemon has done itself must be seen without waiting for word of it.
async fn near_one(settings: Settings) -> Subject {
    let config = config(settings, Some(cached::near()));
    through(&["a"], |daemon| daemon.cache(config) as Arc<dyn Cache>).await
}

/// What another daemon has done must be seen once word of it has come.
async fn near_three(settings: Settings) -> Subject {
    let config = config(settings, Some(cached::near()));
    let open = |daemon: &support::Daemon| Arc::new(Settled(daemon.cache(config))) as Arc<dyn Cache>;
    through(&["a", "b", "c"], open).await
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

mod near_through_one_daemon {
    trellis_conformance::cache_conformance!(
        crate::near_one,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}

mod near_through_three_daemons {
    trellis_conformance::cache_conformance!(
        crate::near_three,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}
