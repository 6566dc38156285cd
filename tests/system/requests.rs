//! Requests that the tests send, and what they look for in answers.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::{self, AcquireStreamRequest, limit_spec::Kind};

/// A duration as an optional field carries it.
#[allow(clippy::unnecessary_wraps, reason = "every message wants it so")]
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A rate so slow that nothing comes back during a test.
pub fn slow_rate(burst: i64) -> v1::LimitSpec {
    let rate = v1::RateSpec {
        amount: 1,
        period: seconds(86_400),
        burst: Some(burst),
    };
    v1::LimitSpec {
        kind: Some(Kind::Rate(rate)),
    }
}

pub fn charge(limit: &str, amount: i64) -> v1::Charge {
    v1::Charge {
        limit: limit.into(),
        amount,
        spec: Some(slow_rate(100)),
        ..Default::default()
    }
}

pub fn acquire(charges: Vec<v1::Charge>) -> v1::AcquireRequest {
    v1::AcquireRequest {
        charges,
        ..Default::default()
    }
}

pub fn waiting(charges: Vec<v1::Charge>, max_wait_seconds: i64) -> v1::AcquireRequest {
    let mut request = acquire(charges);
    request.set_mode(v1::AcquireMode::Wait);
    request.max_wait = seconds(max_wait_seconds);
    request
}

/// The reason of an error, and the field at fault.
pub fn reason(status: &Status) -> (Code, String, String) {
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default();
    let field = details
        .bad_request()
        .and_then(|bad| bad.field_violations.first());
    (
        status.code(),
        reason,
        field
            .map(|violation| violation.field.clone())
            .unwrap_or_default(),
    )
}

/// The requests of one stream, `open` sent already.
pub struct Requests(mpsc::Sender<AcquireStreamRequest>);

impl Requests {
    /// Both ends; `room` requests, `open` among them, may be sent before they are read.
    pub async fn open(room: usize) -> (Self, ReceiverStream<AcquireStreamRequest>) {
        let (sender, inbound) = mpsc::channel(room);
        let requests = Self(sender);
        requests
            .send(0, Request::Open(v1::StreamOpen::default()))
            .await;
        (requests, ReceiverStream::new(inbound))
    }

    pub async fn send(&self, id: u64, request: Request) {
        let request = Some(request);
        self.0
            .send(AcquireStreamRequest { id, request })
            .await
            .unwrap();
    }
}
