//! Servers and clients of one process, joined by pipes instead of sockets.

use crate::spawn;
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tower::Service;
use trellis_client::Client;

/// The bytes that a pipe holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// The connections that a server of this process gets.
pub type Incoming = ReceiverStream<io::Result<DuplexStream>>;

/// Serves `services` in this process, and connects a client.
#[must_use]
pub fn connect<S>(services: S) -> Client
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    Client::from_channel(channel(services))
}

/// Serves `services` in this process, and connects a channel.
#[must_use]
pub fn channel<S>(services: S) -> Channel
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    channel_to(|incoming| async move {
        let served = Server::builder()
            .serve_with_incoming(services, incoming)
            .await;
        served.expect("a server over pipes runs");
    })
}

/// Runs the server that `serve` makes of its connections, and connects a client: for servers with
/// layers, bounds or a shutdown of their own.
#[must_use]
pub fn connect_to<S>(serve: impl FnOnce(Incoming) -> S) -> Client
where
    S: Future<Output = ()> + Send + 'static,
{
    Client::from_channel(channel_to(serve))
}

fn channel_to<S>(serve: impl FnOnce(Incoming) -> S) -> Channel
where
    S: Future<Output = ()> + Send + 'static,
{
    let (connections, incoming) = mpsc::channel(1);
    spawn(serve(ReceiverStream::new(incoming)));
    let connector = tower::service_fn(move |_: Uri| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = duplex(PIPE_BYTES);
            let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            connections.send(Ok(theirs)).await.map_err(refused)?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    let endpoint = Endpoint::from_static("http://daemon");
    endpoint.connect_with_connector_lazy(connector)
}
