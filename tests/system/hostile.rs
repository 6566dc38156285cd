//! Hostile input: a typed error, nothing charged, no panic.

use crate::requests::{acquire, charge, reason, seconds, slow_rate};
use bytes::Bytes;
use prost::Message as _;
use tonic::Code;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::{self, limit_spec::Kind, window_spec::Span};
use trellis_tests::daemon::Daemon;
use trellis_tests::raw;

const ACQUIRE: &str = "/trellis.v1.LimitService/Acquire";

/// Requests that must be refused, with the field that is at fault.
fn malformed() -> Vec<(v1::AcquireRequest, &'static str)> {
    let named = |limit: &str, key: &str| v1::Charge {
        key: key.into(),
        ..charge(limit, 1)
    };
    let with_spec = |kind| v1::Charge {
        spec: Some(v1::LimitSpec { kind }),
        ..charge("a", 1)
    };
    let rate = |amount, period, burst| {
        with_spec(Some(Kind::Rate(v1::RateSpec {
            amount,
            period,
            burst,
        })))
    };
    let window = |span| with_spec(Some(Kind::Window(v1::WindowSpec { amount: 1, span })));
    let bad_duration = Some(prost_types::Duration {
        seconds: 1,
        nanos: -1,
    });
    let long = "x".repeat(257);
    let one = |charge| acquire(vec![charge]);
    vec![
        (acquire(vec![]), "charges"),
        (
            acquire((0..10_000).map(|n| charge(&n.to_string(), 1)).collect()),
            "charges",
        ),
        (acquire(vec![charge("a", 1), charge("a", 2)]), "charges[1]"),
        (one(charge("a", 0)), "charges[0].amount"),
        (one(charge("a", -1)), "charges[0].amount"),
        (one(charge("a", i64::MIN)), "charges[0].amount"),
        (one(charge("a", i64::MAX)), "charges[0].amount"),
        (one(charge("a", 1_000_000_000_001)), "charges[0].amount"),
        (
            acquire(vec![charge("a", 1), charge("", 1)]),
            "charges[1].limit",
        ),
        (one(named(&long, "")), "charges[0].limit"),
        (one(named("a\nb", "")), "charges[0].limit"),
        (one(named("a", &long)), "charges[0].key"),
        (one(named("a", "\u{0}")), "charges[0].key"),
        (one(with_spec(None)), "charges[0].spec.kind"),
        (
            one(rate(0, seconds(1), None)),
            "charges[0].spec.rate.amount",
        ),
        (
            one(rate(1, seconds(-1), None)),
            "charges[0].spec.rate.period",
        ),
        (one(rate(1, None, None)), "charges[0].spec.rate.period"),
        (
            one(rate(1, bad_duration, None)),
            "charges[0].spec.rate.period",
        ),
        (
            one(rate(1, seconds(i64::MAX), None)),
            "charges[0].spec.rate.period",
        ),
        (
            one(rate(1, seconds(1), Some(0))),
            "charges[0].spec.rate.burst",
        ),
        (one(window(None)), "charges[0].spec.window.span"),
        (
            one(window(Some(Span::Period(prost_types::Duration {
                seconds: 0,
                nanos: 999_999,
            })))),
            "charges[0].spec.window.period",
        ),
        (
            one(with_spec(Some(Kind::Concurrency(v1::ConcurrencySpec {
                slots: -5,
            })))),
            "charges[0].spec.concurrency.slots",
        ),
        (
            one(v1::Charge {
                spec: None,
                require_spec: true,
                ..charge("a", 1)
            }),
            "charges[0].require_spec",
        ),
        (
            v1::AcquireRequest {
                namespace: long.clone(),
                ..one(charge("a", 1))
            },
            "namespace",
        ),
        (
            v1::AcquireRequest {
                request_id: long.clone(),
                ..one(charge("a", 1))
            },
            "request_id",
        ),
        (
            v1::AcquireRequest {
                mode: 77,
                ..one(charge("a", 1))
            },
            "mode",
        ),
        (
            v1::AcquireRequest {
                priority: -7,
                ..one(charge("a", 1))
            },
            "priority",
        ),
        (
            v1::AcquireRequest {
                max_wait: seconds(1),
                ..one(charge("a", 1))
            },
            "max_wait",
        ),
        (
            v1::AcquireRequest {
                max_wait: seconds(3_601),
                mode: 2,
                ..one(charge("a", 1))
            },
            "max_wait",
        ),
        (
            v1::AcquireRequest {
                max_wait: seconds(-1),
                mode: 2,
                ..one(charge("a", 1))
            },
            "max_wait",
        ),
        (
            v1::AcquireRequest {
                reservation_ttl: seconds(0),
                ..one(charge("a", 1))
            },
            "reservation_ttl",
        ),
        (
            v1::AcquireRequest {
                reservation_ttl: seconds(86_401),
                ..one(charge("a", 1))
            },
            "reservation_ttl",
        ),
    ]
}

