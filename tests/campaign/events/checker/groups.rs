//! A group: what its members were handed and what they said, held against what stands in its topic.

use super::super::history::{Dead, Delivery, Group, Heard, Said, Stored, Word};
use super::{Fault, Kind};
use crate::history::Micros;
use std::collections::{BTreeMap, HashMap};

/// What became of one event.
#[derive(Default)]
struct Course<'a> {
    /// By life and attempt, which is the order in which they were handed out.
    deliveries: Vec<&'a Delivery>,
    dead: Option<&'a Dead>,
}

pub fn check(log: &[Stored], group: &Group) -> Vec<Fault> {
    let mut courses: BTreeMap<i64, Course<'_>> = BTreeMap::new();
    for delivery in &group.deliveries {
        let course = courses.entry(delivery.event.offset).or_default();
        course.deliveries.push(delivery);
    }
    for dead in &group.dead {
        courses.entry(dead.offset).or_default().dead = Some(dead);
    }
    let stands: HashMap<i64, &Stored> = log.iter().map(|event| (event.offset, event)).collect();
    let mut faults = Vec::new();
    for (offset, course) in &mut courses {
        course.deliveries.sort_by_key(|it| (it.life, it.attempt));
        let foreign = |it: &&Delivery| stands.get(offset).is_none_or(|event| **event != it.event);
        if let Some(delivery) = course.deliveries.iter().copied().find(foreign) {
            let name = delivery.event.name;
            let what = format!("{name} was delivered, which does not stand at {offset}");
            faults.push(Fault::new(Kind::Foreign, what));
        }
        let mut found = Vec::new();
        course.counts(group, &mut found);
        course.settled(&mut found);
        course.apart(group, &mut found);
        course.dead(group, &mut found);
        let name = course.deliveries.first().map(|it| it.event.name);
        let name = name.map_or(String::new(), |name| format!("{name} "));
        let named = |(kind, what)| Fault::new(kind, format!("{name}at {offset} {what}"));
        faults.extend(found.into_iter().map(named));
    }
    for event in log {
        let course = courses.get(&event.offset);
        let handled = course.is_some_and(Course::is_handled);
        if !handled {
            let times = course.map_or(0, |course| course.deliveries.len());
            let what = format!(
                "{} at {}, delivered {times} times, was not handled",
                event.name, event.offset
            );
            faults.push(Fault::new(Kind::Unhandled, what));
        }
    }
    if group.ordered {
        faults.extend(in_turn(log, group, &courses));
    }
    faults
}

type Found = Vec<(Kind, String)>;

/// Two clocks are compared, which may drift, and are read by the millisecond.
fn about(time: Micros, span: Micros) -> Micros {
    time.saturating_sub(2_000 + span / 1_000)
}

impl Delivery {
    /// When the member may have lost it at the earliest, by its word or by its time.
    fn free_from(&self, lease: Micros) -> Micros {
        let mut free = self.granted + lease;
        for said in &self.said {
            match said.word {
                Word::Extend if said.is_done() => free = free.max(said.sent + lease),
                Word::Nack(delay) if said.may_be() => return said.sent + delay,
                _ => {}
            }
        }
        free
    }
}

