//! What a run has shown, in words and figures.

use super::checker::{self, Fault};
use super::field::Field;
use super::history::{History, Name, Said};
use crate::killed::{self, Run, Shown, middle};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

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
    pub events: usize,
    pub acknowledged: usize,
    /// Without an answer.
    pub unknown: usize,
    /// And of these, those that stand.
    pub stand: usize,
    pub duplicates: usize,
    pub deliveries: usize,
    pub redeliveries: usize,
    pub settled: usize,
    pub dead: usize,
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
            (it.unknown, "left without an answer"),
            (it.duplicates, "answered as a duplicate"),
            (it.redeliveries, "delivered again"),
            (it.settled, "settled"),
            (it.dead, "a dead letter"),
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
                (it.events, "events"),
                (it.duplicates, "duplicates answered"),
                (it.redeliveries, "redeliveries"),
            ],
            starts: self.starts.clone(),
            wrong: self.faults(),
        }
    }

    pub fn text(&self) -> String {
        let (it, mut text) = (&self.figures, String::new());
        let _ = writeln!(
            text,
            "seed {}: {} kills in {:.1} s; {} events stand, {} acknowledged, {} duplicates answered; {} without an answer, of which {} stand",
            self.run.seed,
            self.run.kills,
            self.time.as_secs_f64(),
            it.events,
            it.acknowledged,
            it.duplicates,
            it.unknown,
            it.stand,
        );
        let _ = writeln!(
            text,
            "  groups: {} deliveries, {} of them again, {} settled, {} dead letters",
            it.deliveries, it.redeliveries, it.settled, it.dead
        );
        let _ = writeln!(
            text,
            "  from a start to service: p50 {:?}, max {:?}; errors answered: {:?}",
            middle(&self.starts),
            self.starts.last().copied().unwrap_or_default(),
            self.errors
        );
        let counts = checker::counted(&self.faults).into_iter();
        let counts = counts.map(|(kind, count)| format!("{kind:?} {count}"));
        let _ = writeln!(text, "  {}", counts.collect::<Vec<_>>().join(", "));
        for fault in self.faults.iter().take(TOLD) {
            let _ = writeln!(text, "  {:?}: {}", fault.kind, fault.what);
        }
        text
    }
}

impl Figures {
    fn of(history: &History) -> Self {
        let unanswered = history.sent.iter().filter(|sent| sent.answers.is_empty());
        let unanswered = unanswered.filter(|sent| sent.refused < sent.times);
        let logs = history.topics.iter().flat_map(|topic| &topic.log);
        let stand: HashSet<Name> = logs.map(|stored| stored.name).collect();
        let deliveries = || history.groups.iter().flat_map(|group| &group.deliveries);
        let first = history.groups.iter().map(|group| {
            let offsets = group.deliveries.iter().map(|it| it.event.offset);
            offsets.collect::<HashSet<_>>().len()
        });
        let first: usize = first.sum();
        let answers = history.sent.iter().flat_map(|sent| &sent.answers);
        Self {
            events: history.topics.iter().map(|topic| topic.log.len()).sum(),
            acknowledged: history
                .sent
                .iter()
                .filter(|it| !it.answers.is_empty())
                .count(),
            unknown: unanswered.clone().count(),
            stand: unanswered.filter(|sent| stand.contains(&sent.name)).count(),
            duplicates: answers.filter(|answer| answer.duplicate).count(),
            deliveries: deliveries().count(),
            redeliveries: deliveries().count() - first,
            settled: deliveries()
                .filter(|delivery| delivery.said.iter().any(Said::is_done))
                .count(),
            dead: history.groups.iter().map(|group| group.dead.len()).sum(),
        }
    }
}
