//! Pipelines on a real Redis, with the limits that obey them, against the suite of the pipelines port: through one daemon and
//! through three.

mod support;

use std::sync::Arc;
use support::{limits_config, through};
use trellis_conformance::pipelines::{Served, Settings, Subject};
use trellis_engine::ObeyedPipelines;
use trellis_redis::RedisPipelinesConfig;

async fn daemons(names: &[&str], settings: Settings) -> Subject {
    let config = RedisPipelinesConfig {
        max_namespaces: settings.max_namespaces,
    };
    through(names, |daemon| {
        let pipelines = daemon.pipelines(config, settings.bounds);
        let limits = daemon.limits(limits_config());
        let (pipelines, limits) = ObeyedPipelines::new(pipelines, limits);
        Arc::new(Served {
            pipelines: Arc::new(pipelines),
            limits: Arc::new(limits),
        })
    })
    .await
}

async fn one(settings: Settings) -> Subject {
    daemons(&["a"], settings).await
}

async fn three(settings: Settings) -> Subject {
    daemons(&["a", "b", "c"], settings).await
}

mod through_one_daemon {
    trellis_conformance::pipelines_conformance!(
        crate::one,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}

mod through_three_daemons {
    trellis_conformance::pipelines_conformance!(
        crate::three,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}
