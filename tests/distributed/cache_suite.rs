//! The suite of the cache port over gRPC, through three real daemons on one real Redis, and through one that answers from
//! near copies.
//!
//! Calls of a case go to the daemons by turns, so what one has done is read at another: with `read = SHARED`, since near
//! copies are behind by as long as a message takes. What a daemon has done itself its own copies show at once.

use crate::{TOLERANCE, start, variables};
use std::sync::{Arc, Mutex};
use trellis_conformance::cache::{Settings, Subject};
use trellis_conformance::{Pace, grpc, limits};
use trellis_core::cache::{Cache, ReadFrom};
use trellis_tests::redis::Redis;

async fn over_grpc(count: usize, read: ReadFrom, settings: Settings) -> Subject {
    let redis = Redis::start().unwrap();
    let mut variables = variables(&redis, limits::Settings::default());
    let machine = settings.machine;
    let bounds = [
        ("TRELLIS_CACHE__MAX_NAMESPACES", settings.max_namespaces),
        ("TRELLIS_CACHE__MAX_VALUE_BYTES", machine.max_value_bytes),
        ("TRELLIS_CACHE__MAX_FILL_BYTES", machine.max_fill_bytes),
        ("TRELLIS_CACHE__MAX_LEASES", machine.max_leases),
        ("TRELLIS_CACHE__MAX_WAITERS", machine.max_waiters),
        ("TRELLIS_CACHE__MAX_FAILURES", machine.max_failures),
        ("TRELLIS_CACHE__MAX_TAGS", machine.max_tags),
        ("TRELLIS_CACHE__MAX_FENCES", machine.max_fences),
        // A value above its bound must reach the daemon.
        ("TRELLIS_GRPC__MAX_MESSAGE_BYTES", 16 * 1024 * 1024),
    ];
    variables.extend(bounds.map(|(name, bound)| (name, bound.to_string())));
    let daemons = start(count, &variables);
    let mut handles = Vec::new();
    for daemon in &daemons {
        let cache = grpc::GrpcCache::new(daemon.connect().await).reading(read);
        handles.push(Arc::new(cache) as Arc<dyn Cache>);
    }
    let pace = Pace::Wall {
        tolerance: TOLERANCE,
    };
    Subject::new(handles, pace).owning(Mutex::new((daemons, redis)))
}

async fn three(settings: Settings) -> Subject {
    over_grpc(3, ReadFrom::Store, settings).await
}

async fn one(settings: Settings) -> Subject {
    over_grpc(1, ReadFrom::Near, settings).await
}

mod through_three_daemons {
    trellis_conformance::cache_conformance!(
        super::three,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}

mod through_near_copies {
    trellis_conformance::cache_conformance!(
        super::one,
        #[tokio::test]
        #[cfg_attr(no_redis, ignore = "no redis-server")]
    );
}
