//! Bounds the calls in flight in the whole daemon. Streams have a bound of their own.

use crate::error::status;
use http::{Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::{Layer, Service};
use trellis_core::{Error, ErrorCode, Micros};

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
            let answer = answer.await;
            drop(permit);
            answer
        })
    }
}
