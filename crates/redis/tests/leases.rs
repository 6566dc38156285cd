//! Hot limits of three daemons on one real Redis: never above the limit, fair, and nearly without commands.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, and figures"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::{Server, limits_config, soon, spawn};
use tokio_util::sync::CancellationToken;
use trellis_conformance::leases::{Admission, Promise};
use trellis_core::limits::{
    AcquireRequest, BucketState, Charge, FairShare, LevelPolicy, LimitSpec, Limits, Mode, Outcome,
    Priority, RateSpec, ReportThrottled, ResetLimit, SetLimit, Sharing, SpecSource, WindowSpec,
};
use trellis_core::{Key, Micros, Name, Namespace};
use trellis_redis::RedisLimits;

struct Daemon {
    limits: Arc<RedisLimits>,
    store: support::Daemon,
    /// Stops the task of limits alone: asks, returns and the mailbox.
    pause: CancellationToken,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.pause.cancel();
    }
}

async fn daemon(server: &Server, name: &str) -> Daemon {
    let daemon = support::Daemon::on(server, name).await;
    let pause = CancellationToken::new();
    let (store, membership) = (daemon.store.clone(), daemon.membership.clone());
    let clock = daemon.clock.clone();
    let (limits, task) = RedisLimits::open(store, membership, limits_config(), clock);
    let paused = pause.clone();
    spawn(async move {
        tokio::select! {
            () = task.run(CancellationToken::new()) => {}
            () = paused.cancelled() => {}
        }
    });
    Daemon {
        limits,
        store: daemon,
        pause,
    }
}

async fn three(server: &Server) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for name in ["a", "b", "c"] {
        daemons.push(daemon(server, name).await);
    }
    daemons
}

fn space() -> Namespace {
    Namespace::new("hot", "namespace").unwrap()
}

fn name() -> Name {
    Name::new("tokens", "limit").unwrap()
}

fn request(amount: i64, mode: Mode) -> AcquireRequest {
    AcquireRequest {
        namespace: space(),
        charges: vec![Charge::new(name(), Key::new("", "key").unwrap(), amount).unwrap()],
        mode,
        reservation_ttl: None,
        request_id: None,
        priority: Priority::default(),
        dry_run: false,
        fair: FairShare::default(),
    }
}

fn rate(amount: i64, burst: i64) -> LimitSpec {
    LimitSpec::Rate(RateSpec::new(amount, Micros::from_secs(1), burst).unwrap())
}

fn declaration(spec: LimitSpec) -> SetLimit {
    SetLimit {
        namespace: space(),
        name: name(),
        spec,
        overrides: Vec::new(),
        level_policy: LevelPolicy::default(),
        source: SpecSource::SetLimit,
        sharing: Sharing::default(),
        request_id: None,
    }
}

async fn attempt(daemon: &Daemon, amount: i64) -> Outcome {
    let acquiring = daemon.limits.clone().acquire(request(amount, Mode::Try));
    soon("an answer", acquiring).await.unwrap().outcome
}

/// What a daemon was granted and how often it asked.
#[derive(Default)]
struct Load {
    admissions: Vec<Admission>,
    calls: u64,
    slowest: Duration,
}

/// Tries `per_second` units a second, in ticks of a millisecond.
async fn hammer(
    daemon: &Daemon,
    per_second: u64,
    span: Duration,
    zero: tokio::time::Instant,
) -> Load {
    let mut load = Load::default();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut due = 0;
    let start = tokio::time::Instant::now();
    while start.elapsed() < span {
        let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap();
        while due < elapsed * per_second / 1_000_000 {
            due += 1;
            load.calls += 1;
            let asked = tokio::time::Instant::now();
            let outcome = attempt(daemon, 1).await;
            load.slowest = load.slowest.max(asked.elapsed());
            if matches!(outcome, Outcome::Granted(_)) {
                let at = u64::try_from(zero.elapsed().as_micros()).unwrap();
                load.admissions.push(Admission { at, units: 1 });
            }
        }
        ticks.tick().await;
    }
    load
}

