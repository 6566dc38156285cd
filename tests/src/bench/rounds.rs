//! Alternating rounds, and what a round yields.

use super::Result;
use super::process::cpu;
use std::ops::Deref;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// Rounds of every comparison.
pub const ROUNDS: usize = 7;

/// How long each side runs before its first round.
const WARM_UP: Duration = Duration::from_millis(300);

/// What was done until the deadline.
#[derive(Debug, Default)]
pub struct Done {
    /// Calls that were answered.
    pub calls: u64,
    /// Those that were granted, where that is a question.
    pub granted: u64,
    /// How long calls took, where that is looked at.
    pub latencies: Vec<Duration>,
    /// Calls of each lane, where there are several.
    pub lanes: Vec<u64>,
}

impl Done {
    /// What all lanes did.
    pub fn sum(lanes: Vec<Self>) -> Self {
        lanes.into_iter().fold(Self::default(), |mut sum, done| {
            sum.calls += done.calls;
            sum.granted += done.granted;
            sum.latencies.extend(done.latencies);
            sum.lanes.push(done.calls);
            sum
        })
    }

    /// Notes a call.
    pub fn add(&mut self, latency: Duration) {
        self.calls += 1;
        self.latencies.push(latency);
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Done>> + 'a>>;

/// One side of a comparison.
pub struct Case<'a> {
    process: u32,
    run: Box<dyn Fn(Instant) -> Running<'a> + 'a>,
}

impl<'a> Case<'a> {
    /// `run` does what is measured until the deadline that it is given and waits for every answer; the CPU that
    /// counts is that of this process.
    pub fn new<R: Future<Output = Result<Done>> + 'a>(
        process: u32,
        run: impl Fn(Instant) -> R + 'a,
    ) -> Self {
        Self {
            process,
            run: Box::new(move |deadline| Box::pin(run(deadline))),
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
    p99: Duration,
    evenness: f64,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "calls of a round are far below 2^52"
)]
impl Sample {
    /// Thousands of calls a second.
    pub fn kilocalls_per_second(&self) -> f64 {
        self.calls as f64 / self.wall.as_secs_f64() / 1e3
    }

    /// Time of the round by its calls.
    pub fn micros_per_call(&self) -> f64 {
        self.wall.as_secs_f64() * 1e6 / self.calls as f64
    }

    /// Time that the server ran, by its calls.
    pub fn cpu_micros_per_call(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.calls as f64
    }

    /// Time that the server ran, of the round.
    pub fn busy_percent(&self) -> f64 {
        self.server_cpu.as_secs_f64() / self.wall.as_secs_f64() * 100.0
    }

    /// Grants above what a rate of so many a second and its burst allow in this time.
    pub fn over(&self, rate: u32, burst: u32) -> f64 {
        let allowed = f64::from(burst) + f64::from(rate) * self.wall.as_secs_f64();
        (self.granted as f64 - allowed).max(0.0)
    }

    /// Jain's index of the calls of the lanes: 1 when each made as many, 1 / lanes when one made them all.
    pub fn evenness(&self) -> f64 {
        self.evenness
    }

    /// Half of the calls took at most this.
    pub fn p50_micros(&self) -> f64 {
        self.p50.as_secs_f64() * 1e6
    }

    /// Ninety-nine of a hundred calls took at most this.
    pub fn p99_micros(&self) -> f64 {
        self.p99.as_secs_f64() * 1e6
    }
}

/// Runs the cases in turn, and in the opposite order every other round. Returns each one's samples.
pub async fn alternate<const N: usize>(
    cases: [Case<'_>; N],
    length: Duration,
) -> Result<[Samples; N]> {
    let mut samples = std::array::from_fn(|_| Samples::default());
    for (case, samples) in cases.iter().zip(&mut samples) {
        samples.warm = round(case, WARM_UP).await?.calls;
    }
    for number in 0..ROUNDS {
        for turn in 0..N {
            let place = if number % 2 == 0 { turn } else { N - 1 - turn };
            let sample = round(&cases[place], length).await?;
            samples[place].rounds.push(sample);
        }
    }
    Ok(samples)
}

async fn round(case: &Case<'_>, length: Duration) -> Result<Sample> {
    let (before, started) = (cpu(case.process)?, now());
    let mut done = (case.run)(started + length).await?;
    let (wall, after) = (now() - started, cpu(case.process)?);
    Ok(Sample {
        calls: done.calls,
        granted: done.granted,
        wall,
        server_cpu: after.saturating_sub(before),
        p50: quantile(&mut done.latencies, 50),
        p99: quantile(&mut done.latencies, 99),
        evenness: jain(&done.lanes),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "calls of a round are far below 2^52"
)]
fn jain(lanes: &[u64]) -> f64 {
    let sum: u64 = lanes.iter().sum();
    let squares: u64 = lanes.iter().map(|calls| calls * calls).sum();
    (sum * sum) as f64 / (lanes.len() as f64 * squares as f64)
}

fn quantile(latencies: &mut [Duration], percent: usize) -> Duration {
    if latencies.is_empty() {
        return Duration::ZERO;
    }
    let place = (latencies.len() * percent / 100).min(latencies.len() - 1);
    *latencies.select_nth_unstable(place).1
}

/// What half of the calls took at most on one way and then the other, round by round, in µs.
pub fn p50_of_both(first: &Samples, second: &Samples) -> Vec<f64> {
    let rounds = first.iter().zip(second.iter());
    rounds
        .map(|(first, second)| first.p50_micros() + second.p50_micros())
        .collect()
}

/// The middle one; NaN of none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}
