//! Calls over one stream: answers, guards, cancellation, and the bound in flight.

use std::pin::pin;
use std::time::Duration;

use futures::poll;
use tokio::{join, select};
use trellis_client::{
    Acquired, Actual, Charge, ErrorKind, ErrorReason, Pipeline, Reservation, RetryAdvice,
};
use trellis_proto::v1 as proto;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;

use crate::fake::{Fake, Session, answers, expect_call};

/// A daemon, a pipeline in namespace `billing`, and its stream, opened by one answered call.
pub async fn opened(max_in_flight: usize) -> (Fake, Pipeline, Session) {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits().namespace("billing");
    let pipeline = limits.pipeline_with_max_in_flight(max_in_flight);
    let (acquired, session) = join!(pipeline.try_acquire(charge()), async {
        let mut session = fake.stream("billing").await;
        let (id, _) = session.next().await;
        session
            .send(id, Response::Acquire(answers::granted()))
            .await;
        session
    });
    assert!(acquired.unwrap().is_granted());
    (fake, pipeline, session)
}

pub fn charge() -> Charge {
    Charge::new("calls", 1)
}

/// Drives a call until its request has arrived; returns the request's id.
macro_rules! in_flight {
    ($session:expr, $call:expr) => {
        select! {
            _ = &mut $call => panic!("answered before it arrived"),
            (id, request) = $session.next() => {
                assert!(matches!(request, Request::Acquire(_)));
                id
            }
        }
    };
}

async fn reserve(pipeline: &Pipeline, session: &mut Session, id: &str) -> Reservation {
    let (acquired, ()) = join!(pipeline.try_acquire(charge()), async {
        let (call, _) = session.next().await;
        session
            .send(call, Response::Acquire(answers::reserved(id)))
            .await;
    });
    acquired.unwrap().granted().unwrap().reservation.unwrap()
}

/// Makes sure that the client has read everything sent so far.
async fn barrier(pipeline: &Pipeline, session: &mut Session) {
    let (settled, ()) = join!(pipeline.settle("barrier", []), async {
        let (id, request) = session.next().await;
        assert!(matches!(request, Request::Settle(_)));
        session.send(id, Response::Settle(answers::settled())).await;
    });
    settled.unwrap();
}

#[tokio::test]
async fn answers_find_their_callers_in_any_order() {
    let (_fake, pipeline, mut session) = opened(8).await;
    let calls = join!(
        pipeline.try_acquire(charge()),
        pipeline.try_acquire(charge()),
        pipeline.try_acquire(charge()),
        async {
            let ids = [
                session.next().await.0,
                session.next().await.0,
                session.next().await.0,
            ];
            session
                .send(
                    ids[2],
                    Response::Acquire(answers::outcome(proto::Outcome::Never)),
                )
                .await;
            session
                .send(
                    ids[1],
                    Response::Acquire(answers::outcome(proto::Outcome::Denied)),
                )
                .await;
            session
                .send(ids[0], Response::Acquire(answers::granted()))
                .await;
        }
    );
    assert!(calls.0.unwrap().is_granted());
    assert!(matches!(calls.1.unwrap(), Acquired::Denied { .. }));
    assert!(matches!(calls.2.unwrap(), Acquired::Never { .. }));
}

#[tokio::test]
async fn an_error_of_one_call_leaves_the_stream_alone() {
    let (_fake, pipeline, mut session) = opened(8).await;
    let (acquired, ()) = join!(pipeline.try_acquire(charge()), async {
        let (id, _) = session.next().await;
        let status = crate::errors::refusal(ErrorReason::LimitNotFound, |_| {});
        let status: tonic_types::Status = prost::Message::decode(status.details()).unwrap();
        session.send(id, Response::Error(status)).await;
    });
    assert_eq!(
        acquired.unwrap_err().reason(),
        Some(ErrorReason::LimitNotFound)
    );
    barrier(&pipeline, &mut session).await;
}

#[tokio::test]
async fn a_guard_settles_and_extends_over_its_stream() {
    let (_fake, pipeline, mut session) = opened(8).await;
    let mut reservation = reserve(&pipeline, &mut session, "r-1").await;
    let (extended, ()) = join!(
        reservation.extend(Duration::from_mins(2), []).into_future(),
        async {
            let (id, request) = session.next().await;
            assert!(matches!(request, Request::Extend(extend) if extend.reservation_id == "r-1"));
            let answer = proto::ExtendReservationResponse {
                outcome: proto::Outcome::Lost.into(),
                scope: answers::scope(),
                ..Default::default()
            };
            session.send(id, Response::Extend(answer)).await;
        }
    );
    extended.unwrap();
    let (settled, ()) = join!(reservation.settle([Actual::new("calls", 1)]), async {
        let (id, request) = session.next().await;
        assert!(matches!(request, Request::Settle(settle) if settle.actual.len() == 1));
        session.send(id, Response::Settle(answers::settled())).await;
    });
    settled.unwrap();
}

