//! Errors as they come over the wire, and those that never reach it.

use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use tokio::join;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use trellis_client::{Charge, Client, ErrorKind, ErrorReason, RetryAdvice};
use trellis_proto::ERROR_DOMAIN;

use crate::fake::{Fake, expect_call};

/// A refusal as a daemon sends it.
pub fn refusal(reason: ErrorReason, edit: impl FnOnce(&mut ErrorDetails)) -> Status {
    let mut details =
        ErrorDetails::with_error_info(reason.as_reason(), ERROR_DOMAIN, HashMap::new());
    edit(&mut details);
    Status::with_error_details(Code::FailedPrecondition, "refused", details)
}

#[tokio::test]
async fn a_refusal_arrives_with_its_fields_and_its_pause() {
    let (mut fake, client) = Fake::with_client().await;
    let limits = client.limits();
    let pause = Duration::from_millis(1_250);
    let (acquired, ()) = join!(limits.try_acquire(Charge::new("", 0)), async {
        expect_call!(fake, Acquire).fail(refusal(ErrorReason::InvalidField, |details| {
            details.add_bad_request_violation("charges[0].limit", "1 to 256 bytes");
            details.add_bad_request_violation("charges[0].amount", "1 to 10^12");
            details.set_retry_info(Some(pause));
        }));
    });
    let error = acquired.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused(ErrorReason::InvalidField));
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(error.retry_advice(), RetryAdvice::Later(pause));
    let fields: Vec<_> = error
        .field_violations()
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    assert_eq!(fields, ["charges[0].limit", "charges[0].amount"]);
}

#[tokio::test]
async fn no_daemon_is_unreachable_and_nothing_was_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let connecting = Client::connect(address.as_str()).await.unwrap_err();
    let limits = Client::builder(address).connect_lazy().unwrap().limits();
    let unary = limits
        .try_acquire(Charge::new("calls", 1))
        .await
        .unwrap_err();
    let pipelined = limits
        .pipeline()
        .try_acquire(Charge::new("calls", 1))
        .await
        .unwrap_err();
    for error in [connecting, unary, pipelined] {
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(matches!(error.retry_advice(), RetryAdvice::Later(_)));
        for cause in ["tcp connect error", "refused"] {
            let told = error.to_string().matches(cause).count();
            assert_eq!(told, 1, "{cause} in: {error}");
        }
        // The message told the causes: a report that walks the sources must not tell them again.
        assert!(error.source().is_none(), "{error}");
    }
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_runs_into_the_deadline() {
    let mut fake = Fake::start().await;
    let builder = fake.builder().call_timeout(Duration::from_millis(20));
    let limits = builder.connect().await.unwrap().limits();
    let (acquired, exchange) = join!(limits.try_acquire(Charge::new("calls", 1)), async {
        expect_call!(fake, Acquire)
    });
    let error = acquired.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error:?}");
    assert_eq!(error.retry_advice(), RetryAdvice::SameRequestId);
    drop(exchange);
}

#[tokio::test]
async fn what_cannot_be_expressed_is_refused_before_it_is_sent() {
    let (_fake, client) = Fake::with_client().await;
    let acquire = client.limits().acquire().charge(Charge::new("calls", 1));
    let error = acquire.max_wait(Duration::MAX).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_it_is_tried() {
    for address in [
        "not a uri",
        "",
        "127.0.0.1:7117",
        "localhost",
        "/trellis",
        "http://",
        "http://:7117",
        "http://localhost:99999",
        "https://127.0.0.1:7117",
        "unix:///run/trellis",
    ] {
        let at_once = Client::connect(address).await.unwrap_err();
        let at_first_call = Client::builder(address).connect_lazy().unwrap_err();
        for error in [at_once, at_first_call] {
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
            assert_eq!(error.retry_advice(), RetryAdvice::Never, "{error}");
            assert!(error.message().contains("http://host:port"), "{error}");
        }
    }
}

#[tokio::test]
async fn the_longest_deadline_is_no_panic() {
    let mut fake = Fake::start().await;
    let builder = fake.builder().call_timeout(Duration::MAX);
    let limits = builder.connect().await.unwrap().limits();
    let (acquired, ()) = join!(limits.try_acquire(Charge::new("calls", 1)), async {
        expect_call!(fake, Acquire).fail(Status::data_loss("x"));
    });
    assert_eq!(acquired.unwrap_err().kind(), ErrorKind::Other);
}
