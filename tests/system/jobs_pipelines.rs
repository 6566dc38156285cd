//! Jobs of the real binary that take the slots of a pipeline's step.

use crate::jobs::{reserve, submit};
use crate::requests::seconds;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use trellis_proto::v1;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::pipeline_service_client::PipelineServiceClient;
use trellis_tests::daemon::Daemon;

/// Slots of the step `default` of `ocr`.
fn slots(slots: i64) -> v1::PipelineServiceUpdateRequest {
    v1::PipelineServiceUpdateRequest {
        name: "ocr".into(),
        settings: Some(v1::PipelineSettings {
            concurrency: [("default".to_owned(), slots)].into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_jobs_run_at_once_as_their_pipeline_says_now() {
    let daemon = Daemon::start(&[]);
    let mut pipelines = PipelineServiceClient::new(daemon.connect().await);
    let mut jobs = JobServiceClient::new(daemon.connect().await);
    pipelines.update(slots(1)).await.unwrap();
    for _ in 0..4 {
        let mut submit = submit("page");
        submit.job.as_mut().unwrap().options = Some(v1::JobOptions {
            charges: vec![v1::Charge {
                limit: "ocr.default.slots".into(),
                amount: 1,
                ..Default::default()
            }],
            ..Default::default()
        });
        jobs.submit(submit).await.unwrap();
    }
    let got = jobs.reserve(reserve(4)).await.unwrap().into_inner().jobs;
    assert_eq!(got.len(), 1);
    let waiting = v1::JobServiceReserveRequest {
        max_wait: seconds(20),
        ..reserve(4)
    };
    let mut other = jobs.clone();
    let waiting = timeout(Duration::from_secs(10), other.reserve(waiting));
    let updating = async {
        sleep(Duration::from_millis(300)).await;
        pipelines.update(slots(3)).await.unwrap();
    };
    // Twice as long is asked for: what comes in time comes by the update.
    let (more, ()) = tokio::join!(waiting, updating);
    let more = more.unwrap().unwrap().into_inner().jobs;
    let rest = jobs.reserve(reserve(4)).await.unwrap().into_inner().jobs;
    assert_eq!(more.len() + rest.len(), 2, "three slots, three jobs");
}
