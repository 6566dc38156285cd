//! Services that are exchanged behind one address, as when a daemon is started anew.

#![allow(dead_code, reason = "every test file uses its part")]

use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tower::Service;
use trellis_service::Services;

/// Calls go to whichever life is.
#[derive(Clone)]
pub struct Switch(Arc<Mutex<Services>>);

impl Switch {
    pub fn new(services: Services) -> Self {
        Self(Arc::new(Mutex::new(services)))
    }

    /// From here on calls go there.
    pub fn to(&self, services: Services) {
        *self.0.lock() = services;
    }
}

impl Service<Request<Body>> for Switch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.lock().call(request)
    }
}
