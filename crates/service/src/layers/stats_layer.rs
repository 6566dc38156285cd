//! Times every unary RPC. A stream times its own requests.

use super::RpcStats;
use http::{Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Adds timing to a server.
#[derive(Clone)]
pub struct StatsLayer(Arc<RpcStats>);

impl StatsLayer {
    /// Notes latencies in `stats`.
    #[must_use]
    pub fn new(stats: Arc<RpcStats>) -> Self {
        Self(stats)
    }
}

impl<S> Layer<S> for StatsLayer {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed {
            inner,
            stats: Arc::clone(&self.0),
        }
    }
}

/// A service whose unary RPCs are timed.
#[derive(Clone)]
pub struct Timed<S> {
    inner: S,
    stats: Arc<RpcStats>,
}

impl<S, B, R> Service<Request<B>> for Timed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let name = request.uri().path().trim_start_matches('/');
        let Some(place) = self.stats.find_unary(name) else {
            return Box::pin(self.inner.call(request));
        };
        let stats = Arc::clone(&self.stats);
        let started = stats.now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // An error comes as headers alone, with its code among them.
            let is_error = answer.as_ref().is_ok_and(|response| {
                response
                    .headers()
                    .get("grpc-status")
                    .is_some_and(|code| code != "0")
            });
            stats.record(place, stats.now() - started, is_error);
            answer
        })
    }
}
