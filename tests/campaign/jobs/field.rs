//! What all clients share, and what they submit.

use super::history::{Name, Outcome};
use crate::calls::Errors;
use crate::clock::Clock;
use crate::house::House;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tonic::transport::Channel;
use trellis_proto::v1;
use trellis_proto::v1::job_service_client::JobServiceClient;

pub type Client = JobServiceClient<Channel>;

/// Queues: more than the partitions that they lie in.
pub const QUEUES: u64 = 5;

/// How long a worker has a job that it was handed by a call.
pub const LEASE: Duration = Duration::from_secs(1);

/// How many jobs may wait before submitters do.
const MAX_LAG: u64 = 1_500;

/// The label that a job's name stands in.
const LABEL: &str = "name";

pub struct Field {
    pub house: Arc<House>,
    pub clock: Clock,
    pub seed: u64,
    /// Submitters end when everything that they have sent is answered.
    pub over: AtomicBool,
    /// Those that have not ended.
    pub submitting: AtomicU64,
    /// Workers do what they should.
    pub calm: AtomicBool,
    /// Workers end.
    pub done: AtomicBool,
    /// Jobs acknowledged.
    pub submitted: AtomicU64,
    /// Jobs that have not ended, as told a little before.
    pub pending: AtomicU64,
    pub errors: Errors,
}

impl Field {
    pub fn new(seed: u64) -> Self {
        Self {
            house: Arc::new(House::new()),
            clock: Clock::start(),
            seed,
            over: AtomicBool::new(false),
            submitting: AtomicU64::new(0),
            calm: AtomicBool::new(false),
            done: AtomicBool::new(false),
            submitted: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            errors: Errors::default(),
        }
    }

    pub fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    /// Whether workers are so far behind that submitters should wait.
    pub fn lags(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > MAX_LAG
    }

    /// A connection of its own to the daemon, and which life of it that is.
    pub async fn client(&self) -> (u64, Client) {
        let (life, channel) = self.house.channel().await;
        (life, Client::new(channel))
    }
}

pub fn queue(number: u64) -> String {
    format!("work-{}", number % QUEUES)
}

/// The job of this name, with so much payload.
pub fn job(name: Name, named: bool, max_attempts: i32, size: u64) -> v1::JobServiceSubmitRequest {
    let text = name.to_string();
    let data = text.bytes().cycle();
    let data = data.take(usize::try_from(size).unwrap_or(0)).collect();
    let content = Some(v1::job_payload::Content::Data(data));
    let milliseconds = |count: i32| prost_types::Duration {
        seconds: 0,
        nanos: count * 1_000_000,
    };
    let options = v1::JobOptions {
        retry: Some(v1::JobRetryPolicy {
            max_attempts,
            min_backoff: Some(milliseconds(20)),
            max_backoff: Some(milliseconds(100)),
            jitter_percent: None,
        }),
        labels: [(LABEL.to_owned(), text.clone())].into(),
        ..Default::default()
    };
    v1::JobServiceSubmitRequest {
        job: Some(v1::JobSpec {
            queue: queue(name.submitter + name.number),
            payload: Some(v1::JobPayload { content }),
            priority: Some(i32::try_from(name.number % 10).unwrap_or(0)),
            options: Some(options),
            ..Default::default()
        }),
        request_id: if named { text } else { String::new() },
        ..Default::default()
    }
}

/// The name in a job's options. One that no submitter gave is nobody's.
pub fn name(options: Option<&v1::JobOptions>) -> Name {
    let label = options.and_then(|options| options.labels.get(LABEL));
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let (submitter, rest) = label
        .and_then(|label| label.split_once('-'))
        .unwrap_or_default();
    Name {
        submitter: number(submitter),
        number: number(rest),
    }
}

/// What an attempt makes: its lease tells it from others.
pub fn result(lease: &str) -> Vec<u8> {
    format!("made under {lease}").into_bytes()
}

/// The end of a job that has ended.
pub fn outcome(job: &v1::Job, result: Vec<u8>) -> Option<Outcome> {
    job.ended_time.map(|_| Outcome {
        state: job.state(),
        result,
    })
}
