//! Accepting connections: a bound on how many are open, and one switch that cuts them all.
//!
//! tonic and axum start a task for each connection themselves, out of the supervisor's reach. Their
//! tasks end when their connection fails, so every connection carries a token that makes it fail.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long to wait after a failed accept: the usual reason is that file descriptors have run out, and
/// then the next one fails as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener whose connections are bounded in number and can be cut.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    places: Arc<Semaphore>,
    cut: CancellationToken,
}

impl Acceptor {
    /// Accepts up to `max_connections` at a time, until `cut` fails them all.
    pub(crate) fn new(
        listener: TcpListener,
        max_connections: usize,
        cut: CancellationToken,
    ) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(max_connections)),
            cut,
        }
    }

    /// The next connection. Waits while the bound is reached. A dropped call loses no connection.
    pub(crate) async fn connection(&mut self) -> (Connection, SocketAddr) {
        loop {
            let place = self.place().await;
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Without it only small answers are slower; not worth a connection.
                    let _ = stream.set_nodelay(true);
                    // A token of its own, so that connections share no lock.
                    let cut = Box::pin(self.cut.child_token().cancelled_owned());
                    let connection = Connection {
                        stream,
                        cut,
                        _place: place,
                    };
                    return (connection, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Fails only when the semaphore is closed, which nobody does.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}

impl axum::serve::Listener for Acceptor {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.connection().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when it is cut.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// The stream's answer; where it would wait, the cut is waited for as well.
    fn unless_cut<T>(
        &mut self,
        context: &mut Context<'_>,
        answer: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if answer.is_pending() && self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        answer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.unless_cut(context, answer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_cut(context, answer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.unless_cut(context, answer)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    async fn acceptor(max_connections: usize) -> (Acceptor, SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = CancellationToken::new();
        let acceptor = Acceptor::new(listener, max_connections, cut.clone());
        (acceptor, address, cut)
    }

    #[tokio::test]
    async fn at_the_bound_a_connection_waits_until_another_ends() {
        let (mut acceptor, address, _) = acceptor(1).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = acceptor.connection().await;
        assert!(acceptor.connection().now_or_never().is_none());
        drop(accepted);
        acceptor.connection().await;
    }

    #[tokio::test]
    async fn a_cut_fails_a_read_that_waits() {
        let (mut acceptor, address, cut) = acceptor(1).await;
        let _peer = TcpStream::connect(address).await.unwrap();
        let (mut accepted, _) = acceptor.connection().await;
        let mut buffer = [0; 1];
        let read = async { accepted.read(&mut buffer).await };
        let (read, ()) = tokio::join!(read, async { cut.cancel() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
