//! Whether jobs kept their promise, by what clients saw alone. Shares no code with what it checks.
//!
//! It accuses only what no true history shows: a decision lies between a request and its answer, what a client was sent it may read
//! late, and what nobody was told is not known. What it relies on: lives of the daemon are counted, a message of one life is
//! never taken for one of another, and all times are of one clock.

use super::field::result;
use super::history::{Attempt, Heard, History, Name, Sent, Stands, Word};
use std::collections::BTreeMap;
use trellis_proto::v1::JobState;

/// In what way a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged job does not stand.
    Lost,
    /// A submission stands more often than it may.
    Doubled,
    /// A job stands that nobody submitted.
    Foreign,
    /// All is quiet, and a job has not ended.
    Unfinished,
    /// A job has ended otherwise than somebody was told.
    Changed,
    /// A job has ended as nobody made it end.
    Unearned,
    /// An end was acknowledged, and the job has another one.
    Ignored,
    /// Two workers had a job at once.
    Shared,
    /// A job was handed out after its end was acknowledged.
    RanAgain,
    /// A job had more attempts than it may, or fewer than it died of.
    Miscounted,
}

/// What is wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// In words, with the name of the job.
    pub what: String,
}

/// A job with all that was seen of it.
struct Life<'a> {
    stands: &'a Stands,
    sent: &'a Sent,
    /// By number, then by when they came.
    attempts: Vec<&'a Attempt>,
}

/// Everything that is wrong.
pub fn check(history: &History) -> Vec<Fault> {
    let mut faults = Faults::default();
    let sent: BTreeMap<Name, &Sent> = history.sent.iter().map(|sent| (sent.name, sent)).collect();
    let stands = by(&history.stands, |stands| stands.job.as_str());
    submissions(history, &stands, &mut faults);
    let mut attempts = by(&history.attempts, |attempt| attempt.job.as_str());
    for stands in &history.stands {
        let Some(sent) = sent.get(&stands.name) else {
            faults.add(Kind::Foreign, stands.name, "nobody submitted it");
            continue;
        };
        let mut attempts = attempts.remove(stands.job.as_str()).unwrap_or_default();
        attempts.sort_by_key(|attempt| (attempt.number, attempt.received));
        let life = Life {
            stands,
            sent,
            attempts,
        };
        life.check(&mut faults);
    }
    for left in attempts.into_values().flatten() {
        faults.add(
            Kind::Lost,
            left.name,
            "it was handed out, and does not stand",
        );
    }
    faults.0
}

fn by<'a, T>(all: &'a [T], key: impl Fn(&'a T) -> &'a str) -> BTreeMap<&'a str, Vec<&'a T>> {
    let mut map: BTreeMap<&str, Vec<&T>> = BTreeMap::new();
    for one in all {
        map.entry(key(one)).or_default().push(one);
    }
    map
}

fn submissions(history: &History, stands: &BTreeMap<&str, Vec<&Stands>>, faults: &mut Faults) {
    let mut jobs: BTreeMap<Name, u64> = BTreeMap::new();
    for stands in &history.stands {
        *jobs.entry(stands.name).or_default() += 1;
    }
    for sent in &history.sent {
        let standing = jobs.get(&sent.name).copied().unwrap_or(0);
        let most = if sent.named { 1 } else { sent.times };
        if standing > most {
            let what = format!("{standing} jobs stand, sent {} times", sent.times);
            faults.add(Kind::Doubled, sent.name, &what);
        }
        if let Some(first) = sent.answers.first() {
            if !stands.contains_key(first.as_str()) {
                faults.add(
                    Kind::Lost,
                    sent.name,
                    "it was acknowledged, and does not stand",
                );
            }
            if sent.answers.iter().any(|answer| answer != first) {
                let what = format!("answered by {:?}", sent.answers);
                faults.add(Kind::Doubled, sent.name, &what);
            }
        }
    }
}

