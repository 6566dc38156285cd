//! One of three daemons is cut off and spends its share while the others go on in the store: what all of them
//! admit together.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, and figures"
)]

mod support;

use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use support::{Daemon, Proxy, Server, limits_config, quick, soon, spawn};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trellis_core::limits::{
    AcquireRequest, Charge, FairShare, LimitSpec, Limits, Mode, Outcome, Priority, RateSpec,
    Reconcile, WindowSpec,
};
use trellis_core::{Clock, Key, Micros, Name, Namespace, Scope, StoreView};
use trellis_local::{MemoryLimits, MemoryLimitsConfig};
use trellis_redis::{RedisCluster, RedisConfig};
use trellis_resilience::{FallbackLimits, FallbackPolicy};

/// How long each daemon is given to be noticed as silent: three beats, one look, and a busy machine.
const NOTICED: Duration = Duration::from_millis(700);

/// A daemon as `trellisd` puts it together.
struct Full {
    daemon: Daemon,
    limits: Arc<FallbackLimits>,
}

impl Full {
    fn at(port: u16, server: &Server, name: &str, hold: Duration) -> Self {
        let config = RedisConfig {
            port,
            withhold_for: hold,
            ..quick(server)
        };
        let daemon = Daemon::with(config, name);
        let clock: Arc<dyn Clock> = daemon.clock.clone();
        let (store, members) = (daemon.store.clone(), daemon.membership.clone());
        let shared = daemon.limits(limits_config());
        let local = Arc::new(MemoryLimits::new(
            MemoryLimitsConfig::default(),
            clock.clone(),
        ));
        let timer = local.clone();
        spawn(async move { timer.run().await });
        let view = (
            shared.clone() as Arc<dyn Reconcile>,
            Arc::new(RedisCluster::new(store, members)) as Arc<dyn StoreView>,
        );
        let policy = FallbackPolicy {
            hold: Micros::from_secs(60),
            ..FallbackPolicy::default()
        };
        let (limits, task) = FallbackLimits::new(shared, local, view, policy, clock);
        spawn(task.run(CancellationToken::new()));
        Self { daemon, limits }
    }

    /// Tries as fast as a caller a millisecond apart; when which units were admitted, and whether apart.
    async fn saturate(&self, request: &AcquireRequest, zero: Instant, span: Duration) -> Vec<Unit> {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        let mut units = Vec::new();
        while zero.elapsed() < span {
            let asked = zero.elapsed();
            let answer = self.limits.clone().acquire(request.clone());
            if let Ok(acquired) = soon("an answer", answer).await
                && matches!(acquired.outcome, Outcome::Granted(_))
            {
                units.push(Unit {
                    asked,
                    answered: zero.elapsed(),
                    apart: matches!(acquired.scope, Scope::Degraded { .. }),
                });
            }
            ticks.tick().await;
        }
        units
    }
}

/// One admitted unit.
#[derive(Clone, Copy, Debug)]
struct Unit {
    asked: Duration,
    answered: Duration,
    apart: bool,
}

/// The most units that were certainly admitted within some interval of a length that begins after a time.
fn most_within(units: &[Unit], length: Duration, after: Duration) -> usize {
    let begins = units
        .iter()
        .map(|unit| unit.asked)
        .filter(|asked| *asked >= after);
    let within = |from: Duration| {
        let inside = |unit: &&Unit| unit.asked >= from && unit.answered < from + length;
        units.iter().filter(inside).count()
    };
    begins.map(within).max().unwrap_or(0)
}

fn request(spec: LimitSpec) -> AcquireRequest {
    let name = Name::new("api", "limit").unwrap();
    let mut charge = Charge::new(name, Key::new("", "key").unwrap(), 1).unwrap();
    charge.spec = Some(spec);
    AcquireRequest {
        namespace: Namespace::new("apart", "namespace").unwrap(),
        charges: vec![charge],
        mode: Mode::Try,
        reservation_ttl: None,
        request_id: None,
        priority: Priority::default(),
        dry_run: false,
        fair: FairShare::default(),
    }
}

