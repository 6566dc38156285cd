//! Streams to a service, and what refused calls name.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

/// A stream's two directions.
pub struct Duplex<Q, A> {
    pub requests: mpsc::Sender<Q>,
    pub answers: Streaming<A>,
}

impl<Q: Send + 'static, A> Duplex<Q, A> {
    pub fn outgoing() -> (mpsc::Sender<Q>, ReceiverStream<Q>) {
        let (requests, receiver) = mpsc::channel(4_096);
        (requests, ReceiverStream::new(receiver))
    }

    pub async fn send(&self, request: Q) {
        assert!(self.requests.send(request).await.is_ok());
    }

    pub async fn next(&mut self) -> A {
        self.answers.message().await.unwrap().unwrap()
    }

    /// Ends this side.
    pub fn end(&mut self) {
        self.requests = mpsc::channel(1).0;
    }

    pub async fn expect_end(&mut self) {
        assert!(self.answers.message().await.unwrap().is_none());
    }

    pub async fn expect_error(&mut self) -> Status {
        loop {
            if let Err(status) = self.answers.message().await.transpose().unwrap() {
                return status;
            }
        }
    }
}

/// The field that a refused call names.
#[track_caller]
pub fn field<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations[0].field.clone()
}

/// The reason that a refused call gives.
#[track_caller]
pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let details = answer.unwrap_err().get_error_details();
    details.error_info().unwrap().reason.clone()
}

/// The status of an item, as that of a call.
pub fn of_item(status: &tonic_types::Status) -> Status {
    use prost::Message as _;
    let details = status.encode_to_vec().into();
    Status::with_details(Code::from_i32(status.code), &status.message, details)
}
