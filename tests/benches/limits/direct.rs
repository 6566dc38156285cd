//! The floor of the shared mode: the same scripts called straight from this process, through the store's
//! own crate, with no daemon and no gRPC between.

use crate::messages::NAMESPACE;
use futures::future::try_join_all;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trellis_core::limits::leases::LeaseConfig;
use trellis_core::limits::{
    AcquireRequest, Charge, FairShare, Limits, MachineConfig, Mode, Outcome, Priority,
};
use trellis_core::{Clock, Key, Name, Namespace, Now, Time};
use trellis_redis::{
    AfterLoss, Identity, RedisConfig, RedisLimits, RedisLimitsConfig, Start, Store,
};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::STORE_TIMEOUT;
use trellis_tests::bench::rounds::{Done, now};

/// Limits on a store, without a daemon.
pub struct Direct {
    limits: Arc<RedisLimits>,
    /// What keeps the connections; ends with this.
    _tasks: JoinSet<()>,
}

struct SystemClock(Instant);

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(0);
        Now {
            mono: Time(micros(self.0.elapsed())),
            wall: Time(micros(wall.unwrap_or_default())),
        }
    }
}

impl Direct {
    /// Attaches to the Redis on this port.
    pub async fn open(port: u16) -> Result<Self> {
        let config = RedisConfig {
            port,
            store_timeout: STORE_TIMEOUT,
            ..RedisConfig::default()
        };
        let identity = Identity {
            daemon: "benchmark".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: 1,
            address: "127.0.0.1:1".into(),
        };
        let clock = Arc::new(SystemClock(now()));
        let (store, parts, membership) = Store::open(config, identity, clock.clone())?;
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(parts.calls.run(stop.clone()));
        tasks.spawn(parts.connections.run(stop.clone()));
        tasks.spawn(parts.membership.run(stop.clone()));
        let started = store.started().await;
        if !matches!(started, Ok(Start::Attached(_))) {
            return Err(format!("not attached: {started:?}").into());
        }
        let config = RedisLimitsConfig {
            machine: MachineConfig::default(),
            max_namespaces: 1_000,
            // The price of a script, not of a slice.
            leases: LeaseConfig {
                max_buckets: 0,
                ..LeaseConfig::default()
            },
            after_loss: AfterLoss::default(),
        };
        let (limits, task) = RedisLimits::open(store, membership, config, clock);
        tasks.spawn(task.run(stop));
        Ok(Self {
            limits,
            _tasks: tasks,
        })
    }

    /// Asks for one limit until the deadline, with so many calls in flight.
    pub async fn run(&self, limit: &str, in_flight: usize, deadline: Instant) -> Result<Done> {
        let charge = Charge::new(Name::new(limit, "limit")?, Key::new("", "key")?, 1)?;
        let request = AcquireRequest {
            namespace: Namespace::new(NAMESPACE, "namespace")?,
            charges: vec![charge],
            mode: Mode::Try,
            reservation_ttl: None,
            request_id: None,
            priority: Priority::default(),
            fair: FairShare::UNNAMED,
            dry_run: false,
        };
        let lanes = (0..in_flight).map(|_| self.lane(&request, deadline));
        let done = try_join_all(lanes).await?;
        Ok(Done::sum(done))
    }

    async fn lane(&self, request: &AcquireRequest, deadline: Instant) -> Result<Done> {
        let mut done = Done::default();
        let mut sent = now();
        loop {
            let acquired = self.limits.clone().acquire(request.clone()).await?;
            if !matches!(acquired.outcome, Outcome::Granted(_)) {
                return Err(format!("the store answers {:?}", acquired.outcome).into());
            }
            let answered = now();
            done.calls += 1;
            done.granted += 1;
            done.latencies.push(answered - sent);
            if answered >= deadline {
                return Ok(done);
            }
            sent = answered;
        }
    }
}