#[tokio::test]
async fn a_dropped_guard_is_released_over_its_stream() {
    let (_fake, pipeline, mut session) = opened(8).await;
    drop(reserve(&pipeline, &mut session, "r-1").await);
    let (_, request) = session.next().await;
    let Request::Settle(settle) = request else {
        panic!("expected a settle")
    };
    assert_eq!(settle.reservation_id, "r-1");
    assert!(settle.actual.is_empty() && !settle.refund_all);
}

#[tokio::test]
async fn a_release_cut_off_by_the_end_of_the_stream_is_sent_again() {
    let (mut fake, pipeline, mut session) = opened(8).await;
    drop(reserve(&pipeline, &mut session, "r-1").await);
    session.next().await;
    drop(session);
    let request = expect_call!(fake, Settle).answer(answers::settled());
    assert_eq!(
        (request.namespace.as_str(), request.reservation_id.as_str()),
        ("billing", "r-1")
    );
}

#[tokio::test]
async fn a_dropped_wait_is_cancelled_and_its_late_grant_refunded() {
    let (mut fake, pipeline, mut session) = opened(8).await;
    let id = {
        let acquire = pipeline
            .acquire()
            .charge(charge())
            .max_wait(Duration::from_secs(30));
        let mut call = pin!(acquire.send());
        in_flight!(session, call)
    };
    let (cancelled, request) = session.next().await;
    assert_eq!(
        (cancelled, request),
        (id, Request::Cancel(proto::CancelAcquire {}))
    );

    session
        .send(id, Response::Acquire(answers::reserved("r-1")))
        .await;
    let request = expect_call!(fake, Settle).answer(answers::settled());
    assert_eq!(
        (request.namespace.as_str(), request.reservation_id.as_str()),
        ("billing", "r-1")
    );
    assert!(request.refund_all);
}

#[tokio::test]
async fn a_grant_delivered_to_a_future_that_is_dropped_is_refunded() {
    let (mut fake, pipeline, mut session) = opened(8).await;
    {
        let mut call = pin!(pipeline.try_acquire(charge()));
        let id = in_flight!(session, call);
        session
            .send(id, Response::Acquire(answers::reserved("r-1")))
            .await;
        barrier(&pipeline, &mut session).await;
    }
    assert!(expect_call!(fake, Settle).request.refund_all);
}

#[tokio::test]
async fn a_dropped_try_sends_nothing() {
    let (_fake, pipeline, mut session) = opened(8).await;
    {
        let mut call = pin!(pipeline.try_acquire(charge()));
        in_flight!(session, call);
    }
    // It would see the cancel first.
    barrier(&pipeline, &mut session).await;
}

#[tokio::test]
async fn acquires_above_the_bound_wait_and_settles_pass_them() {
    let (_fake, pipeline, mut session) = opened(1).await;
    let mut first = pin!(pipeline.try_acquire(charge()));
    let id = in_flight!(session, first);
    let mut second = pin!(pipeline.try_acquire(charge()));
    assert!(poll!(&mut second).is_pending());
    // It would see the second acquire first.
    barrier(&pipeline, &mut session).await;

    session
        .send(id, Response::Acquire(answers::granted()))
        .await;
    assert!(first.await.unwrap().is_granted());
    let id = in_flight!(session, second);
    session
        .send(id, Response::Acquire(answers::granted()))
        .await;
    assert!(second.await.unwrap().is_granted());
}

#[tokio::test]
async fn an_unanswered_wait_runs_into_its_deadline_and_is_cancelled() {
    let mut fake = Fake::start().await;
    let builder = fake.builder().call_timeout(Duration::from_millis(20));
    let pipeline = builder.connect().await.unwrap().limits().pipeline();
    let acquire = pipeline
        .acquire()
        .charge(charge())
        .max_wait(Duration::from_millis(10));
    let (acquired, (mut session, id)) = join!(acquire.send(), async {
        let mut session = fake.stream("").await;
        let (id, _) = session.next().await;
        (session, id)
    });
    let error = acquired.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(error.retry_advice(), RetryAdvice::SameRequestId);
    assert_eq!(
        session.next().await,
        (id, Request::Cancel(proto::CancelAcquire {}))
    );
}

#[tokio::test]
async fn a_request_too_large_for_the_stream_is_refused_alone() {
    let (_fake, pipeline, mut session) = opened(8).await;
    let huge = Charge::new("x".repeat(5 * 1024 * 1024), 1);
    let error = pipeline.try_acquire(huge).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    barrier(&pipeline, &mut session).await;
}
