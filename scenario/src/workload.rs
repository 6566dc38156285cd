//! The workload: what is asked, when and of which server. It follows from the committed file and a seed
//! alone, so that every column, and every run, meets the same one.

use crate::Result;
use crate::random::{Random, hash};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The committed file.
const FILE: &str = include_str!("../workload.toml");

/// Servers that the load is spread over.
pub const SERVERS: usize = 3;

/// The workload's parameters.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Runs of each column.
    pub seeds: Vec<u64>,
    /// Length of one run.
    pub minutes: u32,
    /// Questions asked in each minute, exactly.
    pub requests_per_minute: u32,
    /// How questions trend.
    pub trends: Trends,
    /// The provider's embeddings.
    pub embeddings: Endpoint,
    /// The provider's answers.
    pub answers: Endpoint,
    /// What is asked.
    pub questions: Questions,
}

/// How a question trends.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trends {
    /// The fewest who ask it.
    pub copies_min: u32,
    /// The most who ask it.
    pub copies_max: u32,
    /// How long after the first the last may ask.
    pub spread_ms: u32,
}

/// What the provider enforces and charges at one endpoint.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Calls admitted in any `period_ms`.
    pub limit: u32,
    /// Length of the sliding window.
    pub period_ms: u32,
    /// Latency before the first token, in the median.
    pub latency_ms: u32,
    /// Standard deviation of the latency's logarithm.
    pub latency_spread: f64,
    /// Price of a token sent, in 10^-9 dollars.
    pub price_nano_dollars_per_input_token: u64,
    /// Price of a token received, in 10^-9 dollars.
    pub price_nano_dollars_per_output_token: u64,
    /// Further latency per token received.
    pub latency_us_per_output_token: u32,
}

impl Endpoint {
    /// Length of the sliding window.
    pub fn period(&self) -> Duration {
        Duration::from_millis(self.period_ms.into())
    }
}

/// Questions are forms with a topic in their gap.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// Sentences with a gap, `{}`.
    pub forms: Vec<String>,
    /// What goes into the gap.
    pub topics: Vec<String>,
}

/// One question being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, from the start of the run.
    pub at: Duration,
    /// What.
    pub question: String,
    /// Of which server: they take turns.
    pub server: usize,
}

impl Workload {
    /// Reads the committed file.
    pub fn read() -> Result<Self> {
        Ok(toml::from_str(FILE)?)
    }

    /// All questions there are, in the seed's order.
    fn questions(&self, random: &mut Random) -> Vec<String> {
        let Questions { forms, topics } = &self.questions;
        let fill = |form: &String| {
            let form = form.clone();
            topics.iter().map(move |topic| form.replace("{}", topic))
        };
        let mut questions: Vec<_> = forms.iter().flat_map(fill).collect();
        random.shuffle(&mut questions);
        questions
    }

    /// What is asked in a run of this many whole minutes, in order of time.
    pub fn arrivals(&self, seed: u64, minutes: u32) -> Result<Vec<Arrival>> {
        let mut random = Random::new(seed);
        let mut questions = self.questions(&mut random).into_iter();
        let mut asked = Vec::new();
        for minute in 0..minutes {
            let mut left = self.requests_per_minute;
            while left > 0 {
                let question = questions.next().ok_or("too few questions for the time")?;
                let start_us = u64::from(minute) * 60_000_000 + random.below(60_000_000);
                let drawn = self.trends.copies_max - self.trends.copies_min + 1;
                let copies = u64::from(self.trends.copies_min) + random.below(drawn.into());
                let copies = u32::try_from(copies)?.min(left);
                for copy in 0..copies {
                    let later = random.below(u64::from(self.trends.spread_ms) * 1000);
                    let at = start_us + if copy == 0 { 0 } else { later };
                    asked.push((Duration::from_micros(at), question.clone()));
                }
                left -= copies;
            }
        }
        asked.sort();
        let arrivals = asked.into_iter().enumerate();
        let arrivals = arrivals.map(|(turn, (at, question))| Arrival {
            at,
            question,
            server: turn % SERVERS,
        });
        Ok(arrivals.collect())
    }
}

/// Different questions in a list.
pub fn distinct(arrivals: &[Arrival]) -> usize {
    let questions = arrivals.iter().map(|arrival| &arrival.question);
    questions.collect::<std::collections::BTreeSet<_>>().len()
}

/// A number that tells whether two lists are the same.
pub fn digest(arrivals: &[Arrival]) -> u64 {
    let lines = arrivals.iter().map(|arrival| {
        let Arrival {
            at,
            question,
            server,
        } = arrival;
        format!("{} {server} {question}\n", at.as_micros())
    });
    hash(lines.collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_of_the_file_has_the_arrivals_that_were_measured() {
        let workload = Workload::read().unwrap();
        let digests = workload.seeds.iter().map(|seed| {
            let arrivals = workload.arrivals(*seed, workload.minutes).unwrap();
            format!("{seed} {} {:016x}", distinct(&arrivals), digest(&arrivals))
        });
        let measured = [
            "11 442 2efd84fe38c3b806",
            "12 431 db57701b5c7da73b",
            "13 428 f7b7a7de0e2ec23a",
        ];
        assert_eq!(digests.collect::<Vec<_>>(), measured);
    }

    #[test]
    fn a_minute_has_its_requests_and_a_trend_stays_close() {
        let workload = Workload::read().unwrap();
        let arrivals = workload.arrivals(5, 2).unwrap();
        assert_eq!(arrivals.len(), 2 * 1000);
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        let first = &arrivals[0];
        let trend: Vec<_> = arrivals
            .iter()
            .filter(|arrival| arrival.question == first.question)
            .collect();
        assert!(trend.len() <= 10);
        let spread = trend.last().unwrap().at.saturating_sub(first.at);
        assert!(spread < Duration::from_millis(350), "{spread:?}");
    }
}
