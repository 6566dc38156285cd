//! What is sent: jobs of one size that do nothing.

use prost::Message as _;
use trellis_proto::v1::job_payload::Content;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::limit_spec::Kind;
use trellis_proto::v1::{
    Charge, Durability, JobDecision, JobOptions, JobPayload, JobServiceSubmitRequest,
    JobServiceSubmitResponse, JobSpec, LimitSpec, RateSpec, Scope, ScopeKind, SetLimitRequest,
    SubmittedJob,
};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;

/// Bytes of a payload.
pub const PAYLOAD: usize = 100;

/// The queue that everything is submitted to unless it says otherwise.
pub const QUEUE: &str = "bench";

pub fn job(queue: &str) -> JobSpec {
    JobSpec {
        queue: queue.into(),
        payload: Some(JobPayload {
            content: Some(Content::Data(vec![b'x'; PAYLOAD].into())),
        }),
        ..Default::default()
    }
}

pub fn submit(queue: &str) -> JobServiceSubmitRequest {
    JobServiceSubmitRequest {
        job: Some(job(queue)),
        ..Default::default()
    }
}

/// A limit that is never used up.
const LIMIT: &str = "plenty";

/// A submission that charges one unit of it.
pub fn charged(queue: &str) -> JobServiceSubmitRequest {
    let charge = Charge {
        limit: LIMIT.into(),
        amount: 1,
        ..Default::default()
    };
    let mut submit = submit(queue);
    if let Some(job) = &mut submit.job {
        job.options = Some(JobOptions {
            charges: vec![charge],
            ..Default::default()
        });
    }
    submit
}

/// Declares the limit.
pub async fn declare(server: &Server) -> Result<()> {
    let plenty = RateSpec {
        amount: 1_000_000_000,
        period: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        burst: None,
    };
    let limit = SetLimitRequest {
        name: LIMIT.into(),
        spec: Some(LimitSpec {
            kind: Some(Kind::Rate(plenty)),
        }),
        ..Default::default()
    };
    let mut client = LimitServiceClient::new(server.connect().await?);
    client.set_limit(limit).await?;
    Ok(())
}

/// An answer as long as that of a daemon that has some thousands of jobs.
pub fn submitted() -> JobServiceSubmitResponse {
    JobServiceSubmitResponse {
        job: Some(SubmittedJob {
            job_id: "x".repeat(JOB_ID),
            decision: JobDecision::New.into(),
            durability: Durability::Volatile.into(),
            ..Default::default()
        }),
        scope: Some(Scope {
            kind: ScopeKind::Local.into(),
            ..Default::default()
        }),
    }
}

/// Characters of a job's name.
const JOB_ID: usize = 32;

/// The sizes of an answer on both sides, which must not differ by much.
pub async fn compare_sizes(echo: &Server, trellis: &Server) -> Result<String> {
    let mut sizes = Vec::new();
    for server in [echo, trellis] {
        let mut client = JobServiceClient::new(server.connect().await?);
        let answer = client.submit(submit("sizes")).await?.into_inner();
        sizes.push(answer.encoded_len());
    }
    let (echo, trellis) = (sizes[0], sizes[1]);
    if echo.abs_diff(trellis) > 8 {
        return Err(
            format!("an answer has {echo} bytes on the echo, {trellis} on trellisd").into(),
        );
    }
    Ok(format!(
        "encoded bytes: a submission {}, its answer {echo} on the echo and {trellis} on trellisd",
        submit(QUEUE).encoded_len()
    ))
}
