//! Engines under the suite's settings, on logs of every kind.

use crate::shared::{self, Tasks};
use async_trait::async_trait;
use std::sync::Arc;
use trellis_conformance::jobs::{Settings, declare_limits};
use trellis_conformance::spawn;
use trellis_core::jobs::{
    Assigned, Attempt, AttemptEnd, Chunk, JobId, JobSpec, JobState, Jobs, QueueId, Reserve,
};
use trellis_core::log::{
    Appending, Batch, Bounds, Durability, Log, LogLimits, LogResult, Offset, Partition, Read,
};
use trellis_core::{Clock, Micros, Name, Namespace, Result, Time};
use trellis_engine::{JobEngine, JobPorts, JobsConfig};
use trellis_local::log::{DEFAULT_LIMITS, DiskLogOptions, MemoryLog, MemoryLogOptions};
use trellis_local::{MemoryCache, MemoryCacheConfig, MemoryLimits, MemoryLimitsConfig};

pub use crate::shared::clock;

/// Few, so that queues share them.
const PARTITIONS: u32 = 2;

pub const LIMITS: LogLimits = LogLimits {
    partitions: PARTITIONS,
    ..DEFAULT_LIMITS
};

pub fn config(settings: Settings) -> JobsConfig {
    JobsConfig {
        partitions: PARTITIONS,
        lease: settings.lease,
        max_jobs: settings.max_jobs,
        max_queues: settings.max_queues,
        max_batches: settings.max_batches,
        max_waiters: settings.max_waiters,
        max_chunks: settings.max_chunks,
        chunk_bytes: settings.chunk_bytes,
        checkpoint_bytes: settings.checkpoint_bytes,
        ..JobsConfig::default()
    }
}

/// Room for many jobs, and nothing held that can be read.
pub fn roomy() -> JobsConfig {
    JobsConfig {
        max_jobs: 10_000,
        held_bytes: 0,
        ..config(Settings::default())
    }
}

pub fn memory_log(clock: &Arc<dyn Clock>) -> Arc<dyn Log> {
    let options = MemoryLogOptions {
        limits: LIMITS,
        ..MemoryLogOptions::default()
    };
    Arc::new(MemoryLog::new(&options, clock.clone()))
}

pub fn disk_options() -> DiskLogOptions {
    shared::disk_options(LIMITS)
}

/// A log in memory that outlives the engines on it, and says so.
pub struct Lasting(pub Arc<dyn Log>);

#[async_trait]
impl Log for Lasting {
    fn limits(&self) -> LogLimits {
        self.0.limits()
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn failure(&self) -> Option<String> {
        self.0.failure()
    }

    fn append(&self, partition: Partition, batch: Batch) -> Appending {
        self.0.append(partition, batch)
    }

    async fn read(&self, partition: Partition, from: Offset, max_bytes: usize) -> LogResult<Read> {
        self.0.read(partition, from, max_bytes).await
    }

    async fn wait(&self, partition: Partition, from: Offset) -> LogResult<Bounds> {
        self.0.wait(partition, from).await
    }

    async fn trim(&self, partition: Partition, before: Offset) -> LogResult<()> {
        self.0.trim(partition, before).await
    }

    async fn bounds(&self, partition: Partition) -> LogResult<Bounds> {
        self.0.bounds(partition).await
    }

    async fn seek(&self, partition: Partition, time: Time) -> LogResult<Offset> {
        self.0.seek(partition, time).await
    }
}

pub fn lasting_log(clock: &Arc<dyn Clock>) -> Arc<dyn Log> {
    Arc::new(Lasting(memory_log(clock)))
}

pub fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

pub fn queue(name: &str) -> QueueId {
    QueueId {
        namespace: namespace(),
        name: Name::new(name, "queue").unwrap(),
    }
}

fn attempt(got: &Assigned) -> Attempt {
    Attempt {
        job: got.job,
        lease: got.lease,
    }
}

/// With the limits that the suite charges, and a cache.
pub async fn ports(clock: &Arc<dyn Clock>) -> JobPorts {
    let cache = MemoryCache::new(MemoryCacheConfig::default(), clock.clone());
    let limits = charged_limits(clock, &Namespace::new("conformance", "namespace").unwrap()).await;
    JobPorts {
        limits: Some(limits),
        cache: Some(Arc::new(cache.unwrap())),
    }
}

pub async fn charged_limits(clock: &Arc<dyn Clock>, namespace: &Namespace) -> Arc<MemoryLimits> {
    let limits = MemoryLimits::new(MemoryLimitsConfig::default(), clock.clone());
    declare_limits(&limits, namespace).await;
    let limits = Arc::new(limits);
    let timers = limits.clone();
    spawn(async move { timers.run().await });
    limits
}

/// An engine and its tasks.
pub struct Life {
    pub engine: Arc<JobEngine>,
    tasks: Tasks,
}

impl Life {
    pub async fn begin(log: Arc<dyn Log>, clock: &Arc<dyn Clock>, config: JobsConfig) -> Self {
        Self::begin_with(log, clock, config, JobPorts::default()).await
    }

