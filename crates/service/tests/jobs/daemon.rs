//! A daemon that can be started anew, behind one address, and clients of it.

use crate::bench::{DRAIN, LEASE, REATTACH};
use crate::engines::{Life, clock, config, lasting_log};
use crate::support::{self, switch::Switch};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_client::Client;
use trellis_client::jobs::Queue;
use trellis_conformance::grpc::{Cut, PipeServer};
use trellis_conformance::jobs::Settings;
use trellis_core::Clock;
use trellis_core::log::Log;
use trellis_engine::{JobPorts, JobsConfig};
use trellis_service::{JobBounds, Parts, ServiceConfig, Services, routes};

pub struct Daemon {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    life: Life,
    server: PipeServer,
    switch: Switch,
    drain: CancellationToken,
}

impl Daemon {
    pub async fn start() -> Self {
        let clock = clock();
        let log = lasting_log(&clock);
        let (life, services, drain) = begin(&log, &clock).await;
        let switch = Switch::new(services);
        Self {
            server: PipeServer::start(switch.clone()),
            log,
            clock,
            life,
            switch,
            drain,
        }
    }

    /// A client over a connection of its own.
    pub fn client(&self) -> (Client, Cut) {
        let (channel, cut) = self.server.channel();
        (Client::from_channel(channel), cut)
    }

    /// Its queue `ocr`.
    pub fn queue(&self) -> (Queue, Cut) {
        let (client, cut) = self.client();
        (client.queue("ocr"), cut)
    }

    /// It drains, and ends.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Another life; the former one drains before.
    pub async fn restart(self) -> Self {
        self.drain();
        self.life.end().await;
        let (life, services, drain) = begin(&self.log, &self.clock).await;
        self.switch.to(services);
        Self {
            life,
            drain,
            ..self
        }
    }
}

/// A life, whose jobs charge its limits and know its cache.
async fn begin(log: &Arc<dyn Log>, clock: &Arc<dyn Clock>) -> (Life, Services, CancellationToken) {
    let config = JobsConfig {
        max_jobs: 10_000,
        max_queues: 10_000,
        max_chunks: 50,
        ..config(Settings::default())
    };
    let parts = support::parts(clock);
    let charged = JobPorts {
        limits: Some(parts.limits.clone()),
        cache: Some(parts.cache.clone()),
    };
    let life = Life::begin_with(log.clone(), clock, config, charged).await;
    let parts = Parts {
        jobs: Some(life.engine.clone()),
        ..parts
    };
    let config = ServiceConfig {
        jobs: JobBounds {
            lease: LEASE.into(),
            reattach_time: REATTACH.into(),
            drain_time: DRAIN.into(),
            ..JobBounds::default()
        },
        ..ServiceConfig::default()
    };
    let services = routes(&parts, config).unwrap().0;
    (life, services, parts.drain)
}
