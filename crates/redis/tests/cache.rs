//! The cache on a real Redis against the suite of the cache port, through one daemon and through three.

mod support;

use std::sync::Arc;
use support::through;
use trellis_conformance::cache::{Settings, Subject};
use trellis_core::cache::Cache;
use trellis_redis::RedisCacheConfig;

async fn daemons(names: &[&str], settings: Settings) -> Subject {
    let config = RedisCacheConfig {
        machine: settings.machine,
        max_namespaces: settings.max_namespaces,
    };
    through(names, |daemon| daemon.cache(config) as Arc<dyn Cache>).await
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
