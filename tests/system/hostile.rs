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

fn one(charge: v1::Charge) -> v1::AcquireRequest {
    acquire(vec![charge])
}

/// Requests whose charges are refused, with the field that is at fault.
fn bad_charges() -> Vec<(v1::AcquireRequest, &'static str)> {
    let named = |limit: &str, key: &str| {
        let key = key.into();
        one(v1::Charge {
            key,
            ..charge(limit, 1)
        })
    };
    let require_none = v1::Charge {
        spec: None,
        require_spec: true,
        ..charge("a", 1)
    };
    let long = "x".repeat(257);
    let many = (0..10_000).map(|n| charge(&n.to_string(), 1)).collect();
    vec![
        (acquire(vec![]), "charges"),
        (acquire(many), "charges"),
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
        (named(&long, ""), "charges[0].limit"),
        (named("a\nb", ""), "charges[0].limit"),
        (named("a", &long), "charges[0].key"),
        (named("a", "\u{0}"), "charges[0].key"),
        (one(require_none), "charges[0].require_spec"),
    ]
}

/// Requests whose spec is refused, with the field of the spec that is at fault.
fn bad_specs() -> Vec<(v1::AcquireRequest, &'static str)> {
    let with = |kind| {
        let spec = Some(v1::LimitSpec { kind });
        one(v1::Charge {
            spec,
            ..charge("a", 1)
        })
    };
    let rate = |amount, period, burst| {
        with(Some(Kind::Rate(v1::RateSpec {
            amount,
            period,
            burst,
        })))
    };
    let window = |span| with(Some(Kind::Window(v1::WindowSpec { amount: 1, span })));
    let odd = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let slots = v1::ConcurrencySpec { slots: -5 };
    vec![
        (with(None), "kind"),
        (rate(0, seconds(1), None), "rate.amount"),
        (rate(1, seconds(-1), None), "rate.period"),
        (rate(1, None, None), "rate.period"),
        (rate(1, odd(1, -1), None), "rate.period"),
        (rate(1, seconds(i64::MAX), None), "rate.period"),
        (rate(1, seconds(1), Some(0)), "rate.burst"),
        (window(None), "window.span"),
        (window(odd(0, 999_999).map(Span::Period)), "window.period"),
        (with(Some(Kind::Concurrency(slots))), "concurrency.slots"),
    ]
}

/// Requests of which another field is refused.
fn bad_requests() -> Vec<(v1::AcquireRequest, &'static str)> {
    let long = "x".repeat(257);
    let good = || one(charge("a", 1));
    let wait = |max_wait| v1::AcquireRequest {
        max_wait,
        mode: 2,
        ..good()
    };
    let fair = |key: &str, weight| v1::AcquireRequest {
        fair_key: key.into(),
        weight,
        ..good()
    };
    let reserve = |reservation_ttl| v1::AcquireRequest {
        reservation_ttl,
        ..good()
    };
    vec![
        (
            v1::AcquireRequest {
                namespace: long.clone(),
                ..good()
            },
            "namespace",
        ),
        (
            v1::AcquireRequest {
                request_id: long.clone(),
                ..good()
            },
            "request_id",
        ),
        (v1::AcquireRequest { mode: 77, ..good() }, "mode"),
        (
            v1::AcquireRequest {
                priority: -7,
                ..good()
            },
            "priority",
        ),
        (
            v1::AcquireRequest {
                max_wait: seconds(1),
                ..good()
            },
            "max_wait",
        ),
        (wait(seconds(3_601)), "max_wait"),
        (wait(seconds(-1)), "max_wait"),
        (reserve(seconds(0)), "reservation_ttl"),
        (reserve(seconds(86_401)), "reservation_ttl"),
        (fair("", 1), "weight"),
        (fair("me", 1_001), "weight"),
        (fair("me", u32::MAX), "weight"),
        (fair(&long, 1), "fair_key"),
        (fair("m\u{0}e", 0), "fair_key"),
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
    let specs = bad_specs().into_iter();
    let specs = specs.map(|(request, field)| (request, format!("charges[0].spec.{field}")));
    let others = bad_charges().into_iter().chain(bad_requests());
    let others = others.map(|(request, field)| (request, field.to_owned()));
    for (request, field) in specs.chain(others) {
        let error = client.acquire(request.clone()).await.unwrap_err();
        let wanted = (Code::InvalidArgument, "INVALID_FIELD".into(), field);
        assert_eq!(reason(&error), wanted, "{error}");
        assert!(error.message().len() < 1_000, "{}", error.message());
    }
    assert_eq!(remaining(&mut client, "a").await, 100);
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
