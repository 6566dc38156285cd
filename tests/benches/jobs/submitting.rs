//! Submitters by unary calls, over a few connections: one job, or batches.

use crate::messages;
use crate::working::{Idle, connections};
use futures::future::try_join_all;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tonic::transport::Channel;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::job_submit_result;
use trellis_proto::v1::{
    JobAttemptEnd, JobServiceFinishRequest, JobServiceReserveRequest, JobServiceSubmitBatchRequest,
    JobServiceSubmitBatchResponse, JobServiceSubmitRequest, JobSucceeded,
};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::{Done, now};

/// Jobs of a batch, and batches in flight, where a queue is filled.
const BATCH: usize = 1_000;
const BATCHES: usize = 4;

/// Jobs that are taken at a time where many wait.
const TOGETHER: i32 = 100;

/// Connections to a server.
pub struct Submitters {
    channels: Vec<Channel>,
}

impl Submitters {
    pub async fn open(server: &Server) -> Result<Self> {
        let channels = connections(server).await?;
        Ok(Self { channels })
    }

    fn client(&self, turn: usize) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channels[turn % self.channels.len()].clone())
    }

    pub async fn submit(&self, job: JobServiceSubmitRequest) -> Result<()> {
        self.client(0).submit(job).await?;
        Ok(())
    }

    /// Submits one job after the other until the deadline.
    pub async fn run(&self, queue: &str, deadline: Instant) -> Result<Done> {
        let (mut client, request) = (self.client(0), messages::submit(queue));
        let (mut done, mut sent) = (Done::default(), now());
        loop {
            client.submit(request.clone()).await?;
            let answered = now();
            done.add(answered - sent);
            sent = answered;
            if answered >= deadline {
                return Ok(done);
            }
        }
    }

    /// Submits one job at a time to a worker with nothing else to do; how long until it has begun.
    pub async fn picked_up(
        &self,
        queue: &str,
        worker: &tokio::sync::Mutex<Idle>,
        deadline: Instant,
    ) -> Result<Done> {
        /// Between two jobs, so that nothing of the last one is under way.
        const PAUSE: Duration = Duration::from_millis(1);
        let (mut client, mut worker) = (self.client(0), worker.lock().await);
        let (request, mut done) = (messages::submit(queue), Done::default());
        while now() < deadline {
            sleep(PAUSE).await;
            let sent = now();
            client.submit(request.clone()).await?;
            let begun = worker.begun.recv().await.ok_or("the worker has ended")?;
            done.add(begun - sent);
        }
        Ok(done)
    }

    /// Submits so many jobs, in batches.
    pub async fn fill(&self, queue: &str, jobs: usize) -> Result<()> {
        let sizes = (0..jobs.div_ceil(BATCH)).map(|batch| BATCH.min(jobs - batch * BATCH));
        let sizes: Vec<usize> = sizes.collect();
        let lanes = (0..BATCHES).map(|lane| {
            let (mut client, sizes) = (self.client(lane), sizes.iter().skip(lane).step_by(BATCHES));
            async move {
                for size in sizes {
                    let requests = vec![messages::submit(queue); *size];
                    let batch = JobServiceSubmitBatchRequest { requests };
                    accepted(&client.submit_batch(batch).await?.into_inner())?;
                }
                Result::Ok(())
            }
        });
        try_join_all(lanes).await.map(drop)
    }

    /// Takes, finishes and submits again a few at a time, until the deadline: calls are jobs.
    pub async fn cycle(&self, queue: &str, deadline: Instant) -> Result<Done> {
        let reserve = JobServiceReserveRequest {
            queue: queue.into(),
            worker: "bench".into(),
            max_jobs: TOGETHER,
            ..Default::default()
        };
        let lanes = (0..BATCHES).map(|lane| {
            let (mut client, reserve) = (self.client(lane), reserve.clone());
            async move {
                let mut done = Done::default();
                while now() < deadline {
                    let taken = client.reserve(reserve.clone()).await?.into_inner().jobs;
                    let requests = vec![messages::submit(queue); taken.len()];
                    done.calls += taken.len() as u64;
                    let ends = taken.into_iter().map(|job| JobAttemptEnd {
                        lease_id: job.lease_id,
                        end: Some(End::Succeeded(JobSucceeded::default())),
                    });
                    let finish = JobServiceFinishRequest {
                        ends: ends.collect(),
                        ..Default::default()
                    };
                    client.finish(finish).await?;
                    let batch = JobServiceSubmitBatchRequest { requests };
                    accepted(&client.submit_batch(batch).await?.into_inner())?;
                }
                Result::Ok(done)
            }
        });
        Ok(Done::sum(try_join_all(lanes).await?))
    }
}

/// Whether all jobs of a batch were accepted.
fn accepted(answer: &JobServiceSubmitBatchResponse) -> Result<()> {
    for result in &answer.results {
        let Some(job_submit_result::Result::Job(_)) = result.result else {
            return Err(format!("a job is answered by {result:?}").into());
        };
    }
    Ok(())
}
