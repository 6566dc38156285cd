//! The suite of the locks port, through one daemon and through three.

use crate::support::through;
use std::sync::Arc;
use trellis_conformance::locks::{Settings, Subject};
use trellis_core::locks::Locks;
use trellis_redis::RedisLocksConfig;

async fn daemons(names: &[&str], settings: Settings) -> Subject {
    let config = RedisLocksConfig {
        machine: settings.machine,
        max_namespaces: settings.max_namespaces,
        max_watchers: settings.max_watchers,
    };
    through(names, |daemon| daemon.locks(config) as Arc<dyn Locks>).await
}

async fn one(settings: Settings) -> Subject {
    daemons(&["a"], settings).await
}

async fn three(settings: Settings) -> Subject {
    daemons(&["a", "b", "c"], settings).await
}

mod through_one_daemon {
    trellis_conformance::locks_conformance!(
        super::one,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}

mod through_three_daemons {
    trellis_conformance::locks_conformance!(
        super::three,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}
