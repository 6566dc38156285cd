//! A daemon that is started anew, over what the fake keeps, behind one address.

use crate::bench::services;
use crate::fake::Fake;
use crate::support::switch::Switch;
use tokio_util::sync::CancellationToken;
use trellis_client::Client;
use trellis_client::events::Topic;
use trellis_conformance::grpc::{Cut, PipeServer};
use trellis_service::EventBounds;

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
        let life = Switch::new(services);
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
        self.life.to(services);
        std::mem::replace(&mut self.drain, drain).cancel();
    }
}
