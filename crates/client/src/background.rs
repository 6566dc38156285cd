//! The tasks of a client, and the queue of reservations to release.
//!
//! A client starts one task for releases, and each pipeline one per open stream. They end by
//! themselves: the release task when the last handle is gone and the queue is empty, a stream's reader
//! when its stream ends. They hold nothing whose loss matters: a release that is not sent is done by
//! the reservation's TTL.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Channel;
use trellis_proto::v1::{SettleRequest, limit_service_client::LimitServiceClient};

/// Releases that wait for their turn; one more is left to its TTL.
const QUEUE: usize = 4_096;

/// Releases under way at once.
const CONCURRENCY: usize = 32;

/// Starts a task on the caller's runtime.
///
/// # Panics
/// Outside a Tokio runtime, as tonic's own channel does.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a client has no supervisor; see this file's head"
    )]
    drop(tokio::spawn(task));
}

/// Where guards and pipelines put the reservations that nobody will settle.
#[derive(Clone, Debug)]
pub(crate) struct Releases(mpsc::Sender<SettleRequest>);

impl Releases {
    /// Starts the task that sends the releases, each within `timeout`.
    pub(crate) fn start(stub: LimitServiceClient<Channel>, timeout: Duration) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        spawn(async move {
            ReceiverStream::new(receiver)
                .for_each_concurrent(CONCURRENCY, |release| send(stub.clone(), release, timeout))
                .await;
        });
        Self(sender)
    }

    /// Queues a release. Never waits.
    pub(crate) fn push(&self, release: SettleRequest) {
        if let Err(error) = self.0.try_send(release) {
            tracing::warn!(%error, "reservation left to its TTL: the queue of releases takes no more");
        }
    }
}

async fn send(mut stub: LimitServiceClient<Channel>, release: SettleRequest, timeout: Duration) {
    let mut request = Request::new(release);
    request.set_timeout(timeout);
    if let Err(status) = stub.settle(request).await {
        tracing::debug!(%status, "reservation left to its TTL: its release failed");
    }
}
