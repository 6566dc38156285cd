//! Alternating rounds, and what a round yields.

use crate::Result;
use crate::load::{Connections, Shape};
use crate::messages::Work;
use crate::process::Server;
use std::time::{Duration, Instant};

/// Rounds of every comparison.
pub const ROUNDS: usize = 7;

/// How long each side runs before its first round.
const WARM_UP: Duration = Duration::from_millis(300);

/// One side of a comparison.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub server: &'a Server,
    pub connections: &'a Connections,
    pub shape: Shape,
    pub work: &'a Work,
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::cast_precision_loss,
    reason = "calls of a round are far below 2^52"
)]
pub struct Sample {
    calls: u64,
    wall: Duration,
    server_cpu: Duration,
    p50: Duration,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "calls of a round are far below 2^52"
)]
impl Sample {
    pub fn kilocalls_per_second(&self) -> f64 {
        self.calls as f64 / self.wall.as_secs_f64() / 1e3
    }

    pub fn micros_per_call(&self) -> f64 {
        self.wall.as_secs_f64() * 1e6 / self.calls as f64
    }

    pub fn cpu_micros_per_call(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.calls as f64
    }

    pub fn busy_percent(&self) -> f64 {
        self.server_cpu.as_secs_f64() / self.wall.as_secs_f64() * 100.0
    }

    pub fn p50_micros(&self) -> f64 {
        self.p50.as_secs_f64() * 1e6
    }
}

/// Runs the cases in turn, and in the opposite order every other round. Returns each one's samples.
pub async fn alternate<const N: usize>(
    cases: [Case<'_>; N],
    length: Duration,
) -> Result<[Vec<Sample>; N]> {
    let mut samples = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for case in cases {
        round(case, WARM_UP).await?;
    }
    for number in 0..ROUNDS {
        for turn in 0..N {
            let place = if number % 2 == 0 { turn } else { N - 1 - turn };
            samples[place].push(round(cases[place], length).await?);
        }
    }
    Ok(samples)
}

async fn round(case: Case<'_>, length: Duration) -> Result<Sample> {
    let (cpu, started) = (case.server.cpu()?, now());
    let done = case
        .connections
        .run(case.shape, case.work, started + length)
        .await?;
    let (wall, ended) = (now() - started, case.server.cpu()?);
    Ok(Sample {
        calls: done.calls,
        wall,
        server_cpu: ended.saturating_sub(cpu),
        p50: median(done.latencies),
    })
}

fn median(mut latencies: Vec<Duration>) -> Duration {
    let middle = latencies.len() / 2;
    if latencies.is_empty() {
        return Duration::ZERO;
    }
    *latencies.select_nth_unstable(middle).1
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}
