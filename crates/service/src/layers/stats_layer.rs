//! Times every unary RPC. A stream times its own requests.

use super::RpcStats;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};
use trellis_core::Time;

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
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Timing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let name = request.uri().path().trim_start_matches('/');
        let timed = self.stats.find_unary(name).map(|place| Started {
            stats: Arc::clone(&self.stats),
            place,
            at: self.stats.now(),
        });
        Timing {
            answer: self.inner.call(request),
            timed,
        }
    }
}

/// A unary call that runs.
struct Started {
    stats: Arc<RpcStats>,
    place: usize,
    at: Time,
}

pin_project! {
    /// The answer of a call, timed when it is there. Not boxed: this is on the way of every call.
    pub struct Timing<F> {
        #[pin]
        answer: F,
        timed: Option<Started>,
    }
}

impl<F, R, E> Future for Timing<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = std::task::ready!(this.answer.poll(context));
        if let Some(started) = this.timed.take() {
            // An error comes as headers alone, with its code among them.
            let is_error = answer.as_ref().is_ok_and(|response| {
                let code = response.headers().get("grpc-status");
                code.is_some_and(|code| code != "0")
            });
            let elapsed = started.stats.now() - started.at;
            started.stats.record(started.place, elapsed, is_error);
        }
        Poll::Ready(answer)
    }
}
