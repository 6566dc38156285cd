//! Settings of the real binary: what it refuses before it binds a port, and what it prints.

use crate::requests::{acquire, charge};
use prost::Message as _;
use trellis_proto::v1::batch_acquire_result::Result as Answer;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::{self, limit_spec, window_spec};
use trellis_tests::daemon::{Daemon, command};

fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = command();
    command.args(arguments).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("serving"), "{said}");
    said
}

#[test]
fn a_bad_setting_is_refused_with_its_name_value_and_what_is_allowed() {
    for (arguments, environment, wanted) in [
        (
            &["--listen", "nowhere"][..],
            &[][..],
            &["listen", "nowhere"][..],
        ),
        (
            &["--listen", "0.0.0.0:7117"],
            &[],
            &["0.0.0.0:7117", "insecure"],
        ),
        (&[], &[("REDIS_PORT", "70000")], &["REDIS_PORT", "70000"]),
        (
            &[],
            &[("USE_DISTRIBUTED", "maybe")],
            &["USE_DISTRIBUTED", "maybe"],
        ),
        (
            &[],
            &[
                ("USE_DISTRIBUTED", "yes"),
                ("REDIS_HOST", "127.0.0.1"),
                ("TRELLIS_REDIS__DEATH_AFTER", "1s"),
            ],
            &[
                "TRELLIS_REDIS__DEATH_AFTER",
                "at least 3 heartbeat_interval",
            ],
        ),
        (&[], &[("USE_DISTRIBUTED", "yes")], &["set REDIS_HOST"]),
        (
            &[],
            &[
                ("USE_DISTRIBUTED", "yes"),
                ("REDIS_HOST", "a"),
                ("REDIS_URL", "redis://b"),
            ],
            &["REDIS_HOST = \"a\"", "contradicts REDIS_URL"],
        ),
        (
            &[],
            &[("TRELLIS_LIMITS__MAX_WAITRES", "5")],
            &["TRELLIS_LIMITS__MAX_WAITRES"],
        ),
        (
            &["--config", "/no/such/file.toml"],
            &[],
            &["/no/such/file.toml"],
        ),
        (&["--no-such-flag"], &[], &["--no-such-flag"]),
    ] {
        let said = refused(arguments, environment);
        for part in wanted {
            assert!(said.contains(part), "{arguments:?} {environment:?}: {said}");
        }
    }
}

#[test]
fn the_result_of_all_layers_is_printed_without_secrets() {
    let mut command = command();
    command
        .args(["--dump-config"])
        .env("REDIS_PASSWORD", "hunter2")
        .env("REDIS_HOST", "10.0.0.7");
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("10.0.0.7") && !printed.contains("hunter2"),
        "{printed}"
    );
}

/// A charge's answer that is as long as one can be.
fn longest_charge() -> v1::ChargeResult {
    let calendar = v1::CalendarPeriod {
        unit: v1::CalendarUnit::Month.into(),
        time_zone: "America/Argentina/ComodRivadavia".into(),
    };
    let window = v1::WindowSpec {
        amount: i64::MAX,
        span: Some(window_spec::Span::Calendar(calendar)),
    };
    v1::ChargeResult {
        remaining: i64::MIN,
        retry_after: Some(longest_duration()),
        spec: Some(v1::LimitSpec {
            kind: Some(limit_spec::Kind::Window(window)),
        }),
        source: v1::SpecSource::SetLimit.into(),
        spec_replaced: true,
    }
}

/// A year and all but a nanosecond.
fn longest_duration() -> prost_types::Duration {
    prost_types::Duration {
        seconds: 366 * 86_400,
        nanos: 999_999_999,
    }
}

fn longest_answer(charges: usize) -> v1::BatchAcquireResponse {
    let response = v1::AcquireResponse {
        outcome: v1::Outcome::TimedOut.into(),
        retry_after: Some(longest_duration()),
        charges: vec![longest_charge(); charges],
        reservation_id: "0".repeat(32),
        reservation_ttl: Some(longest_duration()),
        position: 1_000,
        scope: Some(v1::Scope {
            kind: v1::ScopeKind::Degraded.into(),
            since: Some(prost_types::Timestamp {
                seconds: 4_000_000_000,
                nanos: 999_999_999,
            }),
            reason: "unavailable".into(),
        }),
    };
    v1::BatchAcquireResponse {
        results: vec![v1::BatchAcquireResult {
            result: Some(Answer::Response(response)),
        }],
    }
}

/// The figures by which the daemon's `config/rules.rs` bounds `limits.max_batch`.
#[tokio::test]
async fn the_longest_answers_are_no_longer_than_the_bound_on_batches_reckons() {
    let item = longest_answer(0).encoded_len();
    let charges = longest_answer(1_000).encoded_len() - item;
    assert!(item <= 120 && charges <= 1_000 * 84, "{item}, {charges}");

    let daemon = Daemon::start(&[]);
    let mut client = LimitServiceClient::new(daemon.connect().await);
    let unknown = v1::Charge {
        spec: None,
        ..charge(&"\"".repeat(256), 1)
    };
    let request = v1::BatchAcquireRequest {
        requests: vec![acquire(vec![unknown])],
    };
    let answer = client.batch_acquire(request).await.unwrap().into_inner();
    let length = answer.encoded_len();
    assert!((600..=704).contains(&length), "{length}: {answer:?}");
}