/// Commands that scripts were called by.
fn scripts_called(server: &Server) -> u64 {
    let info = server.run(&["INFO", "commandstats"]);
    let line = info
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha:"))
        .unwrap_or("calls=0,");
    let calls = line.split("calls=").nth(1).unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}

async fn run(spec: LimitSpec, each: u64, span: Duration) -> (Vec<Load>, f64) {
    let server = Server::start().unwrap();
    let daemons = three(&server).await;
    daemons[0]
        .limits
        .set_limit(declaration(spec.clone()))
        .await
        .unwrap();
    let zero = tokio::time::Instant::now();
    let before = scripts_called(&server);
    let loads = futures::future::join_all(
        daemons
            .iter()
            .map(|daemon| hammer(daemon, each, span, zero)),
    )
    .await;
    let commands = scripts_called(&server) - before;
    let calls: u64 = loads.iter().map(|load| load.calls).sum();
    let granted: Vec<usize> = loads.iter().map(|load| load.admissions.len()).collect();
    #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
    let each_costs = commands as f64 / calls as f64;
    println!(
        "{spec:?}: {calls} calls, granted {granted:?}, {commands} commands: {each_costs:.4} each"
    );
    let all: Vec<Admission> = loads
        .iter()
        .flat_map(|load| load.admissions.clone())
        .collect();
    // Callers time an admission a little after it was decided, at most as late as the slowest answer came.
    let slowest = loads.iter().map(|load| load.slowest).max().unwrap();
    println!("slowest answer {slowest:?}");
    let slack = slackened(&spec, slowest.into());
    assert_eq!(Promise(slack).broken(all), None, "over the limit");
    (loads, each_costs)
}

