//! One run: the load, the kills, and what is read when all is quiet.

use super::caller::Caller;
use super::field::{Field, QUEUES, name, outcome, queue};
use super::history::{History, Outcome, Stands};
use super::report::Report;
use super::streamer::Streamer;
use super::submitter::Submitter;
use crate::calls::{answered, until};
use crate::clock::pause;
use crate::killed::{Run, start};
use futures::future::join_all;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trellis_proto::v1::{
    JobServiceListQueuesRequest, JobServiceListRequest, JobServiceWaitRequest, JobState,
};

const SUBMITTERS: u64 = 8;

/// Workers of each kind.
const WORKERS: u64 = 5;

/// A fifth of the long form.
pub fn long(seed: u64) -> Run {
    Run::long(seed, 200, Duration::from_millis(1_500))
}

/// Does it.
pub async fn go(run: Run) -> Report {
    let field = Field::new(run.seed);
    let begun = field.clock.now();
    let submitters = (0..SUBMITTERS).map(|number| Submitter::new(&field, number).run());
    let callers = (0..WORKERS).map(|number| Caller::new(&field, number).run());
    let streamers = (0..WORKERS).map(|number| Streamer::new(&field, number).run());
    let (sent, called, streamed, (), ()) = tokio::join!(
        join_all(submitters.collect::<Vec<_>>()),
        join_all(callers.collect::<Vec<_>>()),
        join_all(streamers.collect::<Vec<_>>()),
        look_on(&field),
        drive(&run, &field),
    );
    let time = field.clock.now() - begun;
    let history = History {
        sent: sent.into_iter().flatten().collect(),
        attempts: called.into_iter().chain(streamed).flatten().collect(),
        stands: look(&field).await,
    };
    field.house.kill();
    Report::new(run, &field, Duration::from_micros(time), &history)
}

/// Kills, and then waits until everything is done.
async fn drive(run: &Run, field: &Field) {
    if run.broken {
        // So that there is something to lose.
        let enough = || field.submitted.load(Ordering::Relaxed) >= 500;
        let _ = until(run.patience, enough).await;
    }
    run.kill(&field.house, field.clock, "jobs").await;
    field.over.store(true, Ordering::Relaxed);
    let quiet = || field.submitting.load(Ordering::Relaxed) == 0;
    let _ = until(run.patience, quiet).await;
    field.calm.store(true, Ordering::Relaxed);
    // What was counted before the last submission does not count.
    field.pending.store(u64::MAX, Ordering::Relaxed);
    let none = || field.pending.load(Ordering::Relaxed) == 0;
    let _ = until(run.patience, none).await;
    field.done.store(true, Ordering::Relaxed);
}

/// Counts the jobs that have not ended, again and again.
async fn look_on(field: &Field) {
    const ENDLESS: [JobState; 3] = [JobState::Delayed, JobState::Ready, JobState::Running];
    while !Field::is(&field.done) {
        let (_, mut client) = field.client().await;
        while !Field::is(&field.done) {
            let request = JobServiceListQueuesRequest::default();
            let Ok(answer) = answered(client.list_queues(request)).await else {
                break;
            };
            let queues = answer.into_inner().queues;
            let counts = queues.iter().flat_map(|queue| &queue.counts);
            let pending = counts.filter(|count| ENDLESS.contains(&count.state()));
            let pending: i64 = pending.map(|count| count.jobs).sum();
            let pending = u64::try_from(pending).unwrap_or(0);
            field.pending.store(pending, Ordering::Relaxed);
            pause(Duration::from_millis(50)).await;
        }
    }
}

/// Reads what stands in the end, in one more life of the daemon.
async fn look(field: &Field) -> Vec<Stands> {
    field.house.kill();
    start(&field.house, field.clock).await;
    let (_, mut client) = field.client().await;
    let mut all = Vec::new();
    for number in 0..QUEUES {
        let mut request = JobServiceListRequest {
            queue: queue(number),
            page_size: 1_000,
            ..Default::default()
        };
        loop {
            let answer = answered(client.list(request.clone())).await;
            let page = answer.expect("jobs are listed").into_inner();
            for job in page.jobs {
                let mut result = Vec::new();
                if job.state() == JobState::Succeeded {
                    let wait = JobServiceWaitRequest {
                        job_id: job.job_id.clone(),
                        ..Default::default()
                    };
                    let answer = answered(client.wait(wait)).await;
                    result = answer.expect("it has ended").into_inner().result.to_vec();
                }
                let running = Outcome {
                    state: JobState::Unspecified,
                    result: Vec::new(),
                };
                all.push(Stands {
                    name: name(job.options.as_ref()),
                    attempts: job.attempts,
                    outcome: outcome(&job, result).unwrap_or(running),
                    job: job.job_id,
                });
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
    }
    all
}
