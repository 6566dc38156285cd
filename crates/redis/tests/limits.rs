//! Limits on a real Redis against the suite of the limits port, through one daemon and through three.

mod support;

use std::sync::Arc;
use support::{limits_config, through};
use trellis_conformance::limits::{Settings, Subject};
use trellis_core::limits::Limits;
use trellis_redis::RedisLimitsConfig;

async fn daemons(names: &[&str], settings: Settings) -> Subject {
    let config = RedisLimitsConfig {
        machine: settings.machine,
        max_namespaces: settings.max_namespaces,
        ..limits_config()
    };
    through(names, |daemon| daemon.limits(config) as Arc<dyn Limits>).await
}

async fn one(settings: Settings) -> Subject {
    daemons(&["a"], settings).await
}

async fn three(settings: Settings) -> Subject {
    daemons(&["a", "b", "c"], settings).await
}

mod through_one_daemon {
    trellis_conformance::limits_conformance!(
        crate::one,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}

mod through_three_daemons {
    trellis_conformance::limits_conformance!(
        crate::three,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}
