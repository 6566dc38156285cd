//! A daemon that is started anew, over what the fake keeps, behind one address.

use crate::bench::services;
use crate::fake::Fake;
use futures::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;
use trellis_client::Client;
use trellis_client::events::Topic;
use trellis_conformance::grpc::{Cut, PipeServer};
use trellis_service::{EventBounds, Services};

pub struct Daemon {
    pub fake: Fake,
    server: PipeServer,
    life: Switch,
    drain: CancellationToken,
}

impl Daemon {
    pub fn new() -> Self {
        let fake = Fake::new();
        let (services, drain) = services(&fake, EventBounds::default());
        let life = Switch(Arc::new(Mutex::new(services)));
        Self {
            fake,
            server: PipeServer::start(life.clone()),
            life,
            drain,
        }
    }

    /// A client's topic over a connection of its own.
    pub fn topic(&self) -> (Topic, Cut) {
        let (channel, cut) = self.server.channel();
        (Client::from_channel(channel).topic("orders"), cut)
    }

    /// Another life: the former one drains.
    pub fn restart(&mut self) {
        let (services, drain) = services(&self.fake, EventBounds::default());
        *self.life.0.lock() = services;
        std::mem::replace(&mut self.drain, drain).cancel();
    }
}

/// Calls go to whichever life is.
#[derive(Clone)]
struct Switch(Arc<Mutex<Services>>);

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
