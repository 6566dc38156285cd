//! What a life leaves to the next one.

use super::support::{
    CONTROL, LIMITS, Life, ROOM, clock, config, event, group, memory_log, names, options, topic,
};
use std::sync::Arc;
use std::time::Duration;
use trellis_conformance::events::Settings;
use trellis_core::events::control::{ControlFold, ControlRecord};
use trellis_core::events::group::DeadReason;
use trellis_core::events::{
    Events, GroupSpec, Heard, Replay, Settlement, Stamp, Start, TopicRetention,
};
use trellis_core::log::{Batch, Durability, Offset, Partition, Record};
use trellis_core::{ErrorCode, Micros};
use trellis_engine::{EventEngine, EventsConfig};
use trellis_local::log::DiskLog;

/// Everything that a life may leave.
async fn leave(life: &Life) {
    let engine = &life.engine;
    for id in ["a", "b", "c", "d"] {
        engine.publish(&topic("orders"), event(id)).await.unwrap();
    }
    let twice = [0, 1].map(|_| engine.publish(&topic("orders"), event("e")));
    for publishing in twice {
        publishing.await.unwrap();
    }
    let spec = GroupSpec {
        max_attempts: 2,
        ..GroupSpec::default()
    };
    let kept = TopicRetention {
        max_events: Some(1_000),
        ..TopicRetention::default()
    };
    engine.set_topic(topic("bills"), kept).await.unwrap();
    let id = group("billing");
    let set = engine.set_group(id.clone(), spec, Start::Earliest);
    set.await.unwrap();
    let had = engine
        .receive(id.clone(), ROOM, Micros::ZERO)
        .await
        .unwrap();
    assert_eq!(names(&had), ["a", "b", "c", "d", "e"]);
    let settlements = vec![
        (had[0].lease, Settlement::Ack),
        (had[1].lease, Settlement::Reject),
        (had[2].lease, Settlement::Nack(Some(Micros::ZERO))),
        (had[4].lease, Settlement::Ack),
    ];
    let settled = engine.settle(id.clone(), settlements).await.unwrap();
    assert!(settled.iter().all(Result::is_ok));
    engine
        .join_group(group("stock"), Start::Latest)
        .await
        .unwrap();
    engine
        .join_group(group("gone"), Start::Latest)
        .await
        .unwrap();
    engine.delete_group(group("gone")).await.unwrap();
}

