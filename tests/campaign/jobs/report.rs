//! What a run has shown, in words and figures.

use super::checker::{self, Fault};
use super::field::Field;
use super::history::{Attempt, History, Word};
use crate::killed::{self, Run, Shown};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;
use trellis_proto::v1::JobState;

/// Faults that are told in words, of each run.
const TOLD: usize = 20;

#[derive(Debug)]
pub struct Report {
    pub run: Run,
    pub time: Duration,
    pub figures: Figures,
    /// Times from a start to service, in order of length.
    pub starts: Vec<Duration>,
    pub errors: BTreeMap<String, u64>,
    /// Panics of the daemon and errors in its log.
    pub harm: Vec<String>,
    pub faults: Vec<Fault>,
}

/// What there was to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub jobs: usize,
    pub acknowledged: usize,
    /// Without an answer.
    pub unknown: usize,
    /// Sent again, and answered with the job that stood.
    pub repeats: usize,
    pub attempts: usize,
    /// Attempts after one that its worker had ended in vain.
    pub retries: usize,
    /// After one whose worker was gone or silent.
    pub left: usize,
    /// After one of another life of the daemon, of which nothing was heard.
    pub killed: usize,
    pub succeeded: usize,
    pub failed: usize,
    pub dead: usize,
    pub cancelled: usize,
}

impl Figures {
    fn of(history: &History) -> Self {
        let mut it = Self {
            attempts: history.attempts.len(),
            jobs: history.stands.len(),
            ..Self::default()
        };
        for sent in &history.sent {
            it.acknowledged += usize::from(!sent.answers.is_empty());
            it.unknown += usize::from(sent.answers.is_empty());
            it.repeats += sent.answers.len().saturating_sub(1);
        }
        for stands in &history.stands {
            match stands.outcome.state {
                JobState::Succeeded => it.succeeded += 1,
                JobState::Failed => it.failed += 1,
                JobState::Dead => it.dead += 1,
                JobState::Cancelled => it.cancelled += 1,
                _ => {}
            }
        }
        let mut before: BTreeMap<&str, &Attempt> = BTreeMap::new();
        let mut attempts: Vec<&Attempt> = history.attempts.iter().collect();
        attempts.sort_by_key(|attempt| attempt.received);
        for attempt in attempts {
            let Some(last) = before.insert(&attempt.job, attempt) else {
                continue;
            };
            let in_vain = last.said.is_some_and(|said| {
                matches!(said.word, Word::Failed | Word::Throttled) && said.heard.may_be()
            });
            if in_vain {
                it.retries += 1;
            } else if last.life == attempt.life {
                it.left += 1;
            } else {
                it.killed += 1;
            }
        }
        it
    }
}

impl Report {
    pub fn new(run: Run, field: &Field, time: Duration, history: &History) -> Self {
        Self {
            run,
            time,
            figures: Figures::of(history),
            starts: field.house.starts(),
            errors: field.errors.counts(),
            harm: field.house.harm(),
            faults: checker::check(history),
        }
    }

    /// What is wrong, in words.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.faults.iter();
        let faults = faults.map(|it| format!("{:?}: {}", it.kind, it.what));
        let it = &self.figures;
        let happened = [
            (it.acknowledged, "acknowledged"),
            (it.repeats, "answered as a repeat"),
            (it.retries, "tried again"),
            (it.left, "left by its worker"),
            (it.killed, "run again after a kill"),
            (it.succeeded, "done"),
            (it.failed, "given up"),
            (it.dead, "tried too often"),
            (it.cancelled, "taken back"),
        ];
        killed::wrong(self.run.seed, faults, &self.harm, happened)
    }

    /// For the sum over all runs.
    pub fn shown(&self) -> Shown {
        let it = &self.figures;
        Shown {
            text: self.text(),
            kills: self.run.kills,
            sums: [
                (it.jobs, "jobs"),
                (it.attempts, "attempts"),
                (it.killed, "of them again after a kill"),
            ],
            starts: self.starts.clone(),
            wrong: self.faults(),
        }
    }

    pub fn text(&self) -> String {
        let (it, mut text) = (&self.figures, String::new());
        let _ = writeln!(
            text,
            "seed {}: {} kills in {:.0?}; {} jobs stand, {} submissions acknowledged and {} without an answer, {} repeats",
            self.run.seed,
            self.run.kills,
            self.time,
            it.jobs,
            it.acknowledged,
            it.unknown,
            it.repeats
        );
        let _ = writeln!(
            text,
            "  {} attempts: {} after one in vain, {} after one that was left, {} after one of a killed daemon",
            it.attempts, it.retries, it.left, it.killed
        );
        let _ = writeln!(
            text,
            "  ended: {} succeeded, {} failed, {} dead, {} cancelled",
            it.succeeded, it.failed, it.dead, it.cancelled
        );
        let _ = writeln!(text, "  errors: {:?}", self.errors);
        let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
        for fault in &self.faults {
            *kinds.entry(fault.kind).or_default() += 1;
        }
        let _ = write!(text, "  {} wrong {kinds:?}", self.faults.len());
        for fault in self.faults.iter().take(TOLD) {
            let _ = write!(text, "\n    {:?}: {}", fault.kind, fault.what);
        }
        text
    }
}
