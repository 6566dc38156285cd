//! What is sent: jobs of one size that do nothing.

use prost::Message as _;
use trellis_proto::v1::job_payload::Content;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::{
    Durability, JobDecision, JobPayload, JobServiceSubmitRequest, JobServiceSubmitResponse,
    JobSpec, Scope, ScopeKind, SubmittedJob,
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