/// That it is all there.
async fn find(life: &Life) {
    let engine = &life.engine;
    assert_eq!(life.held("orders").await, ["a", "b", "c", "d", "e"]);
    let repeated = engine.publish(&topic("orders"), event("e")).await.unwrap();
    assert!(repeated.duplicate);
    let bills = engine.topic(topic("bills")).await.unwrap();
    assert_eq!(bills.retention.max_events, Some(1_000));
    let id = group("billing");
    let state = engine.group(id.clone()).await.unwrap();
    assert_eq!((state.spec.max_attempts, state.dead), (2, 1));
    assert_eq!((state.leased, state.retrying), (0, 1));
    // What was leased comes again, and what was refused is counted.
    let had = engine
        .receive(id.clone(), ROOM, Micros::ZERO)
        .await
        .unwrap();
    assert_eq!(names(&had), ["c", "d"]);
    assert_eq!((had[0].attempt, had[1].attempt), (2, 1));
    let (dead, _) = engine
        .dead_letters(id.clone(), Offset(0), ROOM)
        .await
        .unwrap();
    assert_eq!(dead[0].event.event, event("b"));
    assert_eq!(dead[0].reason, DeadReason::Rejected);
    let (groups, _) = engine.groups(topic("orders"), None, 9).await.unwrap();
    assert_eq!(groups.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_life_goes_on_where_the_one_before_ended_or_crashed() {
    for crashes in [false, true] {
        let clock = clock();
        let log = memory_log(&clock);
        let life = Life::begin(log.clone(), &clock, config(Settings::default())).await;
        leave(&life).await;
        if crashes {
            life.crash();
        } else {
            life.end().await;
        }
        let life = Life::begin(log, &clock, config(Settings::default())).await;
        find(&life).await;
    }
}

#[tokio::test]
async fn a_life_on_disk_goes_on_where_the_one_before_ended() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    for first in [true, false] {
        let log = DiskLog::open(folder.path(), options(), clock.clone());
        let log = Arc::new(log.unwrap());
        let life = Life::begin(log.clone(), &clock, config(Settings::default())).await;
        if first {
            leave(&life).await;
        } else {
            assert_eq!(life.engine.durability(), Durability::Disk);
            find(&life).await;
        }
        life.end().await;
        log.close();
        log.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_former_life_is_lost() {
    let clock = clock();
    let log = memory_log(&clock);
    let life = Life::begin(log.clone(), &clock, config(Settings::default())).await;
    life.publish("a").await;
    let id = group("billing");
    life.engine
        .join_group(id.clone(), Start::Earliest)
        .await
        .unwrap();
    let had = life.receive(&id).await;
    life.crash();
    let life = Life::begin(log, &clock, config(Settings::default())).await;
    let ack = |lease| {
        life.engine
            .settle(id.clone(), vec![(lease, Settlement::Ack)])
    };
    let lost = ack(had[0].lease).await.unwrap().remove(0).unwrap_err();
    assert_eq!(lost.code, ErrorCode::LeaseLost);
    let again = life.receive(&id).await;
    assert_ne!(again[0].lease, had[0].lease);
    let lost = ack(had[0].lease).await.unwrap().remove(0).unwrap_err();
    assert_eq!(lost.code, ErrorCode::LeaseLost);
    ack(again[0].lease).await.unwrap().remove(0).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_former_life_appended_and_comes_late_does_not_count() {
    let clock = clock();
    let log = memory_log(&clock);
    let life = Life::begin(log.clone(), &clock, config(Settings::default())).await;
    life.publish("a").await;
    life.crash();
    // The last record of each partition, as if its append had been sent twice, and one more.
    let mut late = Vec::new();
    for partition in (0..LIMITS.partitions).map(Partition) {
        let end = log.bounds(partition).await.unwrap().end;
        let read = log.read(partition, Offset(end.0 - 1), 1).await.unwrap();
        let record = read.records[0].record.clone();
        let mut next = record.clone();
        let stamp = Stamp::of(&record).unwrap();
        let sequence = stamp.sequence + 1;
        Stamp { sequence, ..stamp }.put(&mut next);
        late.push((partition, vec![record, next]));
    }
    let life = Life::begin(log.clone(), &clock, config(Settings::default())).await;
    for (partition, records) in late {
        let batch = Batch::new(records).unwrap();
        log.append(partition, batch).outcome().await.unwrap();
    }
    life.publish("b").await;
    assert_eq!(life.held("orders").await, ["a", "b"]);
    life.crash();
    let life = Life::begin(log, &clock, config(Settings::default())).await;
    assert_eq!(life.held("orders").await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn another_count_of_partitions_is_refused() {
    let clock = clock();
    let log = memory_log(&clock);
    let settings = config(Settings::default());
    Life::begin(log.clone(), &clock, settings).await.end().await;
    let other = EventsConfig {
        partitions: 1,
        ..settings
    };
    for _ in 0..2 {
        let refused = EventEngine::start(log.clone(), clock.clone(), other).await;
        let refused = refused.map(|_| ()).unwrap_err();
        assert_eq!(refused.violation.unwrap().field, "partitions");
    }
    Life::begin(log, &clock, settings).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_never_passed_over() {
    for partition in [Partition(0), Partition(1)] {
        let clock = clock();
        let log = memory_log(&clock);
        let settings = config(Settings::default());
        Life::begin(log.clone(), &clock, settings).await.end().await;
        let mut record = Record {
            value: vec![99, 1].into(),
            ..Record::default()
        };
        let writer = u64::MAX - 1;
        Stamp {
            writer,
            sequence: 1,
        }
        .put(&mut record);
        log.append(partition, record.into())
            .outcome()
            .await
            .unwrap();
        let refused = EventEngine::start(log, clock, settings).await;
        assert_eq!(refused.map(|_| ()).unwrap_err().code, ErrorCode::Internal);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_stands_before_it_was_read_back() {
    let clock = clock();
    let log = memory_log(&clock);
    let life = Life::begin(log.clone(), &clock, config(Settings::default())).await;
    for _ in 0..5 {
        // Nothing else runs meanwhile.
        life.engine
            .publish(&topic("orders"), event(""))
            .await
            .unwrap();
    }
    life.crash();
    let life = Life::begin(log, &clock, config(Settings::default())).await;
    assert_eq!(life.held("orders").await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_was_dropped_is_dropped_in_the_next_life() {
    let clock = clock();
    let log = memory_log(&clock);
    let settings = Settings::default();
    let life = Life::begin(log.clone(), &clock, config(settings)).await;
    let newest = TopicRetention {
        max_events: Some(10),
        ..TopicRetention::default()
    };
    life.engine
        .set_topic(topic("orders"), newest)
        .await
        .unwrap();
    // What others hold keeps the partition from being trimmed.
    let beside = ["a", "b", "c", "d", "e"].map(topic);
    for topic in &beside {
        life.engine.publish(topic, event("first")).await.unwrap();
    }
    for number in 0..60 {
        let publishing = life
            .engine
            .publish(&topic("orders"), event(&number.to_string()));
        publishing.await.unwrap();
    }
    let swept = tokio::time::Instant::now() + 2 * Duration::from(settings.retention_every);
    tokio::time::sleep_until(swept).await;
    let kept = life.held("orders").await;
    life.crash();
    let life = Life::begin(log, &clock, config(settings)).await;
    let held = life.held("orders").await;
    assert!((10..20).contains(&held.len()) && (10..20).contains(&kept.len()));
    assert_eq!(held.last(), kept.last());
}

/// Publishes and acknowledges so much that checkpoints are due.
async fn work(life: &Life, rounds: std::ops::Range<u32>) {
    let id = group("billing");
    life.engine
        .join_group(id.clone(), Start::Earliest)
        .await
        .unwrap();
    for round in rounds {
        let publishing = life
            .engine
            .publish(&topic("orders"), event(&round.to_string()));
        publishing.await.unwrap();
        let had = life.receive(&id).await;
        for had in had {
            // Every third one stays dead, every fourth is replayed later.
            let said = match round % 4 {
                0 => Settlement::Reject,
                1 => Settlement::Nack(Some(Micros::from_secs(3_600))),
                _ => Settlement::Ack,
            };
            let settled = life
                .engine
                .settle(id.clone(), vec![(had.lease, said)])
                .await;
            settled.unwrap().remove(0).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_bound_the_log_of_groups_and_say_what_stood_before() {
    let clock = clock();
    let log = memory_log(&clock);
    let settings = EventsConfig {
        max_ids: 1_000,
        max_open: 1_000,
        ..config(Settings::default())
    };
    let life = Life::begin(log.clone(), &clock, settings).await;
    work(&life, 0..200).await;
    let before = life.engine.group(group("billing")).await.unwrap();
    assert_eq!((before.dead, before.retrying), (50, 50));
    let bounds = log.bounds(CONTROL).await.unwrap();
    assert!(bounds.start.0 > 100, "{bounds:?}");
    life.crash();
    let life = Life::begin(log, &clock, settings).await;
    let after = life.engine.group(group("billing")).await.unwrap();
    assert_eq!(after.floor.next, before.floor.next);
    assert_eq!((after.dead, after.retrying), (50, 50));
    let replayed = life.engine.replay(group("billing"), Replay::All);
    assert_eq!(replayed.await.unwrap(), 50);
    let had = life.engine.receive(group("billing"), ROOM, Micros::ZERO);
    assert!(!had.await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_a_crash_cut_off_says_nothing() {
    let clock = clock();
    let log = memory_log(&clock);
    let settings = config(Settings::default());
    let life = Life::begin(log.clone(), &clock, settings).await;
    leave(&life).await;
    life.crash();
    let mut begun = ControlFold::default();
    begun.apply(&ControlRecord::Partitions(settings.partitions));
    let torn = begun.checkpoint(77);
    let last = log.bounds(CONTROL).await.unwrap().end.0 - 1;
    let read = log.read(CONTROL, Offset(last), 1).await.unwrap();
    let mut stamp = Stamp::of(&read.records[0].record).unwrap();
    for record in &torn[..torn.len() - 1] {
        stamp.sequence += 1;
        let mut it = Record {
            value: record.encode().into(),
            ..Record::default()
        };
        stamp.put(&mut it);
        log.append(CONTROL, it.into()).outcome().await.unwrap();
    }
    let life = Life::begin(log.clone(), &clock, settings).await;
    find(&life).await;
    // The first complete one is the next.
    work(&life, 0..100).await;
    life.crash();
    assert!(log.bounds(CONTROL).await.unwrap().start.0 > last);
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_nobody_awaits_stands() {
    let clock = clock();
    let life = Life::begin(memory_log(&clock), &clock, config(Settings::default())).await;
    drop(life.engine.publish(&topic("orders"), event("a")));
    drop(life.engine.publish(&topic("orders"), event("")));
    assert_eq!(life.held("orders").await, ["a", "none"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_answers_what_is_under_way_and_refuses_what_comes() {
    let clock = clock();
    let life = Life::begin(memory_log(&clock), &clock, config(Settings::default())).await;
    let engine = life.engine.clone();
    let mut reader = life.reader("orders").await;
    assert_eq!(reader.next(ROOM).await, Ok(Heard::CaughtUp));
    let id = group("billing");
    engine.join_group(id.clone(), Start::Latest).await.unwrap();
    let publishing = engine.publish(&topic("orders"), event("a"));
    let (published, ()) = tokio::join!(publishing, life.end());
    published.unwrap();
    let draining = |code| assert_eq!(code, ErrorCode::Draining);
    let refused = engine.publish(&topic("orders"), event("b")).await;
    draining(refused.unwrap_err().code);
    draining(
        engine
            .receive(id.clone(), ROOM, Micros::ZERO)
            .await
            .unwrap_err()
            .code,
    );
    draining(
        engine
            .set_topic(topic("orders"), TopicRetention::default())
            .await
            .unwrap_err()
            .code,
    );
    while let Ok(heard) = reader.next(ROOM).await {
        assert!(matches!(heard, Heard::Events(_)));
    }
    draining(reader.next(ROOM).await.unwrap_err().code);
    engine.close().await;
}