/// The limit as it looks to callers that time an admission up to so late.
fn slackened(spec: &LimitSpec, late: Micros) -> LimitSpec {
    let late = Micros(late.0 + 1_000);
    match spec {
        LimitSpec::Rate(it) => {
            let more = it.amount() * i64::try_from(late.0).unwrap() / 1_000_000;
            rate(it.amount(), it.burst() + more + 1)
        }
        LimitSpec::Window(it) => {
            LimitSpec::Window(WindowSpec::new(it.amount(), Micros(it.period().0 - late.0)).unwrap())
        }
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_a_limit_is_admitted_whole_and_nearly_without_commands() {
    let (loads, each_costs) = run(rate(12_000, 12_000), 2_000, Duration::from_secs(4)).await;
    for load in &loads {
        let granted = u64::try_from(load.admissions.len()).unwrap();
        assert!(
            granted * 100 >= load.calls * 99,
            "{granted} of {}",
            load.calls
        );
    }
    assert!(each_costs < 0.01, "{each_costs} commands a decision");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twice_a_limit_is_shared_fairly_and_denied_without_commands() {
    let (loads, each_costs) = run(rate(6_000, 3_000), 4_000, Duration::from_secs(4)).await;
    let granted: Vec<usize> = loads.iter().map(|load| load.admissions.len()).collect();
    let all: usize = granted.iter().sum();
    assert!(
        all > 6_000 * 4 * 85 / 100,
        "of 24000 only {all} were admitted"
    );
    for one in &granted {
        assert!(one * 3 > all * 85 / 100, "unfair: {granted:?}");
    }
    assert!(each_costs < 0.01, "{each_costs} commands a decision");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_never_over_while_daemons_hold_slices_of_it() {
    let spec = LimitSpec::Window(WindowSpec::new(12_000, Micros::from_secs(9)).unwrap());
    let (loads, each_costs) = run(spec, 1_500, Duration::from_secs(12)).await;
    let all: usize = loads.iter().map(|load| load.admissions.len()).sum();
    assert!(all > 20_000, "{all}");
    assert!(each_costs < 0.03, "{each_costs} commands a decision");
}

/// Makes a daemon hold slices; tells how many units.
async fn heat(daemon: &Daemon) -> i64 {
    let heated = async {
        loop {
            for _ in 0..20 {
                attempt(daemon, 1).await;
            }
            let state = daemon
                .limits
                .peek(space(), name(), Key::new("", "key").unwrap())
                .await;
            let state = state.unwrap().0;
            if state.stranded > 50 {
                return state.stranded;
            }
        }
    };
    soon("slices", heated).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_stopped_spends_nothing_that_was_closed() {
    let server = Server::start().unwrap();
    let daemons = three(&server).await;
    daemons[0]
        .limits
        .set_limit(declaration(rate(2_000, 2_000)))
        .await
        .unwrap();
    heat(&daemons[0]).await;
    daemons[0].pause.cancel();
    daemons[0].store.clock.pass(Micros::from_millis(1_200));
    // Nothing is left that could be decided here: whoever asks is the store's.
    let before = scripts_called(&server);
    let acquiring = daemons[0].limits.clone().acquire(request(1, Mode::Try));
    assert!(matches!(
        acquiring,
        trellis_core::limits::Acquiring::Waiting(_)
    ));
    drop(acquiring);
    assert_eq!(scripts_called(&server), before);
}

/// The bucket as a daemon sees it.
async fn seen(daemon: &Daemon) -> BucketState {
    let peeked = daemon
        .limits
        .peek(space(), name(), Key::new("", "key").unwrap());
    soon("a look", peeked).await.unwrap().0
}

/// Three daemons, of which the first holds slices.
async fn heated(server: &Server) -> Vec<Daemon> {
    let daemons = three(server).await;
    let set = daemons[0].limits.set_limit(declaration(rate(2_000, 2_000)));
    soon("a declaration", set).await.unwrap();
    heat(&daemons[0]).await;
    daemons
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_spec_waits_for_the_slices_and_not_for_their_end() {
    let server = Server::start().unwrap();
    let daemons = heated(&server).await;
    let start = tokio::time::Instant::now();
    let set = daemons[1].limits.set_limit(declaration(rate(3_000, 3_000)));
    let (state, created, _) = soon("a change", set).await.unwrap();
    assert_eq!((state.spec, created), (rate(3_000, 3_000), false));
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "answered by the deadline only"
    );
    let state = seen(&daemons[1]).await;
    assert_eq!((state.slices, state.stranded), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_peek_tell_what_is_held() {
    let server = Server::start().unwrap();
    let daemons = heated(&server).await;
    let holder = daemons[0].limits.status();
    assert!(holder.leased > 0 && holder.leased <= holder.granted + holder.denied);
    assert!(holder.slices > 0 && holder.slice_units > 0, "{holder:?}");
    let other = daemons[1].limits.status();
    assert_eq!((other.leased, other.slices, other.slice_units), (0, 0, 0));
    let state = seen(&daemons[1]).await;
    assert!(state.slices > 0 && state.stranded >= holder.slice_units);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_of_all_there_is_gets_what_slices_hold() {
    let server = Server::start().unwrap();
    let daemons = heated(&server).await;
    let big = request(2_000, Mode::Wait(Micros::from_secs(20)));
    let acquired = soon("all of it", daemons[1].limits.clone().acquire(big)).await;
    assert!(matches!(acquired.unwrap().outcome, Outcome::Granted(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_makes_a_bucket_full_and_no_fuller() {
    let server = Server::start().unwrap();
    let daemons = heated(&server).await;
    let reset = ResetLimit {
        namespace: space(),
        name: name(),
        key: None,
        request_id: None,
    };
    soon("a reset", daemons[2].limits.reset_limit(reset))
        .await
        .unwrap();
    let state = seen(&daemons[2]).await;
    assert_eq!((state.remaining, state.stranded), (state.capacity, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_for_whoever_had_slices() {
    let server = Server::start().unwrap();
    let daemons = heated(&server).await;
    let report = ReportThrottled {
        namespace: space(),
        limit: name(),
        key: Key::new("", "key").unwrap(),
        retry_after: Micros::from_secs(30),
        remaining: None,
        spec: None,
        request_id: None,
    };
    let paused = daemons[2].limits.report_throttled(report);
    soon("a pause", paused).await.unwrap();
    let outcome = attempt(&daemons[0], 1).await;
    let long = matches!(outcome, Outcome::Denied(wait) if wait > Micros::from_secs(20));
    assert!(long, "{outcome:?}");
}
