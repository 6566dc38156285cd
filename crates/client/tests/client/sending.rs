//! A call builder goes out when it is sent and when it is awaited, and means the same both ways.

use std::fmt::Debug;
use std::future::IntoFuture;
use std::time::Duration;

use tokio::join;
use trellis_client::{Charge, Client, Result, Spec};
use trellis_proto::v1 as proto;

use crate::fake::{Fake, answers, expect_call};

const SECOND: Duration = Duration::from_secs(1);

/// Sends one builder by `send` and an equal one by `await`; both calls are answered with `$answer`.
macro_rules! both_ways {
    ($fake:expr, $build:expr, $call:ident, $answer:expr) => {{
        let (sent, first) = join!($build.send(), async {
            expect_call!($fake, $call).answer($answer)
        });
        let (awaited, second) = join!(awaited($build), async {
            expect_call!($fake, $call).answer($answer)
        });
        assert_eq!(first, second);
        assert_eq!(
            format!("{:?}", sent.unwrap()),
            format!("{:?}", awaited.unwrap())
        );
    }};
}

async fn awaited<T: Debug>(call: impl IntoFuture<Output = Result<T>>) -> Result<T> {
    call.await
}

#[tokio::test]
async fn charging_calls_are_sent_and_awaited() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    both_ways!(
        fake,
        limits.acquire().charge(Charge::new("calls", 1)),
        Acquire,
        answers::granted()
    );
    both_ways!(
        fake,
        limits.extend("r-1", SECOND, []).request_id("x"),
        Extend,
        proto::ExtendReservationResponse {
            outcome: proto::Outcome::Granted.into(),
            reservation_ttl: answers::duration(SECOND),
            scope: answers::scope(),
            ..Default::default()
        }
    );
}

#[tokio::test]
async fn administrative_calls_are_sent_and_awaited() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    both_ways!(
        fake,
        limits.set_limit("calls", Spec::concurrency(5)),
        SetLimit,
        proto::SetLimitResponse {
            limit: Some(proto::Limit {
                spec: answers::concurrency(5),
                source: proto::SpecSource::SetLimit.into(),
                ..Default::default()
            }),
            created: true,
            scope: answers::scope(),
        }
    );
    both_ways!(
        fake,
        limits.delete_limit("calls").request_id("d"),
        DeleteLimit,
        proto::DeleteLimitResponse {
            deleted: true,
            scope: answers::scope(),
        }
    );
    both_ways!(
        fake,
        limits.reset_limit("calls"),
        ResetLimit,
        proto::ResetLimitResponse {
            buckets: 3,
            scope: answers::scope(),
        }
    );
    both_ways!(
        fake,
        limits.report_throttled("calls", SECOND).key("k"),
        ReportThrottled,
        proto::ReportThrottledResponse {
            paused_for: answers::duration(SECOND),
            scope: answers::scope(),
        }
    );
}

#[tokio::test]
async fn an_awaited_call_can_be_a_task_of_its_own() {
    let (mut fake, client) = Fake::with_client().await;
    let task = spawned(&client);
    let (acquired, _) = join!(task, async {
        expect_call!(fake, Acquire).answer(answers::granted())
    });
    assert!(acquired);
}

/// Keeps nothing of `client` borrowed, and may move between threads.
fn spawned(client: &Client) -> impl Future<Output = bool> + Send + 'static {
    let call = client.limits().acquire().charge(Charge::new("calls", 1));
    async move { call.await.unwrap().is_granted() }
}
