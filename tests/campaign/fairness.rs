//! How three daemons share one limit: callers of each wait for it, and what is admitted is counted by
//! daemon, a hundred at a time, which is one period of the limit.

use crate::buckets::{duration, spec};
use crate::checker::Rule;
use crate::clock::{Clock, pause};
use crate::cluster::Cluster;
use crate::history::Micros;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::{self, AcquireMode, AcquireRequest, Outcome};

/// Units of a period.
pub const AMOUNT: u64 = 100;

/// Calls that wait at each daemon where demand saturates.
const QUEUE: usize = 50;

/// Longer than any period takes to be used up.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the callers of one daemon want.
#[derive(Clone, Copy, Debug)]
pub enum Demand {
    /// As much as they get, with 50 calls in line.
    Saturating,
    /// So many units a period, spread over it.
    Modest(usize),
    /// As much as they get in every other period, or in those between.
    Bursts { first: bool },
    /// Nothing.
    Idle,
}

/// What one daemon after the other was admitted, period by period.
pub type Shares = Vec<[u64; 3]>;

/// Who is admitted what, in so many periods after the first, by what they want.
pub async fn shares(
    cluster: &Cluster,
    name: &str,
    period: Micros,
    demands: [Demand; 3],
    periods: usize,
) -> Shares {
    let clock = Clock::start();
    let rule = Rule::Window {
        amount: AMOUNT,
        period,
    };
    let clients = connect(cluster).await;
    declare(&clients[0], name, rule).await;
    let mut callers = FuturesUnordered::new();
    let round = 2 * period;
    let begun = clock.now();
    // Which daemon's caller it is, and when it asks.
    let call = |seat: usize, after: Duration| {
        let client: &LimitServiceClient<Channel> = &clients[seat];
        let mut client = client.clone();
        let request = waiting(name);
        async move {
            pause(after).await;
            let answer = client.acquire(request).await.expect("a call is answered");
            assert_eq!(answer.into_inner().outcome(), Outcome::Granted);
            (seat, clock.now())
        }
    };
    let next = |seat: usize| match demands[seat] {
        Demand::Modest(units) => Duration::from_micros(period) / 2 * u32::from(units > 0),
        Demand::Bursts { first } => {
            let into = (clock.now() - begun) % round;
            let starts = if first { 0 } else { period };
            let on = (starts..starts + period).contains(&into);
            let wait = (starts + round - into) % round;
            Duration::from_micros(if on { 0 } else { wait })
        }
        Demand::Saturating | Demand::Idle => Duration::ZERO,
    };
    for (seat, demand) in demands.into_iter().enumerate() {
        let count = match demand {
            Demand::Saturating | Demand::Bursts { .. } => QUEUE,
            // Each asks twice a period.
            Demand::Modest(units) => units / 2,
            Demand::Idle => 0,
        };
        for _ in 0..count {
            callers.push(call(seat, next(seat)));
        }
    }
    let mut granted = Vec::new();
    let amount = usize::try_from(AMOUNT).unwrap_or(usize::MAX);
    let all = amount * (periods + 1);
    let admitted = async {
        while granted.len() < all {
            let (seat, at) = callers.next().await.expect("somebody wants something");
            granted.push((at, seat));
            callers.push(call(seat, next(seat)));
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, admitted).await;
    in_time.expect("units are admitted as periods pass");
    granted.sort_unstable();
    // In the first period callers were still lining up.
    let periods = granted.chunks_exact(amount).skip(1);
    periods.map(count).collect()
}

fn count(granted: &[(Micros, usize)]) -> [u64; 3] {
    let mut counts = [0; 3];
    for &(_, seat) in granted {
        counts[seat] += 1;
    }
    counts
}

async fn connect(cluster: &Cluster) -> Vec<LimitServiceClient<Channel>> {
    let mut clients = Vec::new();
    for seat in 0..cluster.daemons() {
        let address = cluster.address(seat).expect("the daemon runs");
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.expect("an address").connect().await;
        clients.push(LimitServiceClient::new(
            channel.expect("the daemon answers"),
        ));
    }
    clients
}

async fn declare(client: &LimitServiceClient<Channel>, name: &str, rule: Rule) {
    let request = v1::SetLimitRequest {
        name: name.into(),
        spec: Some(spec(rule)),
        ..v1::SetLimitRequest::default()
    };
    let set = client.clone().set_limit(request).await;
    set.expect("the limit is declared");
}

fn waiting(limit: &str) -> AcquireRequest {
    AcquireRequest {
        charges: vec![v1::Charge {
            limit: limit.into(),
            amount: 1,
            ..v1::Charge::default()
        }],
        mode: AcquireMode::Wait.into(),
        max_wait: Some(duration(120_000_000)),
        ..AcquireRequest::default()
    }
}

/// Jain's index of what each was admitted: 1 where all have the same, 1/n where one has all.
#[expect(clippy::cast_precision_loss, reason = "small sums")]
pub fn jain(totals: &[u64]) -> f64 {
    let sum: u64 = totals.iter().sum();
    let squares: u64 = totals.iter().map(|total| total * total).sum();
    (sum * sum) as f64 / (totals.len() as u64 * squares) as f64
}

/// The sum of each daemon.
pub fn totals(shares: &Shares) -> [u64; 3] {
    let sum = |seat: usize| shares.iter().map(|period| period[seat]).sum();
    std::array::from_fn(sum)
}

/// How late, past the moment that the limit allows it, the line goes on when the daemon whose call heads
/// it is stopped.
pub async fn stopped_head(cluster: &Cluster, name: &str) -> Duration {
    let clock = Clock::start();
    let period = 500_000;
    let clients = connect(cluster).await;
    declare(&clients[0], name, Rule::Window { amount: 1, period }).await;
    let mut client = clients[0].clone();
    client
        .acquire(waiting(name))
        .await
        .expect("the first is admitted");
    let free = clock.now() + period;
    let mut line = FuturesUnordered::new();
    for (seat, calls) in [(0, 1), (1, 2)] {
        let mut client = clients[seat].clone();
        let request = waiting(name);
        line.push(async move {
            let answer = client.acquire(request).await;
            (seat, clock.now(), answer.map(tonic::Response::into_inner))
        });
        // In line, before the next one is.
        tokio::select! {
            answered = line.next() => panic!("nobody can be admitted yet: {answered:?}"),
            () = in_line(&clients[2], name, calls) => {}
        }
    }
    cluster.signal_daemon(0, "STOP");
    let answered = tokio::time::timeout(Duration::from_secs(30), line.next()).await;
    cluster.signal_daemon(0, "CONT");
    let (seat, at, answer) = answered.expect("the line goes on").expect("a call waits");
    let outcome = answer.map(|answer| answer.outcome());
    assert_eq!((seat, outcome.ok()), (1, Some(Outcome::Granted)));
    Duration::from_micros(at.saturating_sub(free))
}

/// Waits until so many calls are in line, as any daemon sees it.
async fn in_line(client: &LimitServiceClient<Channel>, name: &str, calls: i64) {
    let mut client = client.clone();
    let request = v1::PeekRequest {
        limit: name.into(),
        ..v1::PeekRequest::default()
    };
    loop {
        let peeked = client.peek(request.clone()).await;
        let bucket = peeked.ok().and_then(|peeked| peeked.into_inner().bucket);
        if bucket.is_some_and(|bucket| bucket.waiters >= calls) {
            return;
        }
        pause(Duration::from_millis(5)).await;
    }
}

/// All of it, with a period of three seconds, in words and figures.
pub async fn print(cluster: &Cluster) -> Vec<String> {
    const PERIOD: Micros = 3_000_000;
    use Demand::{Bursts, Idle, Modest, Saturating};
    let mut lines = vec![format!(
        "{AMOUNT} units a period of {} s, shared by three daemons:",
        PERIOD / 1_000_000
    )];
    let cases = [
        ("equal", [Saturating; 3], 10),
        ("one idle", [Saturating, Saturating, Idle], 4),
        ("unequal", [Modest(10), Saturating, Saturating], 4),
        (
            "bursty",
            [
                Bursts { first: true },
                Bursts { first: false },
                Bursts { first: true },
            ],
            8,
        ),
    ];
    for (name, demands, periods) in cases {
        let shares = shares(cluster, name, PERIOD, demands, periods).await;
        let totals = totals(&shares);
        let equal: Vec<u64> = demands
            .iter()
            .zip(totals)
            .filter(|(demand, _)| !matches!(demand, Modest(_) | Idle))
            .map(|(_, total)| total)
            .collect();
        let index = jain(&equal);
        lines.push(format!(
            "  {name}: {totals:?} in {periods} periods, Jain {index:.4} of those that want the same; {shares:?}"
        ));
    }
    let late = stopped_head(cluster, "stopped-head").await;
    lines.push(format!(
        "  the line goes on {} ms late when the daemon at its head is stopped",
        late.as_millis()
    ));
    lines
}
