//! Servers and clients of one process, joined by pipes instead of sockets.

use crate::spawn;
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tower::Service;
use trellis_client::Client;

/// The bytes that a pipe holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// The connections that a server of this process gets.
pub type Incoming = ReceiverStream<io::Result<DuplexStream>>;

/// A server in this process, to which any number of connections can be made.
#[derive(Clone, Debug)]
pub struct PipeServer(mpsc::Sender<io::Result<DuplexStream>>);

impl PipeServer {
    /// Serves `services`.
    #[must_use]
    pub fn start<S>(services: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        Self::start_by(|incoming| async move {
            let served = Server::builder()
                .serve_with_incoming(services, incoming)
                .await;
            served.expect("a server over pipes runs");
        })
    }

    fn start_by<S>(serve: impl FnOnce(Incoming) -> S) -> Self
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let (connections, incoming) = mpsc::channel(1);
        spawn(serve(ReceiverStream::new(incoming)));
        Self(connections)
    }

    /// A channel that connects at its first call, and again when its connection was cut.
    #[must_use]
    pub fn channel(&self) -> (Channel, Cut) {
        let (server, cut) = (self.clone(), Cut::default());
        let middle = cut.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (server, middle) = (server.clone(), middle.clone());
            async move {
                let ((ours, mut near), (mut far, theirs)) =
                    (duplex(PIPE_BYTES), duplex(PIPE_BYTES));
                let carried = spawn(async move {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
                let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                if middle.0.lock().refused {
                    carried.abort();
                    return Err(refused());
                }
                middle.0.lock().connection = Some(carried.abort_handle());
                let sent = server.0.send(Ok(theirs)).await;
                sent.map_err(|_| refused())?;
                Ok::<_, io::Error>(TokioIo::new(ours))
            }
        });
        let endpoint = Endpoint::from_static("http://daemon");
        (endpoint.connect_with_connector_lazy(connector), cut)
    }
}

/// Cuts a connection as the death of its client would.
#[derive(Clone, Debug, Default)]
pub struct Cut(Arc<Mutex<Carried>>);

/// A connection of a channel, and whether another one may be made.
#[derive(Debug, Default)]
struct Carried {
    connection: Option<AbortHandle>,
    refused: bool,
}

impl Cut {
    /// Cuts the connection that stands, if one does: both sides read its end, whatever was on its way.
    pub fn cut(&self) {
        if let Some(carried) = self.0.lock().connection.take() {
            carried.abort();
        }
    }

    /// Cuts it, and refuses every further one.
    pub fn cut_for_good(&self) {
        self.0.lock().refused = true;
        self.cut();
    }
}

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
    PipeServer::start(services).channel().0
}

/// Runs the server that `serve` makes of its connections, and connects a client: for servers with
/// layers, bounds or a shutdown of their own.
#[must_use]
pub fn connect_to<S>(serve: impl FnOnce(Incoming) -> S) -> Client
where
    S: Future<Output = ()> + Send + 'static,
{
    Client::from_channel(PipeServer::start_by(serve).channel().0)
}