/// When the link is cut, and when all of it ends.
const CUT: Duration = Duration::from_secs(2);
const END: Duration = Duration::from_secs(7);

/// What three daemons admit, the third of which is cut off after [`CUT`].
async fn run(spec: LimitSpec, hold: Duration) -> Option<Vec<Unit>> {
    let server = Server::start()?;
    let proxy = Proxy::before(&server).await;
    let daemons = [
        Full::at(server.port, &server, "a", hold),
        Full::at(server.port, &server, "b", hold),
        Full::at(proxy.port, &server, "c", hold),
    ];
    for (index, full) in (0..).zip(&daemons) {
        let mut members = full.daemon.membership.watch();
        let placed = members.wait_for(|_| full.daemon.membership.place() == Some((index, 3)));
        soon("a place", placed).await.unwrap();
    }
    let (request, zero) = (request(spec), Instant::now());
    let cut = async {
        tokio::time::sleep_until(zero + CUT).await;
        proxy.cut(true);
    };
    let load = join_all(
        daemons
            .iter()
            .map(|full| full.saturate(&request, zero, END)),
    );
    let (mut units, ()) = (tokio::join!(load, cut).0.concat(), ());
    units.sort_by_key(|unit| unit.asked);
    Some(units)
}

fn counts(units: &[Unit], after: Duration) -> (usize, usize) {
    let late = units.iter().filter(|unit| unit.asked >= after);
    let apart = late.clone().filter(|unit| unit.apart).count();
    (late.count() - apart, apart)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_window_is_not_exceeded_once_the_cut_is_noticed_and_before_by_at_most_the_share() {
    let period = Duration::from_secs(1);
    let spec = LimitSpec::Window(WindowSpec::new(60, period.into()).unwrap());
    let Some(units) = run(spec, Duration::from_mins(1)).await else {
        return;
    };
    let ever = most_within(&units, period, Duration::ZERO);
    let noticed = CUT + NOTICED;
    let later = most_within(&units, period, noticed);
    let (shared, apart) = counts(&units, noticed + period);
    println!(
        "window of 60: {ever} at most, {later} once noticed; then {shared} shared, {apart} apart"
    );
    assert!(ever <= 60 + 20, "{ever}");
    assert!(later <= 60, "{later}");
    // Some three seconds at 40 and 20: neither side stands still.
    assert!(shared > 60 && apart > 30, "{shared} {apart}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_rate_is_not_exceeded_once_the_cut_is_noticed_and_before_by_at_most_the_share() {
    let spec = LimitSpec::Rate(RateSpec::new(90, Micros::from_secs(1), 45).unwrap());
    let Some(units) = run(spec, Duration::from_mins(1)).await else {
        return;
    };
    let noticed = CUT + NOTICED;
    for tenths in [1_u32, 5, 10, 30] {
        let length = Duration::from_millis(100) * tenths;
        let bound = 45 + usize::try_from(90 * tenths / 10).unwrap();
        let ever = most_within(&units, length, Duration::ZERO);
        let later = most_within(&units, length, noticed);
        println!("rate, {length:?}: {ever} at most, {later} once noticed; {bound} allowed");
        // The share's burst, and what the share brings until the cut is noticed.
        assert!(ever <= bound + 15 + 21, "{ever}");
        assert!(later <= bound, "{later}");
    }
    let (shared, apart) = counts(&units, noticed + Duration::from_secs(1));
    assert!(shared > 100 && apart > 50, "{shared} {apart}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn without_a_hold_nothing_is_withheld_and_the_sum_shows_it() {
    let period = Duration::from_secs(1);
    let spec = LimitSpec::Window(WindowSpec::new(60, period.into()).unwrap());
    let Some(units) = run(spec, Duration::ZERO).await else {
        return;
    };
    let later = most_within(&units, period, CUT + NOTICED);
    assert!(later > 65 && later <= 60 + 20, "{later}");
}
