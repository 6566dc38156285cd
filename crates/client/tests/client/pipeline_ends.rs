//! The end of a stream: broken, drained, refused, or not needed any more.

use std::pin::pin;
use std::time::Duration;

use futures::poll;
use tokio::{join, select};
use tonic::Status;
use trellis_client::{Charge, ErrorKind, ErrorReason, RetryAdvice};
use trellis_proto::v1 as proto;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;

use crate::errors::refusal;
use crate::fake::{Fake, answers};
use crate::pipeline::{charge, opened};

#[tokio::test]
async fn a_broken_stream_leaves_the_outcome_unknown_and_the_next_call_opens_another() {
    let (mut fake, pipeline, mut session) = opened(8).await;
    for status in [None, Some(Status::unavailable("gone"))] {
        let (acquired, ()) = join!(pipeline.try_acquire(charge()), async {
            session.next().await;
            match status {
                Some(status) => session.fail(status).await,
                None => drop(session),
            }
        });
        let error = acquired.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(error.retry_advice(), RetryAdvice::SameRequestId);

        let (acquired, next) = join!(pipeline.try_acquire(charge()), async {
            let mut session = fake.stream("billing").await;
            let (id, _) = session.next().await;
            session
                .send(id, Response::Acquire(answers::granted()))
                .await;
            session
        });
        assert!(acquired.unwrap().is_granted());
        session = next;
    }
}

#[tokio::test]
async fn a_stream_without_one_answer_is_opened_again_after_the_back_off() {
    let (mut fake, client) = Fake::with_client().await;
    let pipeline = client.limits().pipeline();
    let (acquired, ()) = join!(pipeline.try_acquire(charge()), async {
        let mut session = fake.stream("").await;
        session.next().await;
    });
    assert_eq!(acquired.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let (acquired, ()) = join!(pipeline.try_acquire(charge()), async {
        let mut session = fake.stream("").await;
        let (id, _) = session.next().await;
        session
            .send(id, Response::Acquire(answers::granted()))
            .await;
    });
    assert!(acquired.unwrap().is_granted());
}

#[tokio::test]
async fn a_draining_stream_still_answers_while_new_calls_open_another() {
    let (mut fake, pipeline, mut old) = opened(8).await;
    let (answered, cut_off, ()) = join!(
        pipeline.try_acquire(charge()),
        pipeline.try_acquire(charge()),
        async {
            let (first, _) = old.next().await;
            old.next().await;
            let draining = proto::Draining {
                reason: "shutdown".into(),
                ..Default::default()
            };
            old.send(0, Response::Draining(draining)).await;
            // A call made before `draining` is read goes to the old stream and is lost with it.
            let session = loop {
                let call = pipeline.try_acquire(charge());
                tokio::select! {
                    _ = call => panic!("answered by nobody"),
                    session = fake.stream("billing") => break session,
                    _ = old.next() => {}
                }
            };
            old.send(first, Response::Acquire(answers::granted())).await;
            drop((old, session));
        }
    );
    assert!(answered.unwrap().is_granted());
    assert_eq!(cut_off.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
}

#[tokio::test]
async fn a_refused_stream_tells_its_callers_why() {
    let (mut fake, client) = Fake::with_client().await;
    let pipeline = client.limits().pipeline();
    let (acquired, ()) = join!(pipeline.try_acquire(Charge::new("calls", 1)), async {
        let session = fake.stream("").await;
        session
            .fail(refusal(ErrorReason::TooManyStreams, |_| {}))
            .await;
    });
    let error = acquired.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Refused(ErrorReason::TooManyStreams)
    );
    assert!(matches!(error.retry_advice(), RetryAdvice::Later(_)));
}

#[tokio::test]
async fn the_stream_ends_with_the_last_handle() {
    let (_fake, pipeline, mut session) = opened(8).await;
    let clone = pipeline.clone();
    drop(pipeline);
    drop(clone);
    assert!(session.ended().await);
}

#[tokio::test]
async fn callers_that_come_together_share_one_stream() {
    let (mut fake, client) = Fake::with_client().await;
    let pipeline = client.limits().pipeline();
    let (one, two, session) = join!(
        pipeline.try_acquire(charge()),
        pipeline.try_acquire(charge()),
        async {
            let mut session = fake.stream("").await;
            for _ in 0..2 {
                let (id, _) = session.next().await;
                session
                    .send(id, Response::Acquire(answers::granted()))
                    .await;
            }
            session
        }
    );
    assert!(one.unwrap().is_granted() && two.unwrap().is_granted());
    drop(session);
}

#[tokio::test]
async fn a_dropped_wait_is_not_cancelled_again_at_its_deadline() {
    let mut fake = Fake::start().await;
    let timeout = Duration::from_millis(200);
    let client = fake
        .builder()
        .call_timeout(timeout)
        .connect()
        .await
        .unwrap();
    let pipeline = client.limits().pipeline();
    let wait = || {
        let acquire = pipeline.acquire().charge(charge());
        acquire.max_wait(Duration::from_millis(1)).send()
    };
    let mut session = {
        let mut dropped = pin!(wait());
        assert!(poll!(&mut dropped).is_pending());
        let opening = async { fake.stream("").await };
        let sent = async {
            let mut session = opening.await;
            session.next().await;
            session
        };
        select! {
            _ = &mut dropped => panic!("answered by nobody"),
            session = sent => session,
        }
    };
    let cancel = Request::Cancel(proto::CancelAcquire {});
    assert_eq!(session.next().await.1, cancel);
    // Its deadline comes after that of the dropped one, and both are looked at together.
    let late = wait().await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Deadline);
    assert!(matches!(session.next().await.1, Request::Acquire(_)));
    assert_eq!(session.next().await, (2, cancel));
}
