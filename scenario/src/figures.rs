//! What one run showed.

use crate::Result;
use crate::load::{self, Asked};
use crate::process::machine_cpu;
use crate::provider::ledger::Counts;
use crate::stage::{Cpu, Stage};
use crate::wire::Source;
use crate::workload::Arrival;
use hdrhistogram::Histogram;
use std::time::Duration;
use tokio::time::Instant;

/// Latencies are kept to three digits up to this.
const LONGEST_US: u64 = 600_000_000;

/// What one run showed.
#[derive(Debug)]
pub struct Figures {
    /// For how long questions came.
    pub span: Duration,
    /// How long all of it took, to the last answer.
    pub elapsed: Duration,
    /// Latencies of the questions that were answered, in microseconds.
    pub latencies: Histogram<u64>,
    /// Questions without an answer, and why the first of them has none.
    pub failed: (u64, Option<String>),
    /// Where the embeddings came from.
    pub embeddings_from: From,
    /// Where the answers came from.
    pub answers_from: From,
    /// What the provider counted at its embeddings.
    pub embeddings: Counts,
    /// What the provider counted at its answers.
    pub answers: Counts,
    /// What the processes used.
    pub cpu: Cpu,
    /// What everything else on the machine used, the crowd included.
    pub other_cpu: Duration,
}

/// How often a value came from where.
#[derive(Clone, Copy, Debug, Default)]
pub struct From {
    /// The provider was called.
    pub computed: u64,
    /// It was cached.
    pub hit: u64,
    /// Somebody else's call was waited for.
    pub coalesced: u64,
}

impl From {
    fn count(&mut self, source: Source) {
        match source {
            Source::Computed => self.computed += 1,
            Source::Hit => self.hit += 1,
            Source::Coalesced => self.coalesced += 1,
        }
    }

    /// The share that needed no call of its own, in 0..=1.
    pub fn share_saved(&self) -> f64 {
        let saved = self.hit + self.coalesced;
        ratio(saved, saved + self.computed)
    }
}

/// `part / whole`, 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

/// Sends the load of this span to a stage that has just been started.
pub async fn measure(stage: &Stage, arrivals: &[Arrival], span: Duration) -> Result<Figures> {
    let (machine, cpu, start) = (machine_cpu()?, stage.cpu()?, Instant::now());
    let asked = load::run(arrivals, &stage.servers()).await?;
    let elapsed = start.elapsed();
    let cpu = stage.cpu()?.since(cpu);
    let other_cpu = machine_cpu()?.saturating_sub(machine + cpu.total());
    let ledgers = stage.ledgers().await?;
    let mut figures = Figures {
        span,
        elapsed,
        latencies: Histogram::new_with_bounds(1, LONGEST_US, 3)?,
        failed: (0, None),
        embeddings_from: From::default(),
        answers_from: From::default(),
        embeddings: ledgers.embeddings.total(),
        answers: ledgers.answers.total(),
        cpu,
        other_cpu,
    };
    for one in asked {
        figures.count(one);
    }
    Ok(figures)
}

impl Figures {
    fn count(&mut self, asked: Asked) {
        match asked.outcome {
            Ok((embedding, answer)) => {
                let us = u64::try_from(asked.latency.as_micros()).unwrap_or(u64::MAX);
                self.latencies.saturating_record(us);
                self.embeddings_from.count(embedding);
                self.answers_from.count(answer);
            }
            Err(error) => {
                self.failed.0 += 1;
                self.failed.1.get_or_insert(error);
            }
        }
    }

    /// A count per minute.
    pub fn per_minute(&self, count: u64) -> f64 {
        ratio(count, 1) * 60.0 / self.span.as_secs_f64()
    }

    /// The mean latency in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.latencies.mean() / 1000.0
    }

    /// A percentile of the latency in milliseconds.
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        ratio(self.latencies.value_at_percentile(percentile), 1000)
    }

    /// Calls that the provider refused, a minute.
    pub fn violations(&self) -> f64 {
        self.per_minute(self.answers.refused + self.embeddings.refused)
    }

    /// What answers would cost a day at this rate, in dollars.
    pub fn answer_dollars_a_day(&self) -> f64 {
        self.per_minute(self.answers.nano_dollars) * 1440.0 / 1e9
    }

    /// What embeddings would cost a day at this rate, in dollars.
    pub fn embedding_dollars_a_day(&self) -> f64 {
        self.per_minute(self.embeddings.nano_dollars) * 1440.0 / 1e9
    }

    /// Processor time of a server, in percent of one core.
    pub fn server_cpu_percent(&self) -> f64 {
        100.0 * self.cpu.servers.as_secs_f64() / 3.0 / self.elapsed.as_secs_f64()
    }

    /// Processor time of a server with its daemon and its third of Redis, in percent of one core.
    pub fn whole_cpu_percent(&self) -> f64 {
        let whole = self.cpu.servers + self.cpu.daemons + self.cpu.redis;
        100.0 * whole.as_secs_f64() / 3.0 / self.elapsed.as_secs_f64()
    }
}
