//! The cache's service and contract against the suite of the cache port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use trellis_conformance::cache::{Settings, Subject};
use trellis_conformance::{Pace, grpc};

fn over_grpc(settings: Settings) -> Subject {
    let (services, _) = support::caching(settings);
    let cache = grpc::GrpcCache::new(grpc::channel(services));
    Subject::new(vec![Arc::new(cache)], Pace::Virtual)
}

mod conformance {
    trellis_conformance::cache_conformance!(crate::over_grpc);
}