impl Life<'_> {
    fn check(&self, faults: &mut Faults) {
        let (stands, sent) = (self.stands, self.sent);
        let outcome = &stands.outcome;
        if outcome.state == JobState::Unspecified {
            return faults.add(Kind::Unfinished, sent.name, "it has not ended");
        }
        let is_known = sent.answers.first() == Some(&stands.job);
        for told in sent.told.iter().filter(|told| is_known && *told != outcome) {
            let what = format!("{told:?} was told, and in the end it is {outcome:?}");
            faults.add(Kind::Changed, sent.name, &what);
        }
        self.check_end(is_known, faults);
        self.check_turns(faults);
        let most = stands.attempts > sent.max_attempts;
        let least = outcome.state == JobState::Dead && stands.attempts < sent.max_attempts;
        if most || least {
            let what = format!("{} attempts of {}", stands.attempts, sent.max_attempts);
            faults.add(Kind::Miscounted, sent.name, &what);
        }
    }

    /// Somebody made it end so, and what was acknowledged holds.
    fn check_end(&self, is_known: bool, faults: &mut Faults) {
        let outcome = &self.stands.outcome;
        let said = |word: Word| {
            let attempts = self.attempts.iter().filter(move |attempt| {
                let said = attempt.said.filter(|said| said.word == word);
                said.is_some_and(|said| said.heard.may_be())
            });
            attempts.map(|attempt| result(&attempt.lease))
        };
        let earned = match outcome.state {
            JobState::Succeeded => said(Word::Succeeded).any(|made| made == outcome.result),
            JobState::Failed => said(Word::Given).next().is_some(),
            // That attempts were in vain is what their number tells, which is checked elsewhere.
            JobState::Dead => true,
            JobState::Cancelled => is_known && !self.sent.cancels.is_empty(),
            _ => false,
        };
        if !earned {
            let what = format!("{outcome:?}, by nobody's doing");
            faults.add(Kind::Unearned, self.sent.name, &what);
        }
        for attempt in &self.attempts {
            let Some(said) = attempt.said else { continue };
            let holds = match (said.heard, said.word) {
                (Heard::Done(_), Word::Succeeded) => {
                    outcome.state == JobState::Succeeded && outcome.result == result(&attempt.lease)
                }
                (Heard::Done(_), Word::Given) => outcome.state == JobState::Failed,
                _ => true,
            };
            if !holds {
                let what = format!("{said:?} of {}, and it is {outcome:?}", attempt.lease);
                faults.add(Kind::Ignored, self.sent.name, &what);
            }
        }
    }

    /// One worker at a time, and none after the end.
    fn check_turns(&self, faults: &mut Faults) {
        let ends = self.attempts.iter().filter_map(|attempt| attempt.said);
        let ends = ends.filter(|said| matches!(said.word, Word::Succeeded | Word::Given));
        let ends = ends.map(|said| said.heard);
        let ended = ends.filter_map(|heard| match heard {
            Heard::Done(at) => Some(at),
            _ => None,
        });
        if let Some(ended) = ended.min() {
            for again in self.attempts.iter().filter(|it| it.granted > ended) {
                let what = format!(
                    "attempt {}, {} us after its end",
                    again.number,
                    again.granted - ended
                );
                faults.add(Kind::RanAgain, self.sent.name, &what);
            }
        }
        for (place, first) in self.attempts.iter().enumerate() {
            for second in &self.attempts[place + 1..] {
                let had = first.held.iter().any(|held| {
                    held.life == second.life && (held.from..held.until).contains(&second.received)
                });
                if had && second.number > first.number {
                    let what = format!("attempts {} and {}", first.number, second.number);
                    faults.add(Kind::Shared, self.sent.name, &what);
                }
            }
        }
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, kind: Kind, name: Name, what: &str) {
        let what = format!("job {name}: {what}");
        self.0.push(Fault { kind, what });
    }
}
