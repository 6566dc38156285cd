//! [`Submit`]: a job being submitted.

use std::ops::Deref;
use std::time::{Duration, SystemTime};

use trellis_proto::v1 as proto;

use super::job::Job;
use super::options::{Conflict, JobOptions, Unique, signed};
use super::payload::Payload;
use super::queue::Queue;
use super::{Durability, Jobs};
use crate::again::random_id;
use crate::charge::Charge;
use crate::convert;
use crate::error::{Error, Result};

/// A job being submitted. Made by [`Queue::submit`]; sent by [`send`](Submit::send), or for short by `.await`.
///
/// It carries a request id that no other has, so that sending the same one, or a clone, again is safe when an error leaves the outcome
/// unknown: the daemon then tells the first job, with [`Decision::Repeat`].
#[derive(Clone, Debug)]
#[must_use = "a job does nothing until it is sent"]
pub struct Submit {
    queue: Queue,
    payload: Result<Payload>,
    priority: Option<u32>,
    start: Option<Start>,
    options: JobOptions,
    request_id: String,
    batch: Option<proto::JobInBatch>,
}

/// When it may start.
#[derive(Clone, Copy, Debug)]
enum Start {
    At(SystemTime),
    After(Duration),
}

impl Submit {
    pub(super) fn new(queue: Queue, payload: Result<Payload>) -> Self {
        Self {
            queue,
            payload,
            priority: None,
            start: None,
            options: JobOptions::default(),
            request_id: random_id(),
            batch: None,
        }
    }

    /// Of a batch, by its place there.
    pub(super) fn in_batch(mut self, batch_id: &str, index: usize) -> Self {
        self.batch = Some(proto::JobInBatch {
            batch_id: batch_id.to_owned(),
            index: i32::try_from(index).unwrap_or(i32::MAX),
        });
        self
    }

