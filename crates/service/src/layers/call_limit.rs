//! Bounds the calls in flight in the whole daemon. Streams of acquires have a bound of their own.
//!
//! A call is in flight until its answer has been handed to the transport: a caller that never reads
//! holds an answer of megabytes in memory, and it counts for as long.

use crate::error::status;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
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

/// An answer for which another bound holds.
pub(crate) fn elsewhere<T>(answer: T) -> tonic::Response<T> {
    let mut answer = tonic::Response::new(answer);
    answer.extensions_mut().insert(BoundElsewhere);
    answer
}

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
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Counting<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Ok(permit) = Arc::clone(&self.limit.calls).try_acquire_owned() {
            return Counting {
                answer: Some(self.inner.call(request)),
                permit: Some(permit),
                refused: None,
            };
        }
        let message = format!(
            "{} calls are in flight in this daemon",
            self.limit.max_calls
        );
        let error = Error::new(ErrorCode::TooManyCalls, message);
        let refused = status(error.retry_after(Micros::from_millis(100))).into_http();
        Counting {
            answer: None,
            permit: None,
            refused: Some(refused),
        }
    }
}

pin_project! {
    /// The answer of a call that has a place, or the refusal. Not boxed: this is on the way of every
    /// call.
    pub struct Counting<F> {
        #[pin]
        answer: Option<F>,
        permit: Option<OwnedSemaphorePermit>,
        refused: Option<Response<Body>>,
    }
}

impl<F, E> Future for Counting<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(answer) = this.answer.as_pin_mut() else {
            let refused = this.refused.take();
            return refused.map_or(Poll::Pending, |refused| Poll::Ready(Ok(refused)));
        };
        let answer = std::task::ready!(answer.poll(context))?;
        let permit = this.permit.take();
        if answer.extensions().get::<BoundElsewhere>().is_some() {
            return Poll::Ready(Ok(answer));
        }
        let counted = |inner| {
            Body::new(Counted {
                inner,
                _permit: permit,
            })
        };
        Poll::Ready(Ok(answer.map(counted)))
    }
}

/// An answer's body, in flight until it is dropped.
struct Counted {
    inner: Body,
    _permit: Option<OwnedSemaphorePermit>,
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
