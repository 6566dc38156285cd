//! Accepting connections: a bound on how many are open, an end to those that say nothing, and one
//! switch that cuts them all.
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
use tokio::time::{Instant, Sleep};
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
    silence: Duration,
    cut: CancellationToken,
    stop: CancellationToken,
}

impl Acceptor {
    /// Accepts up to `max_connections` at a time, until `cut` fails them all. A connection whose peer
    /// says nothing for `silence` fails, at most as long again later: neither tonic nor axum ends one
    /// that never sends its first request, and such ones would keep every place.
    pub(crate) fn new(
        listener: TcpListener,
        max_connections: usize,
        silence: Duration,
        cut: CancellationToken,
    ) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(max_connections)),
            silence,
            cut,
            stop: CancellationToken::new(),
        }
    }

    /// Fails at `stop` the connections on which nothing was ever read. A graceful end waits for their
    /// handshake, which may never come, and nothing of theirs is lost.
    pub(crate) fn ending_unused_ones_at(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
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
                        silence: self.silence,
                        heard: false,
                        listened: Box::pin(tokio::time::sleep(self.silence)),
                        unused: Some(Box::pin(self.stop.child_token().cancelled_owned())),
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

/// A connection that fails when it is cut, or when its peer has been silent for too long.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Duration,
    /// Whether something was read since `listened` began. A flag, so that a read moves no timer.
    heard: bool,
    listened: Pin<Box<Sleep>>,
    /// Until something was read: what ends the connection when the server stops.
    unused: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
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

    /// Completes when nothing was read for as long as a peer may be silent.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.listened.as_mut().poll(context).is_ready() {
            if !std::mem::take(&mut self.heard) {
                return Poll::Ready(());
            }
            let until = Instant::now() + self.silence;
            self.listened.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// Completes when the server stops before anything was read.
    fn poll_unused(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.unused {
            Some(stopped) => stopped.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_read(context, buffer);
        if answer.is_ready() {
            self.heard = true;
            self.unused = None;
        } else if self.poll_unused(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        } else if self.poll_silence(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LONG: Duration = Duration::from_hours(1);

    async fn acceptor(
        max_connections: usize,
        silence: Duration,
    ) -> (Acceptor, SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = CancellationToken::new();
        let acceptor = Acceptor::new(listener, max_connections, silence, cut.clone());
        (acceptor, address, cut)
    }

    #[tokio::test]
    async fn at_the_bound_a_connection_waits_until_another_ends() {
        let (mut acceptor, address, _) = acceptor(1, LONG).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = acceptor.connection().await;
        assert!(acceptor.connection().now_or_never().is_none());
        drop(accepted);
        acceptor.connection().await;
    }

    #[tokio::test]
    async fn a_cut_fails_a_read_that_waits() {
        let (mut acceptor, address, cut) = acceptor(1, LONG).await;
        let _peer = TcpStream::connect(address).await.unwrap();
        let (mut accepted, _) = acceptor.connection().await;
        let mut buffer = [0; 1];
        let read = async { accepted.read(&mut buffer).await };
        let (read, ()) = tokio::join!(read, async { cut.cancel() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_peer_that_says_nothing_any_more_loses_its_connection() {
        let (mut acceptor, address, _) = acceptor(1, Duration::from_millis(50)).await;
        let mut peer = TcpStream::connect(address).await.unwrap();
        let (mut accepted, _) = acceptor.connection().await;
        let mut buffer = [0; 1];
        peer.write_all(b"x").await.unwrap();
        assert_eq!(accepted.read(&mut buffer).await.unwrap(), 1);
        let error = accepted.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