    pub async fn begin_with(
        log: Arc<dyn Log>,
        clock: &Arc<dyn Clock>,
        config: JobsConfig,
        ports: JobPorts,
    ) -> Self {
        let started = JobEngine::start(log, clock.clone(), config, ports).await;
        let (engine, tasks) = started.unwrap();
        let tasks = Tasks::run(tasks);
        Self { engine, tasks }
    }

    /// Ends it as it should.
    pub async fn end(self) {
        self.engine.close().await;
        self.tasks.end().await;
    }

    /// Ends it in the middle of whatever it does.
    pub async fn crash(self) {
        self.tasks.abort();
        for task in self.tasks.0 {
            assert!(task.await.is_err());
        }
    }

    pub async fn submit(&self, job: JobSpec) -> Result<JobId> {
        let submitted = self.engine.submit(job).await;
        submitted.map(|submitted| submitted.job)
    }

    /// Submits a job of the queue `ocr`.
    pub async fn put(&self, data: &str) -> JobId {
        let job = JobSpec::new(queue("ocr"), data.to_owned());
        self.submit(job).await.unwrap()
    }

    /// What there is of a queue now, or comes within a time.
    pub async fn get(&self, name: &str, max_jobs: usize, max_wait: Micros) -> Vec<Assigned> {
        let reserve = Reserve {
            queue: queue(name),
            worker: Name::new("worker", "worker").unwrap(),
            max_jobs,
            max_bytes: usize::MAX,
            max_wait,
            lease: None,
        };
        self.engine.reserve(reserve).await.unwrap()
    }

    /// The next job of `ocr`, waited for.
    pub async fn one(&self) -> Assigned {
        let hour = Micros::from_secs(3_600);
        self.get("ocr", 1, hour).await.remove(0)
    }

    /// A piece of the result of an attempt.
    pub async fn tell(&self, got: &Assigned, index: u32, data: &'static str) -> Result<()> {
        let data = data.into();
        let chunk = Chunk { index, data };
        self.engine.append(&namespace(), attempt(got), chunk).await
    }

    pub async fn extend(&self, got: &Assigned) -> Result<Micros> {
        let port = &self.engine;
        port.extend(&namespace(), attempt(got), None).await
    }

    pub async fn finish(&self, got: &Assigned, how: AttemptEnd) -> Result<()> {
        let (namespace, ends) = (namespace(), vec![(attempt(got), how)]);
        self.engine.finish(&namespace, ends).await.remove(0)
    }

    pub async fn succeed(&self, got: &Assigned, result: &str) -> Result<()> {
        let result = result.to_owned().into();
        self.finish(got, AttemptEnd::Succeeded(result)).await
    }

    pub async fn state(&self, job: JobId) -> JobState {
        self.engine.job(&namespace(), job).await.unwrap().state
    }

    /// How a job ended, and its result.
    pub async fn outcome(&self, job: JobId) -> (JobState, Option<String>) {
        let waited = self.engine.wait(&namespace(), job, Micros::ZERO).await;
        let (view, result) = waited.unwrap();
        let text = result.map(|result| String::from_utf8(result.to_vec()).unwrap());
        (view.state, text)
    }
}