async fn remaining(client: &mut LimitServiceClient<tonic::transport::Channel>, limit: &str) -> i64 {
    let request = v1::PeekRequest {
        limit: limit.into(),
        ..Default::default()
    };
    client
        .peek(request)
        .await
        .unwrap()
        .into_inner()
        .bucket
        .unwrap()
        .remaining
}

#[tokio::test]
async fn malformed_requests_name_the_field_and_charge_nothing() {
    let daemon = Daemon::start(&[]);
    let mut client = LimitServiceClient::new(daemon.connect().await);
    let set = v1::SetLimitRequest {
        name: "a".into(),
        spec: Some(slow_rate(100)),
        ..Default::default()
    };
    client.set_limit(set).await.unwrap();
    for (request, field) in malformed() {
        let error = client.acquire(request.clone()).await.unwrap_err();
        let wanted = (Code::InvalidArgument, "INVALID_FIELD".into(), field.into());
        assert_eq!(reason(&error), wanted, "{error}");
        assert!(error.message().len() < 1_000, "{}", error.message());
    }
    assert_eq!(remaining(&mut client, "a").await, 100);
    let fair = v1::AcquireRequest {
        fair_key: "me".into(),
        ..acquire(vec![charge("a", 1)])
    };
    let error = client.acquire(fair).await.unwrap_err();
    let wanted = (
        Code::Unimplemented,
        "NOT_IMPLEMENTED".into(),
        "fair_key".into(),
    );
    assert_eq!(reason(&error), wanted);
    // It still serves, and the charge above its burst is told apart from a denied one.
    let answer = client
        .acquire(acquire(vec![charge("a", 101)]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.outcome(), v1::Outcome::Never);
    assert_eq!(remaining(&mut client, "a").await, 100);
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_error() {
    let daemon = Daemon::start(&[]);
    let channel = daemon.connect().await;
    // Field 1 (namespace), two bytes that are not UTF-8.
    let error = raw::call(&channel, ACQUIRE, Bytes::from_static(b"\x0a\x02\xff\xfe"))
        .await
        .unwrap_err();
    assert_eq!(
        reason(&error),
        (
            Code::InvalidArgument,
            "MALFORMED_MESSAGE".into(),
            String::new()
        )
    );
    assert!(error.message().contains("namespace"), "{}", error.message());
    // A truncated field, a wrong wire type, an endless varint, plain noise.
    for bytes in [
        &b"\x0a\x7f"[..],
        b"\x08\x01",
        b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/1.1",
    ] {
        let error = raw::call(&channel, ACQUIRE, Bytes::from_static(bytes))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{bytes:?}: {error}");
    }
    // A field that this version does not know is passed over.
    let mut known = acquire(vec![charge("a", 1)]).encode_to_vec();
    known.extend_from_slice(b"\xfa\x3f\x03abc");
    let answer = raw::call(&channel, ACQUIRE, known.into()).await.unwrap();
    let answer = v1::AcquireResponse::decode(answer).unwrap();
    assert_eq!(answer.outcome(), v1::Outcome::Granted);
    // A message above the bound is refused before it is read.
    let error = raw::call(&channel, ACQUIRE, Bytes::from(vec![0; 5 << 20]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    let answer = raw::call(
        &channel,
        ACQUIRE,
        acquire(vec![charge("a", 1)]).encode_to_vec().into(),
    );
    let answer = v1::AcquireResponse::decode(answer.await.unwrap()).unwrap();
    assert_eq!(answer.charges[0].remaining, 98);
}
