//! One run: the load, the kills, and what is read when all is quiet.

use super::field::{Field, GROUPS, TOPICS, group};
use super::history::{Group, History, Topic};
use super::member::{self, Member};
use super::publisher::Publisher;
use super::reader::{Subscriber, dead_letters, read};
use super::report::Report;
use crate::calls::until;
use crate::clock::pause;
use crate::killed::{Run, start};
use futures::future::join_all;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PUBLISHERS: u64 = 16;

/// Members of each group.
const MEMBERS: u64 = 3;

const LEASE: Duration = Duration::from_secs(1);
const MAX_ATTEMPTS: i32 = 6;

/// A fifth of the long form.
pub fn long(seed: u64) -> Run {
    Run::long(seed, 100, Duration::from_millis(2_500))
}

/// Does it.
pub async fn go(run: Run) -> Report {
    let field = Field::new(run.seed);
    member::declare(&field, LEASE, MAX_ATTEMPTS).await;
    let begun = field.clock.now();
    let publishers = (0..PUBLISHERS).map(|number| Publisher::new(&field, number).run());
    let members = (0..GROUPS.len()).map(|group| {
        let members = (0..MEMBERS).map(|number| Member::new(&field, group, number).run());
        join_all(members.collect::<Vec<_>>())
    });
    let subscribers = (0..TOPICS).map(|topic| Subscriber::new(&field, topic).run());
    let (sent, deliveries, topics, ()) = tokio::join!(
        join_all(publishers.collect::<Vec<_>>()),
        join_all(members.collect::<Vec<_>>()),
        join_all(subscribers.collect::<Vec<_>>()),
        drive(&run, &field),
    );
    let time = field.clock.now() - begun;
    let mut history = History {
        sent: sent.into_iter().flatten().collect(),
        topics,
        groups: Vec::new(),
    };
    for (number, deliveries) in deliveries.into_iter().enumerate() {
        let (topic, ordered) = GROUPS[number];
        history.groups.push(Group {
            name: group(number),
            topic,
            ordered,
            lease: u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX),
            max_attempts: MAX_ATTEMPTS,
            deliveries: deliveries.into_iter().flatten().collect(),
            dead: Vec::new(),
        });
    }
    look(&field, &mut history).await;
    field.house.kill();
    Report::new(run, &field, Duration::from_micros(time), &history)
}

/// Kills, and then waits until everything is done.
async fn drive(run: &Run, field: &Field) {
    if run.broken {
        // So that there is something to lose.
        let _ = until(run.patience, || field.acknowledged() >= 500).await;
    }
    run.kill(&field.house, field.clock, "").await;
    field.over.store(true, Ordering::Relaxed);
    let quiet = || field.publishing.load(Ordering::Relaxed) == 0;
    let _ = until(run.patience, quiet).await;
    field.calm.store(true, Ordering::Relaxed);
    finish(field, run.patience).await;
    field.done.store(true, Ordering::Relaxed);
}

/// Waits until subscribers have seen everything and groups are done with it, or the time is over.
async fn finish(field: &Field, patience: Duration) {
    let (_, mut client) = field.client().await;
    let mut logs = Vec::new();
    for topic in 0..TOPICS {
        logs.push(read(&mut client, topic).await);
    }
    let ends = logs.iter().map(|log| log.last().map_or(-1, |it| it.offset));
    let ends: Vec<i64> = ends.collect();
    let seen = || {
        let mut all = ends.iter().zip(&field.followed);
        all.all(|(end, seen)| seen.load(Ordering::Relaxed) >= *end)
    };
    let _ = until(patience, seen).await;
    let until = field.clock.now() + u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
    for (number, (topic, _)) in GROUPS.into_iter().enumerate() {
        loop {
            let dead = dead_letters(&mut client, number).await;
            let mut left: Vec<i64> = logs[topic].iter().map(|it| it.offset).collect();
            left.retain(|offset| dead.iter().all(|dead| dead.offset != *offset));
            let settled = field.settled[number].lock().clone();
            left.retain(|offset| !settled.contains(offset));
            if left.is_empty() || field.clock.now() > until {
                break;
            }
            pause(Duration::from_millis(100)).await;
        }
    }
}

/// Reads what stands in the end, in one more life of the daemon.
async fn look(field: &Field, history: &mut History) {
    field.house.kill();
    start(&field.house, field.clock).await;
    let (_, mut client) = field.client().await;
    for (number, topic) in history.topics.iter_mut().enumerate() {
        *topic = Topic {
            log: read(&mut client, number).await,
            ..std::mem::take(topic)
        };
    }
    for (number, group) in history.groups.iter_mut().enumerate() {
        group.dead = dead_letters(&mut client, number).await;
    }
}
