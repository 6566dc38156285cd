//! A topic: what stands, held against what was sent and told, and against what its subscriber saw.

use super::super::history::{Name, Sent, Stored, Topic};
use super::{Fault, Kind};
use std::collections::{BTreeMap, HashMap};

/// Where each event stands, by name.
type Places<'a> = HashMap<Name, Vec<&'a Stored>>;

pub fn check(sent: &[&Sent], topic: &Topic) -> Vec<Fault> {
    let mut faults = Vec::new();
    for pair in topic.log.windows(2) {
        if pair[1].offset <= pair[0].offset {
            let what = format!("{} comes behind {}", pair[1].offset, pair[0].offset);
            faults.push(Fault::new(Kind::Swapped, what));
        }
    }
    let mut places = Places::new();
    for stored in &topic.log {
        places.entry(stored.name).or_default().push(stored);
    }
    let known: HashMap<Name, &Sent> = sent.iter().map(|sent| (sent.name, *sent)).collect();
    for stored in &topic.log {
        faults.extend(foreign(stored, known.get(&stored.name).copied()));
    }
    for sent in sent {
        let own = places.get(&sent.name).map_or(&[][..], Vec::as_slice);
        faults.extend(one(sent, own));
    }
    faults.extend(publishers(sent, &places));
    faults.extend(times(&topic.log, &known));
    faults.extend(followed(topic));
    faults
}

/// Something stands as it was sent.
fn foreign(stored: &Stored, sent: Option<&Sent>) -> Option<Fault> {
    let (name, offset) = (stored.name, stored.offset);
    let why = match sent {
        None => "was never sent",
        Some(sent) if sent.digest != stored.digest => "is not as it was sent",
        Some(sent) if sent.refused == sent.times => "was refused",
        Some(_) => return None,
    };
    let what = format!("{name} at {offset} {why}");
    Some(Fault::new(Kind::Foreign, what))
}

/// An event stands as often as it may, and where was told.
fn one(sent: &Sent, places: &[&Stored]) -> Vec<Fault> {
    let name = sent.name;
    let mut faults = Vec::new();
    let mut fault = |kind, what| faults.push(Fault::new(kind, what));
    let offsets: Vec<i64> = places.iter().map(|stored| stored.offset).collect();
    if let (Some(answer), true) = (sent.answers.first(), places.is_empty()) {
        let offset = answer.offset;
        fault(
            Kind::Lost,
            format!("{name}, acknowledged at {offset}, does not stand"),
        );
    }
    let most = if sent.named { 1 } else { sent.times };
    if offsets.len() as u64 > most {
        let times = sent.times;
        fault(
            Kind::Doubled,
            format!("{name}, sent {times} times, stands at {offsets:?}"),
        );
    }
    for answer in &sent.answers {
        if !offsets.is_empty() && !offsets.contains(&answer.offset) {
            let told = answer.offset;
            fault(
                Kind::Moved,
                format!("{name}, acknowledged at {told}, stands at {offsets:?}"),
            );
        }
    }
    let first = sent.answers.iter().filter(|answer| !answer.duplicate);
    let (firsts, all) = (first.count(), sent.answers.len());
    let repeats = (all - firsts) as u64;
    // An id's repeats are duplicates, and there is none of what was sent once.
    if (sent.named && firsts > 1) || repeats >= sent.times.max(1) || (!sent.named && repeats > 0) {
        let what = format!("{name}: {repeats} of {all} answers call it a duplicate");
        fault(Kind::Doubled, what);
    }
    faults
}

/// A publisher's events stand in the order in which they were sent first. One that repeats does so in order before it goes on.
fn publishers(sent: &[&Sent], places: &Places<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut last: BTreeMap<u64, &Stored> = BTreeMap::new();
    let mut sent = sent.to_vec();
    sent.sort_unstable_by_key(|sent| sent.name);
    for sent in sent {
        let Some(stored) = places.get(&sent.name).and_then(|own| own.first()) else {
            continue;
        };
        if let Some(before) = last.insert(sent.name.publisher, stored)
            && before.offset > stored.offset
        {
            let (first, second) = (before.name, stored.name);
            let what = format!(
                "{second} at {} stands before {first} at {}",
                stored.offset, before.offset
            );
            faults.push(Fault::new(Kind::Swapped, what));
        }
    }
    faults
}

/// What was acknowledged before another was sent stands before it, whoever published them.
fn times(log: &[Stored], known: &HashMap<Name, &Sent>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut latest: Option<&Sent> = None;
    for stored in log {
        let Some(sent) = known.get(&stored.name).copied() else {
            continue;
        };
        if let (Some(latest), Some(answer)) = (latest, sent.answers.first())
            && answer.offset == stored.offset
            && answer.at < latest.at
        {
            let (name, later) = (sent.name, latest.name);
            let what = format!("{name} was acknowledged before {later} was sent, and is behind it");
            faults.push(Fault::new(Kind::Swapped, what));
        }
        if latest.is_none_or(|latest| latest.at < sent.at) {
            latest = Some(sent);
        }
    }
    faults
}

/// The subscriber saw the topic's sequence, and nothing else.
fn followed(topic: &Topic) -> Vec<Fault> {
    let mut faults = Vec::new();
    for gap in &topic.gaps {
        faults.push(Fault::new(Kind::Missed, gap.clone()));
    }
    let (mut seen, mut log) = (
        topic.followed.iter().peekable(),
        topic.log.iter().peekable(),
    );
    loop {
        let what = match (seen.peek(), log.peek()) {
            (Some(saw), Some(stands)) if saw == stands => {
                seen.next();
                log.next();
                continue;
            }
            // What is not to be seen here was seen before, or is none of the topic's.
            (Some(saw), stands) if stands.is_none_or(|stands| saw.offset <= stands.offset) => {
                let what = format!("{} at {} was seen in vain", saw.name, saw.offset);
                seen.next();
                what
            }
            (_, Some(stands)) => {
                let what = format!("{} at {} was not seen", stands.name, stands.offset);
                log.next();
                what
            }
            (_, None) => return faults,
        };
        faults.push(Fault::new(Kind::Missed, what));
    }
}
