//! The memory backends, obeying pipelines, against the suite of the pipelines port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use trellis_conformance::pipelines::{Settings, Subject};
use trellis_conformance::{PausedClock, spawn};
use trellis_core::Clock;
use trellis_core::pipelines::Base;
use trellis_engine::ObeyedPipelines;
use trellis_local::{MemoryLimits, MemoryLimitsConfig, MemoryPipelines, MemoryPipelinesConfig};

fn memory(settings: Settings) -> Subject {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let config = MemoryPipelinesConfig {
        max_namespaces: settings.max_namespaces,
    };
    let base = Base::new(&[], settings.bounds).unwrap();
    let pipelines = MemoryPipelines::new(base, config, clock.clone());
    let limits = Arc::new(MemoryLimits::new(MemoryLimitsConfig::default(), clock));
    let timers = limits.clone();
    spawn(async move { timers.run().await });
    let (pipelines, limits) = ObeyedPipelines::new(Arc::new(pipelines), limits);
    Subject::of_one(Arc::new(pipelines), Arc::new(limits))
}

trellis_conformance::pipelines_conformance!(memory);
