//! What a run has shown, in words and figures.

use super::checker::{self, Fault};
use super::field::Field;
use super::history::{History, Name, Said};
use super::run::Run;
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

    /// What is wrong, in words. A run in which something never happened proves nothing of it.
    pub fn faults(&self) -> Vec<String> {
        let seed = self.run.seed;
        let faults = self
            .faults
            .iter()
            .map(|it| format!("{:?}: {}", it.kind, it.what));
        let faults = faults.chain(self.harm.iter().cloned());
        let mut faults: Vec<String> = faults.map(|it| format!("seed {seed}: {it}")).collect();
        let it = &self.figures;
        let all = [
            (it.acknowledged, "acknowledged"),
            (it.unknown, "left without an answer"),
            (it.duplicates, "answered as a duplicate"),
            (it.redeliveries, "delivered again"),
            (it.settled, "settled"),
            (it.dead, "a dead letter"),
        ];
        let never = all.into_iter().filter(|(count, _)| *count == 0);
        faults.extend(never.map(|(_, what)| format!("seed {seed}: nothing was {what}")));
        faults
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

/// The one in the middle, of times in order.
pub fn middle(times: &[Duration]) -> Duration {
    times.get(times.len() / 2).copied().unwrap_or_default()
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
