//! Ends the streams of services that are not ours (health watches, reflection) when the daemon drains.
//!
//! Such a stream would otherwise stay open for as long as its client likes, and hold the shutdown up.

use crate::drain::draining;
use crate::error::status;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// A service whose answers end when the daemon drains.
#[derive(Clone)]
pub(crate) struct EndOnDrain<S> {
    inner: S,
    drain: CancellationToken,
}

impl<S> EndOnDrain<S> {
    pub fn new(inner: S, drain: &CancellationToken) -> Self {
        let drain = drain.clone();
        Self { inner, drain }
    }
}

impl<S: NamedService> NamedService for EndOnDrain<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for EndOnDrain<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        let drained = Box::pin(self.drain.clone().cancelled_owned());
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|inner| {
                Body::new(Ending {
                    inner,
                    drained,
                    ended: false,
                })
            }))
        })
    }
}

/// An answer's body, cut when the daemon drains and nothing is ready to be sent.
struct Ending {
    inner: Body,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
}

impl HttpBody for Ending {
    type Data = prost::bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        std::task::ready!(self.drained.as_mut().poll(context));
        self.ended = true;
        let mut trailers = HeaderMap::new();
        let told = status(draining()).add_header(&mut trailers);
        Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
