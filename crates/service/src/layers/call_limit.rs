//! Bounds the calls in flight in the whole daemon. Streams of acquires have a bound of their own.
//!
//! A call is in flight until its answer has been handed to the transport: a caller that never reads
//! holds an answer of megabytes in memory, and it counts for as long.

use crate::error::status;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use trellis_core::{Error, ErrorCode, Micros};

/// Marks an answer, by its extensions, that another bound holds from here on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundElsewhere;

/// Adds the bound to a server.
#[derive(Clone)]
pub struct CallLimitLayer {
    calls: Arc<Semaphore>,
    max_calls: usize,
}

impl CallLimitLayer {
    /// Refuses calls above `max_calls` with `TOO_MANY_CALLS`.
    #[must_use]
    pub fn new(max_calls: usize) -> Self {
        let max_calls = max_calls.min(Semaphore::MAX_PERMITS);
        Self {
            calls: Arc::new(Semaphore::new(max_calls)),
            max_calls,
        }
    }
}

impl<S> Layer<S> for CallLimitLayer {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            limit: self.clone(),
        }
    }
}

/// A service whose calls in flight are bounded.
#[derive(Clone)]
pub struct Bounded<S> {
    inner: S,
    limit: CallLimitLayer,
}

impl<S, B> Service<Request<B>> for Bounded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Ok(permit) = Arc::clone(&self.limit.calls).try_acquire_owned() else {
            let message = format!(
                "{} calls are in flight in this daemon",
                self.limit.max_calls
            );
            let error = Error::new(ErrorCode::TooManyCalls, message);
            let refused = status(error.retry_after(Micros::from_millis(100))).into_http();
            return Box::pin(std::future::ready(Ok(refused)));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if answer.extensions().get::<BoundElsewhere>().is_some() {
                return Ok(answer);
            }
            Ok(answer.map(|inner| {
                Body::new(Counted {
                    inner,
                    _permit: permit,
                })
            }))
        })
    }
}

/// An answer's body, in flight until it is dropped.
struct Counted {
    inner: Body,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::ServiceExt as _;

    /// An answer that is still to be sent.
    struct Unsent;

    impl HttpBody for Unsent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    /// Calls a service of one place; tells whether it was refused, and returns the answer.
    async fn call(layer: &CallLimitLayer, bound_elsewhere: bool) -> (bool, Response<Body>) {
        let inner = tower::service_fn(move |_: Request<()>| async move {
            let mut answer = Response::new(Body::new(Unsent));
            if bound_elsewhere {
                answer.extensions_mut().insert(BoundElsewhere);
            }
            Ok::<_, Infallible>(answer)
        });
        let answer = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
        (answer.headers().contains_key("grpc-status"), answer)
    }

    #[tokio::test]
    async fn a_call_is_in_flight_until_its_answer_is_read() {
        let layer = CallLimitLayer::new(1);
        let (refused, unread) = call(&layer, false).await;
        assert!(!refused);
        assert!(call(&layer, false).await.0);
        drop(unread);
        assert!(!call(&layer, false).await.0);
    }

    #[tokio::test]
    async fn a_stream_with_a_bound_of_its_own_keeps_no_place() {
        let layer = CallLimitLayer::new(1);
        let (_, _stream) = call(&layer, true).await;
        assert!(!call(&layer, true).await.0);
    }
}