impl Course<'_> {
    fn said(&self) -> impl Iterator<Item = (&Delivery, &Said)> {
        let own = |delivery| move |said| (delivery, said);
        let deliveries = self.deliveries.iter().copied();
        deliveries.flat_map(move |delivery: &Delivery| delivery.said.iter().map(own(delivery)))
    }

    fn is_handled(&self) -> bool {
        let acked = |(_, said): (&Delivery, &Said)| said.word == Word::Ack && said.is_done();
        self.dead.is_some() || self.said().any(acked)
    }

    /// The count of deliveries rises within a life, and does not fall between two.
    fn counts(&self, group: &Group, found: &mut Found) {
        for pair in self.deliveries.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            if first.life == second.life && first.attempt == second.attempt {
                let what = format!("was handed out twice as attempt {}", first.attempt);
                found.push((Kind::Miscounted, what));
            }
            if first.attempt > second.attempt {
                let (before, after) = (first.attempt, second.attempt);
                let what = format!("was attempt {before}, and after a restart attempt {after}");
                found.push((Kind::Miscounted, what));
            }
        }
        let most = self.deliveries.iter().map(|it| it.attempt).max();
        if let Some(most) = most.filter(|most| *most > group.max_attempts) {
            let what = format!("was attempt {most} of {}", group.max_attempts);
            found.push((Kind::Miscounted, what));
        }
    }

    /// After it was known to be settled it was not handed out.
    fn settled(&self, found: &mut Found) {
        let mut settled = Vec::new();
        for (by, said) in self.said() {
            if let (Word::Ack | Word::Reject, Heard::Done(at)) = (said.word, said.heard) {
                settled.push((at, (by.life, by.attempt)));
            }
        }
        for delivery in &self.deliveries {
            let turn = (delivery.life, delivery.attempt);
            // What was handed out before, and read late, has an earlier turn than that by which it was settled.
            let before = settled.iter().filter(|(at, _)| *at < delivery.received);
            let last = before.map(|(_, by)| *by).max();
            if let Some(by) = last.filter(|by| *by < turn) {
                let what = format!(
                    "was settled as attempt {} of life {}, and came as attempt {} of life {}",
                    by.1, by.0, turn.1, turn.0
                );
                found.push((Kind::Redelivered, what));
            }
        }
    }

    /// In one life it was handed out again only when the member before had given it back, or its time was over.
    fn apart(&self, group: &Group, found: &mut Found) {
        for pair in self.deliveries.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            let free = first.free_from(group.lease);
            if first.life == second.life && second.received < about(free, group.lease) {
                let early = free - second.received;
                let what = format!("came as attempt {} {early} µs too early", second.attempt);
                found.push((Kind::Shared, what));
            }
        }
    }

    /// A dead letter has its reason, and what has a reason is one.
    fn dead(&self, group: &Group, found: &mut Found) {
        let rejected = |(_, said): &(&Delivery, &Said)| said.word == Word::Reject;
        let Some(dead) = self.dead else {
            if self.said().any(|it| rejected(&it) && it.1.is_done()) {
                let what = "was rejected and is no dead letter".to_owned();
                found.push((Kind::WronglyDead, what));
            }
            return;
        };
        if dead.rejected {
            if !self.said().any(|it| rejected(&it) && it.1.may_be()) {
                let what = "is a dead letter that nobody rejected".to_owned();
                found.push((Kind::WronglyDead, what));
            }
        } else if dead.attempts != group.max_attempts {
            let what = format!(
                "is a dead letter after {} of {} attempts",
                dead.attempts, group.max_attempts
            );
            found.push((Kind::WronglyDead, what));
        }
        // An acknowledgement of a dead letter is answered as done: it is settled.
        let died = self.died_from(group);
        let acked = |(_, said): (&Delivery, &Said)| matches!((said.word, said.heard), (Word::Ack, Heard::Done(at)) if at < about(died, group.lease));
        if self.said().any(acked) {
            let what = "was acknowledged and is a dead letter".to_owned();
            found.push((Kind::WronglyDead, what));
        }
    }

    /// When it can have become a dead letter at the earliest; never if it is none.
    fn died_from(&self, group: &Group) -> Micros {
        let Some(dead) = self.dead else {
            return Micros::MAX;
        };
        if dead.rejected {
            let rejects = self
                .said()
                .filter(|(_, said)| said.word == Word::Reject && said.may_be());
            return rejects.map(|(_, said)| said.sent).min().unwrap_or(0);
        }
        // A member that was gone may not have seen the last one.
        let last = self.deliveries.last();
        last.filter(|last| last.attempt == group.max_attempts)
            .map_or(0, |last| match last.said.last() {
                Some(said) if said.may_be() && matches!(said.word, Word::Nack(_)) => said.sent,
                _ => last.free_from(group.lease),
            })
    }

    /// When it can have been settled at the earliest.
    fn settled_from(&self, group: &Group) -> Micros {
        let acks = self
            .said()
            .filter(|(_, said)| said.word == Word::Ack && said.may_be());
        let acked = acks.map(|(_, said)| said.sent).min();
        acked.unwrap_or(Micros::MAX).min(self.died_from(group))
    }
}

/// An event comes when those of its key that stand before it are settled, and none of them comes afterwards in another life.
fn in_turn(log: &[Stored], group: &Group, courses: &BTreeMap<i64, Course<'_>>) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Of each key: the event before that was settled last, and when.
    let mut before: HashMap<u64, (Micros, &Stored)> = HashMap::new();
    for event in log {
        let (Some(key), Some(course)) = (event.key, courses.get(&event.offset)) else {
            continue;
        };
        let first = course.deliveries.iter().map(|it| it.received).min();
        let span = group.lease;
        if let (Some(first), Some((settled, earlier))) = (first, before.get(&key))
            && first < about(*settled, span)
        {
            let what = format!(
                "{} came before {} of its key was settled",
                event.name, earlier.name
            );
            faults.push(Fault::new(Kind::OutOfTurn, what));
        }
        let settled = course.settled_from(group);
        let place = before.entry(key).or_insert((settled, event));
        if settled >= place.0 {
            *place = (settled, event);
        }
    }
    faults.extend(afterwards(log, courses));
    faults
}

/// An event that came in a later life than one of its key behind it.
fn afterwards(log: &[Stored], courses: &BTreeMap<i64, Course<'_>>) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Of each key: the first life in which an event behind came.
    let mut behind: HashMap<u64, (u64, &Stored)> = HashMap::new();
    for event in log.iter().rev() {
        let (Some(key), Some(course)) = (event.key, courses.get(&event.offset)) else {
            continue;
        };
        let lives = course.deliveries.iter().map(|it| it.life);
        let (Some(first), Some(last)) = (lives.clone().min(), lives.max()) else {
            continue;
        };
        if let Some((life, later)) = behind.get(&key)
            && last > *life
        {
            let what = format!(
                "{} came in life {last}, and {} of its key behind it in life {life}",
                event.name, later.name
            );
            faults.push(Fault::new(Kind::OutOfTurn, what));
        }
        let place = behind.entry(key).or_insert((first, event));
        if first < place.0 {
            *place = (first, event);
        }
    }
    faults
}