    /// 0 to 9; the highest goes first. Default 5.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Not before so long from now: up to 366 days.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.start = Some(Start::After(delay));
        self
    }

    /// Not before this, by the daemon's clock.
    pub fn run_at(mut self, time: SystemTime) -> Self {
        self.start = Some(Start::At(time));
        self
    }

    /// The job is over after this, by the daemon's clock, whether it runs or not. Default never.
    pub fn deadline(mut self, deadline: SystemTime) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// How long one attempt may take: up to 366 days. Default as long as its worker has it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Attempts after which the job is dead: 1 to 1,000; default 10.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.options.retry.max_attempts = Some(attempts);
        self
    }

    /// The wait after the first attempt in vain, doubled with each further one, and the longest such wait. Default 1 s and 5 minutes.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.options.retry.min_backoff = Some(min);
        self.options.retry.max_backoff = Some(max);
        self
    }

    /// By how many hundredths a wait may be shorter, at random: 0 to 100; default 20.
    pub fn jitter_percent(mut self, percent: u32) -> Self {
        self.options.retry.jitter_percent = Some(percent);
        self
    }

    /// Of jobs with this key the queue has one that has not ended.
    pub fn unique(mut self, key: impl Into<String>, on_conflict: Conflict) -> Self {
        let key = key.into();
        self.options.unique = Some(Unique { key, on_conflict });
        self
    }

    /// Whose turn it takes among jobs of the same priority. Default: the turn that all share who name none.
    pub fn fair_key(mut self, key: impl Into<String>) -> Self {
        self.options.fair_key = key.into();
        self
    }

    /// The share of the fair key, 1 to 1,000: twice the weight, twice the jobs. Default 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.options.weight = weight;
        self
    }

    /// Of jobs with this key as many run at once as the queue's [`key_concurrency`](super::QueueSpec::key_concurrency) says.
    pub fn concurrency_key(mut self, key: impl Into<String>) -> Self {
        self.options.concurrency_key = key.into();
        self
    }

    /// A label for whoever looks: at most 32.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.labels.insert(name.into(), value.into());
        self
    }

    /// W3C trace context, for the worker.
    pub fn trace_context(mut self, context: impl Into<String>) -> Self {
        self.options.trace_context = context.into();
        self
    }

    /// What each attempt takes of a limit of the job's namespace before it begins; at most 8, of limits that are declared. A job whose
    /// charges are refused waits for them and holds no other one up. They are settled when the attempt is over: as its worker says by
    /// [`Attempt::used`](super::Attempt::used), or as taken.
    pub fn charge(mut self, charge: Charge) -> Self {
        self.options.charges.push(charge);
        self
    }

    /// Where its result may be already, and is kept for so long (above 0, up to 366 days): a key of the cache of the job's namespace. When
    /// there is a value the job succeeds by it without running; of jobs with one key the queue runs one at a time, and the others have its
    /// result.
    pub fn cache_key(mut self, key: impl Into<String>, ttl: Duration) -> Self {
        self.options.cache_key = key.into();
        self.options.cache_ttl = Some(ttl);
        self
    }

    /// Names the submission by what the caller knows, for example an order number, so that also another process that submits the same is
    /// told the first job. Default: a random id.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Sends it. What has been decided is told by [`Submitted::decision`]; the job stands as far as its durability says.
    ///
    /// Nothing is sent again unasked: after an error with [`RetryAdvice::SameRequestId`](crate::RetryAdvice::SameRequestId), send the
    /// same again.
    pub async fn send(&self) -> Result<Submitted> {
        let jobs = &self.queue.jobs;
        let request = jobs.request(self.to_proto()?);
        let answer = jobs.shared.jobs().submit(request).await?.into_inner();
        Submitted::read(answer.job, jobs)
    }

    pub(super) fn to_proto(&self) -> Result<proto::JobServiceSubmitRequest> {
        use proto::job_spec::Start as Wire;
        let start = self.start.map(|start| match start {
            Start::At(time) => Ok::<_, Error>(Wire::RunAt(time.into())),
            Start::After(delay) => Ok(Wire::Delay(convert::to_proto(delay, "delay")?)),
        });
        Ok(proto::JobServiceSubmitRequest {
            namespace: self.queue.jobs.namespace_name(),
            job: Some(proto::JobSpec {
                queue: self.queue.name.clone(),
                payload: Some(self.payload.clone()?.into()),
                priority: self.priority.map(signed),
                start: start.transpose()?,
                options: Some(proto::JobOptions {
                    batch: self.batch.clone(),
                    ..self.options.to_proto()?
                }),
            }),
            request_id: self.request_id.clone(),
        })
    }
}

/// What was decided about a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// There is a new job.
    New,
    /// There is a new job, in whose favour another one of the same unique key has ended.
    Replaced {
        /// Which.
        job_id: String,
    },
    /// The same request made the job before.
    Repeat,
    /// A job of the same unique key has not ended, and stands for it.
    Existing,
    /// A job of the same unique key has not ended, and the caller asked to be refused then: this is that job.
    Rejected,
}

/// A job that stands; use it as a [`Job`].
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The new job, or the one that was there.
    pub job: Job,
    /// Which of them.
    pub decision: Decision,
    /// What it survives.
    pub durability: Durability,
}

impl Submitted {
    pub(super) fn read(submitted: Option<proto::SubmittedJob>, jobs: &Jobs) -> Result<Self> {
        use proto::JobDecision as Wire;
        let submitted = convert::required(submitted, "job")?;
        let decision = match Wire::try_from(submitted.decision) {
            Ok(Wire::New) => Decision::New,
            Ok(Wire::Replaced) => Decision::Replaced {
                job_id: submitted.replaced_job_id,
            },
            Ok(Wire::Repeat) => Decision::Repeat,
            Ok(Wire::Existing) => Decision::Existing,
            Ok(Wire::Rejected) => Decision::Rejected,
            Ok(Wire::Unspecified) | Err(_) => {
                return Err(convert::unknown(submitted.decision, "decision"));
            }
        };
        Ok(Self {
            job: jobs.job(submitted.job_id),
            decision,
            durability: Durability::read(submitted.durability)?,
        })
    }
}

impl Deref for Submitted {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}
