//! 100,000 callers that want to wait at once.

use crate::requests::{Requests, acquire, charge, waiting};
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use trellis_proto::v1;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::status_service_client::StatusServiceClient;
use trellis_tests::daemon::Daemon;

const STREAMS: u64 = 125;
const EACH: u64 = 800;

/// Sends its requests over one stream and counts the answers by what they say.
async fn wait_in_vain(
    daemon: &Daemon,
    stream: u64,
) -> impl Future<Output = BTreeMap<String, u64>> + Send + 'static {
    let mut client = LimitServiceClient::new(daemon.connect().await);
    async move {
        let (requests, inbound) = Requests::open(1_024).await;
        for id in 1..=EACH {
            // A key apart makes a few of them wait for two limits.
            let mut charges = vec![charge("full", 1)];
            if id == EACH {
                charges.push(v1::Charge {
                    key: stream.to_string(),
                    ..charge("other", 1)
                });
            }
            requests
                .send(id, Request::Acquire(waiting(charges, 2)))
                .await;
        }
        drop(requests);
        let answers = client.acquire_stream(inbound).await.unwrap();
        let mut answers = answers.into_inner();
        let mut counts = BTreeMap::new();
        while let Some(answer) = answers.message().await.unwrap() {
            let said = match answer.response.unwrap() {
                Response::Acquire(answer) => answer.outcome().as_str_name().to_owned(),
                Response::Error(error) => error.message,
                other => panic!("{other:?}"),
            };
            *counts.entry(said).or_default() += 1;
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_waiters_are_bounded_answered_and_charged_nothing() {
    let daemon = Daemon::start(&[]);
    let mut client = LimitServiceClient::new(daemon.connect().await);
    client
        .acquire(acquire(vec![charge("full", 100)]))
        .await
        .unwrap();
    let mut streams = JoinSet::new();
    for stream in 0..STREAMS {
        streams.spawn(wait_in_vain(&daemon, stream).await);
    }
    let mut total = BTreeMap::new();
    for counts in streams.join_all().await {
        for (said, count) in counts {
            *total.entry(said).or_insert(0) += count;
        }
    }
    assert_eq!(total.values().sum::<u64>(), STREAMS * EACH, "{total:?}");
    assert_eq!(total.len(), 2, "{total:?}");
    assert!(total["OUTCOME_TIMED_OUT"] >= 16_384, "{total:?}");
    assert!(
        total
            .keys()
            .any(|said| said.contains("16384 calls are waiting")),
        "{total:?}"
    );
    let mut status = StatusServiceClient::new(daemon.connect().await);
    let limits = status
        .get_status(v1::GetStatusRequest {})
        .await
        .unwrap()
        .into_inner()
        .limits;
    assert_eq!((limits.unwrap().waiters, limits.unwrap().granted), (0, 1));
    for limit in ["full", "other"] {
        let request = v1::PeekRequest {
            limit: limit.into(),
            ..Default::default()
        };
        let full = client.peek(request).await;
        let wanted = if limit == "full" { 0 } else { 100 };
        // The inline limit of which only full buckets are left may be forgotten already.
        if let Ok(peeked) = full {
            assert_eq!(
                peeked.into_inner().bucket.unwrap().remaining,
                wanted,
                "{limit}"
            );
        }
    }
}
