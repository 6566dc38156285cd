//! [`Queue`]: where jobs are submitted and looked at.

use prost::Message as _;
use serde::Serialize;
use trellis_proto::v1 as proto;

use super::Jobs;
use super::info::{JobState, QueueSpec, QueueState};
use super::list::ListJobs;
use super::options::signed;
use super::payload::Payload;
use super::submit::{Submit, Submitted};
use super::worker::Worker;
use crate::convert;
use crate::error::{Error, Result};

/// The most jobs of one call: what a daemon takes by default.
const BATCH: usize = 1_000;

/// What the frame around a request adds to its message, and more.
const FRAME_BYTES: usize = 64;

/// Jobs of one call.
#[derive(Default)]
struct Gathered {
    requests: Vec<proto::JobServiceSubmitRequest>,
    /// Where in the results each of them is told.
    places: Vec<usize>,
    bytes: usize,
}

/// A queue of jobs. Clones share the client's connection.
#[derive(Clone, Debug)]
pub struct Queue {
    pub(super) jobs: Jobs,
    pub(super) name: String,
}

impl Queue {
    pub(super) fn new(jobs: Jobs, name: String) -> Self {
        Self { jobs, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts to submit a job whose worker gets this value, as JSON. A value that has none is told when the job is sent.
    pub fn submit(&self, payload: &(impl Serialize + ?Sized)) -> Submit {
        let payload = serde_json::to_vec(payload)
            .map(|data| Payload::Data(data.into()))
            .map_err(|error| Error::invalid_request(format!("the payload has no JSON: {error}")));
        Submit::new(self.clone(), payload)
    }

    /// Starts to submit a job whose worker gets these bytes, or is told where they are.
    pub fn submit_payload(&self, payload: Payload) -> Submit {
        Submit::new(self.clone(), Ok(payload))
    }

    /// Submits jobs, in order and each by itself, in as few calls as they fit into; tells what became of each.
    ///
    /// Nothing is sent again unasked: keep clones of them to send those again whose outcome is unknown.
    pub async fn submit_many(
        &self,
        submits: impl IntoIterator<Item = Submit>,
    ) -> Vec<Result<Submitted>> {
        let room = self.jobs.shared.max_message_bytes();
        let room = room.saturating_sub(FRAME_BYTES);
        let mut results = Vec::new();
        let mut gathered = Gathered::default();
        for submit in submits {
            let request = match submit.to_proto() {
                Ok(request) => request,
                Err(error) => {
                    results.push(Err(error));
                    continue;
                }
            };
            let size = request.encoded_len() + FRAME_BYTES;
            if gathered.requests.len() == BATCH || gathered.bytes + size > room {
                self.submit_batch(std::mem::take(&mut gathered), &mut results)
                    .await;
            }
            gathered.bytes += size;
            gathered.places.push(results.len());
            gathered.requests.push(request);
            results.push(Err(Error::invalid_answer("a result is missing")));
        }
        self.submit_batch(gathered, &mut results).await;
        results
    }

    /// Sends what has been gathered, and puts what became of each into its place.
    async fn submit_batch(&self, gathered: Gathered, results: &mut [Result<Submitted>]) {
        use proto::job_submit_result::Result as Each;
        let Gathered {
            requests, places, ..
        } = gathered;
        if requests.is_empty() {
            return;
        }
        let request = proto::JobServiceSubmitBatchRequest { requests };
        let request = self.jobs.request(request);
        match self.jobs.shared.jobs().submit_batch(request).await {
            Ok(answer) => {
                for (place, each) in places.into_iter().zip(answer.into_inner().results) {
                    match each.result {
                        Some(Each::Job(job)) => {
                            results[place] = Submitted::read(Some(job), &self.jobs);
                        }
                        Some(Each::Error(status)) => {
                            results[place] = Err(Error::from_item(&status));
                        }
                        None => {}
                    }
                }
            }
            Err(error) => {
                let error = Error::from(error);
                for place in places {
                    results[place] = Err(error.clone());
                }
            }
        }
    }

    /// Starts to work on it.
    pub fn worker(&self) -> Worker {
        Worker::new(self.clone())
    }

    /// Its jobs.
    pub fn list(&self) -> ListJobs {
        ListJobs::new(self.clone())
    }

    /// How it runs its jobs, and how many it has. One that nothing was submitted to is empty, not unknown.
    pub async fn get(&self) -> Result<QueueState> {
        let request = self.jobs.request(proto::JobServiceGetQueueRequest {
            namespace: self.jobs.namespace_name(),
            queue: self.name.clone(),
        });
        let answer = self.jobs.shared.jobs().get_queue(request).await?;
        convert::required(answer.into_inner().queue, "queue")?.try_into()
    }

    /// Sets how it runs its jobs, as a whole; holds at once, also for the jobs that are there.
    pub async fn set(&self, spec: QueueSpec) -> Result<QueueState> {
        let request = self.jobs.request(proto::JobServiceSetQueueRequest {
            namespace: self.jobs.namespace_name(),
            queue: self.name.clone(),
            spec: Some(spec.to_proto()?),
        });
        let answer = self.jobs.shared.jobs().set_queue(request).await?;
        convert::required(answer.into_inner().queue, "queue")?.try_into()
    }

    /// Starts no further jobs; those that run go on. It is read and set: what somebody else sets in between is lost.
    pub async fn pause(&self) -> Result<QueueState> {
        self.set_paused(true).await
    }

    /// Starts jobs again. As [`Queue::pause`].
    pub async fn resume(&self) -> Result<QueueState> {
        self.set_paused(false).await
    }

    /// Takes jobs out, those that are in these states when it begins, and tells how many: cancels those that are
    /// [`Delayed`](JobState::Delayed) or [`Ready`](JobState::Ready), forgets those that have ended. At least one state, of the
    /// former or of the latter, and not [`Running`](JobState::Running). After an error some may be out; a repeat takes the others.
    pub async fn purge(&self, states: impl IntoIterator<Item = JobState>) -> Result<u64> {
        let states = states.into_iter();
        let request = self.jobs.request(proto::JobServicePurgeRequest {
            namespace: self.jobs.namespace_name(),
            queue: self.name.clone(),
            states: states.map(|it| proto::JobState::from(it).into()).collect(),
        });
        let answer = self.jobs.shared.jobs().purge(request).await?;
        convert::count(answer.into_inner().jobs, "jobs")
    }

    /// Makes new jobs like those that are [`Dead`](JobState::Dead) or [`Failed`](JobState::Failed), the oldest first and at most so many
    /// (1 to 1,000), takes these out, and tells how many; fewer when none is left. After an error some may be done; a repeat does the others.
    pub async fn requeue(&self, max_jobs: u32) -> Result<u64> {
        let request = self.jobs.request(proto::JobServiceRequeueRequest {
            namespace: self.jobs.namespace_name(),
            queue: self.name.clone(),
            max_jobs: signed(max_jobs),
        });
        let answer = self.jobs.shared.jobs().requeue(request).await?;
        convert::count(answer.into_inner().jobs, "jobs")
    }

    async fn set_paused(&self, paused: bool) -> Result<QueueState> {
        let spec = self.get().await?.spec;
        self.set(QueueSpec { paused, ..spec }).await
    }
}
