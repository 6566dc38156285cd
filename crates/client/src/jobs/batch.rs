//! [`BatchProcessor`]: many jobs, a few at a time, and their results as they come.
//!
//! There is no task behind it: jobs are submitted and waited for while the batch is asked for its next result.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use futures::stream::{self, BoxStream, FuturesUnordered, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failed::JobError;
use super::job::Job;
use super::payload::decode;
use super::queue::Queue;
use super::submit::Submit;
use crate::again::Again;
use crate::client::Client;
use crate::error::Result;

/// Jobs that are submitted and have not ended, unless set otherwise.
const DEFAULT_MAX_CONCURRENT: usize = 10;

/// The most such jobs.
const LARGEST_MAX_CONCURRENT: usize = 10_000;

type Change = Box<dyn Fn(Submit) -> Submit + Send>;

/// The place of an item, and what became of it.
type Ended = (usize, Result<Bytes, JobError>);

/// Has items done by the workers of a queue.
#[must_use = "a batch does nothing until it processes items"]
pub struct BatchProcessor {
    queue: Queue,
    max_concurrent: usize,
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

    /// How many of the jobs there are at a time, waiting or running: 1 to 10,000; default 10. The rest is not submitted before.
    pub fn max_concurrent(mut self, jobs: usize) -> Self {
        self.max_concurrent = jobs.clamp(1, LARGEST_MAX_CONCURRENT);
        self
    }

    /// With the first job that does not succeed the batch cancels the others and ends. Default: it collects, and goes on.
    pub fn fail_fast(mut self) -> Self {
        self.fail_fast = true;
        self
    }

    /// What each job is submitted with, for example a priority or a deadline.
    pub fn with(mut self, change: impl Fn(Submit) -> Submit + Send + 'static) -> Self {
        self.change = Box::new(change);
        self
    }

    /// Begins. Each item is the payload of one job, as JSON; `R` is the type of their results.
    ///
    /// A job whose submission left its outcome unknown is submitted again under the same request id, and a broken connection is made
    /// again, for as long as it takes.
    pub fn process<R, I>(self, items: impl IntoIterator<Item = I>) -> Batch<R>
    where
        R: DeserializeOwned,
        I: Serialize + Send + 'static,
    {
        let items: Vec<I> = items.into_iter().collect();
        let progress = BatchProgress {
            total: items.len(),
            ..BatchProgress::default()
        };
        let Self { queue, change, .. } = self;
        let submits = items.into_iter();
        let submits = submits.map(move |item| change(queue.submit(&item)));
        Batch {
            submits: Some(Box::new(submits.enumerate())),
            max_concurrent: self.max_concurrent,
            fail_fast: self.fail_fast,
            active: HashMap::new(),
            ending: FuturesUnordered::new(),
            last: None,
            progress,
            result: PhantomData,
        }
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

/// A job that has not ended, as far as is known.
struct Active {
    submit: Submit,
    /// Once its submission is answered.
    job: Arc<OnceLock<Job>>,
}

/// The results of a batch, as they come.
///
/// Dropped, it leaves those jobs to themselves that were submitted, and submits no others.
#[must_use = "a batch does nothing unless it is asked for results"]
pub struct Batch<R> {
    /// `None` once no further ones are submitted.
    submits: Option<Box<dyn Iterator<Item = (usize, Submit)> + Send>>,
    max_concurrent: usize,
    fail_fast: bool,
    active: HashMap<usize, Active>,
    ending: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// The item with which it ends, once the other jobs are taken back.
    last: Option<(BatchItem<R>, BoxFuture<'static, ()>)>,
    progress: BatchProgress,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Batch<R> {
    /// The next result, in the order in which the jobs end; `None` after the last. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<BatchItem<R>> {
        if self.last.is_none() {
            self.fill();
            let (index, result) = self.ending.next().await?;
            let item = self.item(index, result);
            if item.result.is_ok() || !self.fail_fast {
                return Some(item);
            }
            self.last = Some((item, self.take_back()));
        }
        if let Some((_, taking_back)) = &mut self.last {
            taking_back.await;
        }
        self.last.take().map(|(item, _)| item)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> BatchProgress {
        self.progress
    }

    /// The same as a stream.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, BatchItem<R>>
    where
        R: Send + 'static,
    {
        let items = stream::unfold(self, |mut batch| async {
            let item = batch.next().await?;
            Some((item, batch))
        });
        items.boxed()
    }

    /// Waits for all of them: their results in the order of the items. Fails with the first that fails.
    pub async fn try_all(mut self) -> Result<Vec<R>, JobError> {
        let mut results: Vec<Option<R>> = Vec::new();
        results.resize_with(self.progress.total, || None);
        while let Some(item) = self.next().await {
            results[item.index] = Some(item.result?);
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Submits as many as there is room for.
    fn fill(&mut self) {
        while self.active.len() < self.max_concurrent {
            let next = self.submits.as_mut().and_then(Iterator::next);
            let Some((index, submit)) = next else {
                self.submits = None;
                return;
            };
            let job = Arc::new(OnceLock::new());
            let ending = end(submit.clone(), job.clone());
            let ending = ending.map(move |result| (index, result));
            self.ending.push(ending.boxed());
            self.active.insert(index, Active { submit, job });
        }
    }

    fn item(&mut self, index: usize, result: Result<Bytes, JobError>) -> BatchItem<R> {
        let job = self.active.remove(&index);
        let result = result.and_then(|result| decode(&result).map_err(JobError::Type));
        match result {
            Ok(_) => self.progress.done += 1,
            Err(_) => self.progress.failed += 1,
        }
        BatchItem {
            index,
            job: job.and_then(|active| active.job.get().cloned()),
            result,
            progress: self.progress,
        }
    }

    /// Submits no more, and takes back what has not ended.
    fn take_back(&mut self) -> BoxFuture<'static, ()> {
        self.submits = None;
        self.ending.clear();
        let active = self.active.drain();
        let cancels = active.map(|(_, active)| async move {
            let job = match active.job.get() {
                Some(job) => job.clone(),
                // It may stand: the same request tells.
                None => active.submit.send().await?.job,
            };
            job.cancel().await
        });
        let cancels = join_all(cancels).map(|cancelled| {
            for error in cancelled.into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "a job of a batch that ends was not cancelled");
            }
        });
        cancels.boxed()
    }
}

impl<R> fmt::Debug for Batch<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Batch")
            .field("progress", &self.progress)
            .field("active", &self.active.len())
            .finish_non_exhaustive()
    }
}

/// Submits a job until it stands, and waits for its end.
async fn end(submit: Submit, known: Arc<OnceLock<Job>>) -> Result<Bytes, JobError> {
    let mut again = Again::default();
    loop {
        match submit.send().await {
            Ok(submitted) => {
                return known.get_or_init(|| submitted.job).result_bytes().await;
            }
            Err(error) => again.after(error).await?,
        }
    }
}
