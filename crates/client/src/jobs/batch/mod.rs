//! [`BatchProcessor`]: many jobs that are counted together, and their results as they come.
//!
//! `running` is a batch under way, `daemon` how it speaks to the daemon, which knows the batch as one: how many of it run at once, and what one that fails means for the others.

mod daemon;
mod running;

pub use running::Batch;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failed::JobError;
use super::job::Job;
use super::queue::Queue;
use super::submit::Submit;
use crate::client::Client;
use crate::error::Result;

/// Jobs that run at once, unless set otherwise.
const DEFAULT_MAX_CONCURRENT: u32 = 10;

type Change = Box<dyn Fn(Submit) -> Submit + Send>;

/// Has items done by the workers of a queue.
#[must_use = "a batch does nothing until it processes items"]
pub struct BatchProcessor {
    queue: Queue,
    max_concurrent: u32,
    fail_fast: bool,
    change: Change,
}

impl BatchProcessor {
    /// Over a queue of the client's default namespace.
    pub fn new(client: &Client, queue: impl Into<String>) -> Self {
        Self::over(client.queue(queue))
    }

    /// Over a queue.
    pub fn over(queue: Queue) -> Self {
        Self {
            queue,
            max_concurrent: DEFAULT_MAX_CONCURRENT,
            fail_fast: false,
            change: Box::new(|submit| submit),
        }
    }

    /// How many of the jobs run at a time, over all workers: at least 1; default 10. The others wait in the queue.
    pub fn max_concurrent(mut self, jobs: u32) -> Self {
        self.max_concurrent = jobs.max(1);
        self
    }

    /// With the first job that does not succeed the batch cancels the others and ends. Default: it collects, and goes on.
    pub fn fail_fast(mut self) -> Self {
        self.fail_fast = true;
        self
    }

    /// What each job is submitted with, for example a priority or a deadline. Jobs of a batch have no
    /// concurrency key, and a unique key only to replace.
    pub fn with(mut self, change: impl Fn(Submit) -> Submit + Send + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    /// Begins. Each item is the payload of one job, as JSON, at most 100,000 of them; `R` is the type of their results.
    ///
    /// What leaves its outcome unknown is sent again under the same request id, and a broken connection is made again, for as long as it takes.
    pub fn process<R, I>(self, items: impl IntoIterator<Item = I>) -> Batch<R>
    where
        R: DeserializeOwned,
        I: Serialize + Send + 'static,
    {
        let items: Vec<I> = items.into_iter().collect();
        let total = items.len();
        let Self { queue, change, .. } = self;
        let own = queue.clone();
        let submits = items.into_iter().map(move |item| change(own.submit(&item)));
        let submits = Box::new(submits.enumerate());
        Batch::new(queue, (total, self.max_concurrent, self.fail_fast), submits)
    }
}

impl fmt::Debug for BatchProcessor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BatchProcessor")
            .field("queue", &self.queue)
            .field("max_concurrent", &self.max_concurrent)
            .field("fail_fast", &self.fail_fast)
            .finish_non_exhaustive()
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchProgress {
    /// Jobs that succeeded.
    pub done: usize,
    /// Jobs that did not.
    pub failed: usize,
    /// Jobs in all.
    pub total: usize,
}

/// What became of one item.
#[derive(Debug)]
pub struct BatchItem<R> {
    /// The item's place in what was given, from 0.
    pub index: usize,
    /// Its job; `None` when it could not be submitted.
    pub job: Option<Job>,
    /// Its job's result, or why there is none.
    pub result: Result<R, JobError>,
    /// How far the batch is, with this one.
    pub progress: BatchProgress,
}
