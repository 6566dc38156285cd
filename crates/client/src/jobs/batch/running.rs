//! [`Batch`]: a batch under way.
//!
//! There is no task behind it: jobs are submitted and waited for while the batch is asked for its next result.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::de::DeserializeOwned;

use super::super::failed::JobError;
use super::super::job::Job;
use super::super::payload::decode;
use super::super::queue::Queue;
use super::super::submit::{Submit, Submitted};
use super::daemon::{self, Ends};
use super::{BatchItem, BatchProgress};
use crate::again::random_id;
use crate::error::{Error, Result};

/// Jobs that are submitted together.
const TOGETHER: usize = 1_000;

/// The place of an item, its job, and what became of it.
type Told = (usize, Option<Job>, Result<Bytes, JobError>);

/// What became of submissions, by the places of their items.
type Sent = Vec<(usize, Result<Submitted>)>;

type Submits = Box<dyn Iterator<Item = (usize, Submit)> + Send>;

/// What the daemon is asked for.
enum Step {
    Creating(BoxFuture<'static, Result<String>>),
    /// Jobs are submitted, and those that end told.
    Running(Box<Running>),
    /// Nothing more is.
    Done,
}

struct Running {
    batch_id: String,
    ends: Ends,
    /// The batch is not over: more of them may come.
    follows: bool,
    sending: Option<BoxFuture<'static, Sent>>,
}

/// The results of a batch, as they come.
///
/// Dropped, it leaves those jobs to themselves that were submitted, and submits no others.
#[must_use = "a batch does nothing unless it is asked for results"]
pub struct Batch<R> {
    queue: Queue,
    fail_fast: bool,
    step: Step,
    submits: Submits,
    /// Items of which nothing was told.
    open: BTreeSet<usize>,
    /// The daemon waits for jobs of the batch that will not come.
    is_short: bool,
    told: VecDeque<Told>,
    /// The item with which it ends, once the other jobs are taken back.
    last: Option<(BatchItem<R>, BoxFuture<'static, ()>)>,
    progress: BatchProgress,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Batch<R> {
    /// Of so many jobs, of which so many run at once, and one that fails ends it or not.
    pub(super) fn new(queue: Queue, spec: (usize, u32, bool), submits: Submits) -> Self {
        let (total, _, fail_fast) = spec;
        let creating = daemon::create(queue.clone(), spec, random_id());
        Self {
            queue,
            fail_fast,
            step: match total {
                0 => Step::Done,
                _ => Step::Creating(creating.boxed()),
            },
            submits,
            open: (0..total).collect(),
            is_short: false,
            told: VecDeque::new(),
            last: None,
            progress: BatchProgress {
                total,
                ..BatchProgress::default()
            },
            result: PhantomData,
        }
    }

    /// The next result, in the order in which the jobs end; `None` after the last. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<BatchItem<R>> {
        while self.last.is_none() {
            let Some(told) = self.told.pop_front() else {
                if !self.go_on().await {
                    return None;
                }
                continue;
            };
            let Some(item) = self.item(told) else {
                continue;
            };
            let ends = item.result.is_err() && self.fail_fast;
            let was_last = self.is_short && self.open.is_empty();
            if !(ends || was_last) {
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

    /// Waits for the next thing that happens; whether anything may.
    async fn go_on(&mut self) -> bool {
        match &mut self.step {
            Step::Done => return false,
            Step::Creating(creating) => match creating.await {
                Ok(batch_id) => {
                    let ends = Ends::new(self.queue.jobs.clone(), batch_id.clone());
                    self.step = Step::Running(Box::new(Running {
                        batch_id,
                        ends,
                        follows: true,
                        sending: None,
                    }));
                    self.send();
                }
                Err(error) => self.give_up(&error),
            },
            Step::Running(_) if self.open.is_empty() => self.step = Step::Done,
            Step::Running(running) if !running.follows && running.sending.is_none() => {
                let missing = "a job of the batch is not kept any more";
                self.give_up(&Error::invalid_answer(missing));
            }
            Step::Running(running) => {
                let sending = OptionFuture::from(running.sending.as_mut());
                tokio::select! {
                    biased;
                    Some(sent) = sending => self.sent(sent),
                    ended = running.ends.next(), if running.follows => match ended {
                        Ok(Some(it)) => self.told.push_back((it.index, Some(it.job), it.result)),
                        Ok(None) => running.follows = false,
                        Err(error) => self.give_up(&error),
                    },
                }
            }
        }
        true
    }

    /// Submits the next jobs.
    fn send(&mut self) {
        let Step::Running(running) = &mut self.step else {
            return;
        };
        let next = self.submits.by_ref().take(TOGETHER);
        let next: Vec<_> = next
            .map(|(index, submit)| (index, submit.in_batch(&running.batch_id, index)))
            .collect();
        running.sending = if next.is_empty() {
            None
        } else {
            Some(daemon::submit(self.queue.clone(), next).boxed())
        };
    }

    fn sent(&mut self, sent: Sent) {
        for (index, result) in sent {
            // Of the others the daemon tells when they end.
            if let Err(error) = result {
                self.is_short = true;
                self.told.push_back((index, None, Err(error.into())));
            }
        }
        self.send();
    }

    /// Nothing more can be told.
    fn give_up(&mut self, error: &Error) {
        self.step = Step::Done;
        let left = self.open.iter();
        let left = left.map(|index| (*index, None, Err(JobError::Call(error.clone()))));
        self.told.extend(left.collect::<Vec<_>>());
    }

    /// What is told of an item, once.
    fn item(&mut self, (index, job, result): Told) -> Option<BatchItem<R>> {
        if !self.open.remove(&index) {
            return None;
        }
        let result = result.and_then(|result| decode(&result).map_err(JobError::Type));
        match result {
            Ok(_) => self.progress.done += 1,
            Err(_) => self.progress.failed += 1,
        }
        Some(BatchItem {
            index,
            job,
            result,
            progress: self.progress,
        })
    }

    /// Submits no more, and takes back what has not ended.
    fn take_back(&mut self) -> BoxFuture<'static, ()> {
        self.told.clear();
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Running(running) => {
                daemon::cancel(self.queue.jobs.clone(), running.batch_id).boxed()
            }
            Step::Creating(_) | Step::Done => futures::future::ready(()).boxed(),
        }
    }
}

impl<R> fmt::Debug for Batch<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Batch")
            .field("progress", &self.progress)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}
