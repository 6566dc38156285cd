//! [`Worker`]: does the jobs of a queue.

mod attempt;
mod failure;
mod keeper;
mod link;
mod said;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::payload::Payload;
use super::queue::Queue;
use crate::convert;
use crate::error::Result;

pub use attempt::{Attempt, CancelReason};
pub use failure::Failure;

use keeper::Keeper;

/// The most jobs of a worker: what a daemon lets it have by default.
const LARGEST_CONCURRENCY: usize = 10_000;

/// How long a shutdown waits for handlers, and how long one that is to stop has for that, unless set otherwise.
const DEFAULT_DRAIN_TIME: Duration = Duration::from_secs(30);
const DEFAULT_CANCEL_GRACE: Duration = Duration::from_secs(5);

/// What does a job.
type Handler = Arc<dyn Fn(Attempt<Payload>) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// What it makes of it.
type Outcome = Result<Bytes, Failure>;

/// A worker being set up. Made by [`Queue::worker`]; works while [`run`](Worker::run) is awaited.
///
/// - As many jobs come as there are free places, over one stream. While that stands, the worker has its jobs; when it breaks, it is
///   opened again by itself, and the worker goes on with the jobs that it had, if the daemon is back in time.
/// - Each job is done by a task of its own. What it returns is sent until the daemon has it durably, on a new stream if need be.
/// - A panic is a vain attempt with the panic's message. A payload of another type is a job that has failed.
/// - A handler whose job is over (it was cancelled, timed out, or taken for lost) is told by [`Attempt::cancelled`]; what does not
///   return within [`cancel_grace`](Worker::cancel_grace) is dropped at its next `await`. Its place is free only then. One that blocks its
///   thread must look at [`Attempt::cancel_reason`] itself, or run in `spawn_blocking`.
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    queue: Queue,
    name: String,
    concurrency: usize,
    lease: Option<Duration>,
    drain_time: Duration,
    cancel_grace: Duration,
    shutdown: BoxFuture<'static, ()>,
}

impl Worker {
    /// A worker of a queue.
    pub fn new(queue: Queue) -> Self {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy().into_owned();
        Self {
            queue,
            name: format!("{host}:{}", std::process::id()),
            concurrency: 1,
            lease: None,
            drain_time: DEFAULT_DRAIN_TIME,
            cancel_grace: DEFAULT_CANCEL_GRACE,
            shutdown: futures::future::pending().boxed(),
        }
    }

    /// Who it is, for people who look. Default: the host's name and the process's id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many jobs it does at once: 1 to 10,000; default 1.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.clamp(1, LARGEST_CONCURRENCY);
        self
    }

    /// How long it has a job when nothing is heard of it, for example while the daemon is started anew: 1 s to 1 hour. Default: the
    /// daemon's, 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// When this is ready the worker takes no more jobs, and ends once those that it has are done. Default never.
    pub fn shutdown(mut self, shutdown: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = shutdown.boxed();
        self
    }

    /// For how long a shutdown waits for the handlers; then they are told to stop, by [`CancelReason::Shutdown`]. Default 30 s.
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.drain_time = time;
        self
    }

    /// How long a handler that is told to stop may take for that before it is dropped. Default 5 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// Does jobs whose payloads, and results, are JSON, until the shutdown. Waits for a daemon that is away, for as long as it takes.
    ///
    /// Returns once everything that was done is acknowledged. What a shutdown stops is given back: it does not count as an attempt, and
    /// another worker has it at once. Dropping the future stops the handlers; their jobs run again after `jobs.reattach_time`.
    ///
    /// Fails where no stream will work, for example with [`ErrorReason::InvalidField`](crate::ErrorReason::InvalidField); and with
    /// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) when the daemon has not acknowledged everything a few seconds after a
    /// shutdown's bounds.
    pub async fn run<P, R, F>(
        self,
        handler: impl Fn(Attempt<P>) -> F + Send + Sync + 'static,
    ) -> Result<()>
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize,
        F: Future<Output = Result<R, Failure>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.run_raw(move |attempt| {
            let handler = handler.clone();
            async move {
                let of_another_type =
                    |error| Failure::permanent(format!("the payload is of another type: {error}"));
                let attempt = attempt.typed().map_err(of_another_type)?;
                let result = handler(attempt).await?;
                let json = serde_json::to_vec(&result);
                let none = |error| Failure::permanent(format!("the result has no JSON: {error}"));
                Ok(json.map_err(none)?.into())
            }
        })
        .await
    }

    /// As [`Worker::run`], with payloads and results as they are.
    pub async fn run_raw<F>(
        self,
        handler: impl Fn(Attempt<Payload>) -> F + Send + Sync + 'static,
    ) -> Result<()>
    where
        F: Future<Output = Result<Bytes, Failure>> + Send + 'static,
    {
        if let Some(lease) = self.lease {
            convert::to_proto(lease, "lease")?;
        }
        let handler: Handler = Arc::new(move |attempt| handler(attempt).boxed());
        Keeper::new(self, handler).run().await
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Worker")
            .field("queue", &self.queue)
            .field("name", &self.name)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}
