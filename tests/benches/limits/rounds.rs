//! Alternating rounds, and what a round yields.

use crate::Result;
use crate::direct::Direct;
use crate::load::{Connections, Done, Shape};
use crate::messages::{Work, limit};
use crate::process::cpu;
use std::ops::Deref;
use std::time::{Duration, Instant};

/// Rounds of every comparison.
pub const ROUNDS: usize = 7;

/// How long each side runs before its first round.
const WARM_UP: Duration = Duration::from_millis(300);

/// One side of a comparison.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The process whose CPU counts.
    pub process: u32,
    pub way: Way<'a>,
    pub work: &'a Work,
}

/// How a side is called.
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// Over gRPC.
    Served(&'a Connections, Shape),
    /// Straight at the store, for one limit, so many calls in flight.
    Direct(&'a Direct, usize),
}

impl Case<'_> {
    async fn run(&self, deadline: Instant) -> Result<Done> {
        match self.way {
            Way::Served(connections, shape) => connections.run(shape, self.work, deadline).await,
            Way::Direct(direct, in_flight) => direct.run(&limit(0), in_flight, deadline).await,
        }
    }
}

/// What one side did, round by round.
#[derive(Debug, Default)]
pub struct Samples {
    rounds: Vec<Sample>,
    /// Calls before the first round.
    pub warm: u64,
}

impl Samples {
    /// Calls of all rounds.
    pub fn calls(&self) -> u64 {
        self.rounds.iter().map(|sample| sample.calls).sum()
    }
}

impl Deref for Samples {
    type Target = [Sample];

    fn deref(&self) -> &[Sample] {
        &self.rounds
    }
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::cast_precision_loss,
    reason = "calls of a round are far below 2^52"
)]
pub struct Sample {
    calls: u64,
    granted: u64,
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

    /// Grants above what a rate of so many a second and its burst allow in this time.
    pub fn over(&self, rate: u32, burst: u32) -> f64 {
        let allowed = f64::from(burst) + f64::from(rate) * self.wall.as_secs_f64();
        (self.granted as f64 - allowed).max(0.0)
    }

    pub fn p50_micros(&self) -> f64 {
        self.p50.as_secs_f64() * 1e6
    }
}

/// Runs the cases in turn, and in the opposite order every other round. Returns each one's samples.
pub async fn alternate<const N: usize>(
    cases: [Case<'_>; N],
    length: Duration,
) -> Result<[Samples; N]> {
    let mut samples = std::array::from_fn(|_| Samples::default());
    for (case, samples) in cases.iter().zip(&mut samples) {
        samples.warm = round(*case, WARM_UP).await?.calls;
    }
    for number in 0..ROUNDS {
        for turn in 0..N {
            let place = if number % 2 == 0 { turn } else { N - 1 - turn };
            let sample = round(cases[place], length).await?;
            samples[place].rounds.push(sample);
        }
    }
    Ok(samples)
}

async fn round(case: Case<'_>, length: Duration) -> Result<Sample> {
    let (before, started) = (cpu(case.process)?, now());
    let done = case.run(started + length).await?;
    let (wall, after) = (now() - started, cpu(case.process)?);
    Ok(Sample {
        calls: done.calls,
        granted: done.granted,
        wall,
        server_cpu: after.saturating_sub(before),
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
