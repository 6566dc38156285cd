//! What a draining daemon answers.

use prost::bytes::Bytes;
use std::future::Future;
use tokio_util::sync::CancellationToken;
use trellis_core::{Error, ErrorCode, Micros, Result};
use trellis_proto::v1;

/// The answer of a daemon that is shutting down.
pub(crate) fn draining() -> Error {
    Error::new(
        ErrorCode::Draining,
        "the daemon is shutting down; call another one, or try again",
    )
    .retry_after(Micros::from_secs(1))
}

/// The last message of a stream that the daemon ends, with where to go on.
pub(crate) fn farewell(resume: Bytes) -> v1::Draining {
    v1::Draining {
        reason: draining().message,
        resume,
    }
}

/// The answer of a call, unless the daemon shuts down first. A call cut short leaves no trace.
pub(crate) async fn or_draining<T>(
    drain: &CancellationToken,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        answer = call => answer,
        () = drain.cancelled() => Err(draining()),
    }
}
