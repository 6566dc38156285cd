//! The disk log on real files: the suite of the log port, what is there after it was opened again, and who may open it.

#![allow(clippy::unwrap_used, reason = "tests: a failure is a failed test")]

use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use trellis_conformance::log::{HostileLog, Odds, Settings, Subject, records};
use trellis_conformance::{Pace, PausedClock};
use trellis_core::log::{Log, LogError, Offset, Partition, Read};
use trellis_core::{Micros, Time};
use trellis_local::log::{DiskLog, DiskLogOptions, OnDamage, OpenError, Retention};

const FIRST: Partition = Partition(0);

fn open(folder: &Path, options: DiskLogOptions) -> Result<DiskLog, OpenError> {
    DiskLog::open(folder, options, Arc::new(PausedClock::new()))
}

fn suite_log(settings: Settings, options: DiskLogOptions) -> (Arc<DiskLog>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = DiskLogOptions {
        limits: settings.limits,
        ..options
    };
    (Arc::new(open(folder.path(), options).unwrap()), folder)
}

mod plain {
    use super::*;

    fn disk(settings: Settings) -> Subject {
        let (log, folder) = suite_log(settings, DiskLogOptions::default());
        Subject::new(vec![log], Pace::Virtual).owning(folder)
    }

    trellis_conformance::log_conformance!(disk);
}

/// Nothing is in memory, and files are small.
mod without_memory {
    use super::*;

    fn disk(settings: Settings) -> Subject {
        let options = DiskLogOptions {
            tail_bytes: 0,
            segment_bytes: 64 * 1024,
            readers: 1,
            ..DiskLogOptions::default()
        };
        let (log, folder) = suite_log(settings, options);
        Subject::new(vec![log], Pace::Virtual).owning(folder)
    }

    trellis_conformance::log_conformance!(disk);
}

mod hostile {
    use super::*;

    fn hostile(settings: Settings) -> Subject {
        let (log, folder) = suite_log(settings, DiskLogOptions::default());
        let hostile = Arc::new(HostileLog::new(log, 11, Odds::default()));
        Subject::new(vec![hostile], Pace::Virtual).owning(folder)
    }

    trellis_conformance::log_conformance!(hostile);
}

async fn read_all(log: &DiskLog, partition: Partition) -> Vec<(u64, String)> {
    let mut next = log.bounds(partition).await.unwrap().start;
    let mut all = Vec::new();
    loop {
        let Read { records, next: on } = log.read(partition, next, 4_000).await.unwrap();
        if on == next {
            return all;
        }
        next = on;
        all.extend(records.into_iter().map(|it| {
            let value = String::from_utf8(it.record.value.to_vec()).unwrap();
            (it.offset.0, value)
        }));
    }
}

#[tokio::test]
async fn what_was_appended_is_there_after_opening_again_and_offsets_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = DiskLogOptions {
        segment_bytes: 64 * 1024,
        tail_bytes: 10_000,
        ..DiskLogOptions::default()
    };
    let mut expected = Vec::new();
    let mut history = None;
    for life in 0..4 {
        let log = open(folder.path(), options.clone()).unwrap();
        let bounds = log.bounds(FIRST).await.unwrap();
        assert_eq!(*history.get_or_insert(bounds.history), bounds.history);
        assert_eq!(read_all(&log, FIRST).await, expected, "life {life}");
        for index in 0..40 {
            let value = format!("{life}/{index}/{}", "x".repeat(2_000));
            let appended = log
                .append(FIRST, records([value.clone()]))
                .outcome()
                .await
                .unwrap();
            expected.push((appended.first.0, value));
        }
        assert_eq!(read_all(&log, FIRST).await, expected);
        if life % 2 == 0 {
            log.close();
            log.closed().await;
        }
    }
    assert!(expected.iter().map(|(offset, _)| *offset).eq(0..160));
}

#[tokio::test]
async fn a_trim_stays_and_files_without_records_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let options = DiskLogOptions {
        segment_bytes: 64 * 1024,
        ..DiskLogOptions::default()
    };
    let log = open(folder.path(), options.clone()).unwrap();
    for index in 0..100 {
        let value = format!("{index}{}", "x".repeat(10_000));
        log.append(FIRST, records([value])).outcome().await.unwrap();
    }
    let before = log.status();
    assert!(before.segments > 10, "{before:?}");
    log.trim(FIRST, Offset(90)).await.unwrap();
    let gone = log.read(FIRST, Offset(89), 1).await.unwrap_err();
    assert!(matches!(gone, LogError::OutOfRange(bounds) if bounds.start == Offset(90)));
    drop(log);
    let log = open(folder.path(), options).unwrap();
    let after = log.status();
    assert!(
        after.segments <= 4 && after.bytes < before.bytes / 4,
        "{after:?}"
    );
    let bounds = log.bounds(FIRST).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (Offset(90), Offset(100)));
    assert_eq!(read_all(&log, FIRST).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn old_records_go_by_size_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let by_size = Retention {
        max_bytes: Some(300_000),
        max_age: None,
    };
    let options = DiskLogOptions {
        segment_bytes: 64 * 1024,
        retention: vec![by_size],
        retention_every: Micros::from_millis(1),
        ..DiskLogOptions::default()
    };
    let log = open(folder.path(), options).unwrap();
    for index in 0..100 {
        let value = format!("{index}{}", "x".repeat(10_000));
        log.append(FIRST, records([value])).outcome().await.unwrap();
    }
    log.append(Partition(1), records(["kept"]))
        .outcome()
        .await
        .unwrap();
    // What is dropped is told by the log itself, by and by.
    while log.bounds(FIRST).await.unwrap().start < Offset(50) {
        tokio::task::yield_now().await;
    }
    let bounds = log.bounds(FIRST).await.unwrap();
    assert!(
        bounds.start <= Offset(70),
        "30 records must be kept: {bounds:?}"
    );
    assert_eq!(bounds.end, Offset(100));
    assert_eq!(read_all(&log, Partition(1)).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_seek_tells_the_first_record_of_its_time_after_opening_again_too() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(PausedClock::new());
    let open = || {
        DiskLog::open(
            folder.path(),
            DiskLogOptions {
                segment_bytes: 64 * 1024,
                ..DiskLogOptions::default()
            },
            clock.clone(),
        )
    };
    let log = open().unwrap();
    let mut times = Vec::new();
    for index in 0..60 {
        let value = format!("{index}{}", "x".repeat(5_000));
        let appended = log
            .append(FIRST, records([value, "b".to_owned()]))
            .outcome()
            .await;
        times.push(appended.unwrap().time);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    let check = async |log: &DiskLog| {
        for (index, time) in times.iter().enumerate() {
            let first = Offset(index as u64 * 2);
            assert_eq!(log.seek(FIRST, *time).await.unwrap(), first);
            let after = *time + Micros::TICK;
            assert_eq!(log.seek(FIRST, after).await.unwrap(), Offset(first.0 + 2));
        }
        assert_eq!(log.seek(FIRST, Time::NEVER).await.unwrap(), Offset(120));
    };
    check(&log).await;
    drop(log);
    check(&open().unwrap()).await;
}

#[tokio::test]
async fn a_folder_is_open_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), DiskLogOptions::default()).unwrap();
    let second = open(folder.path(), DiskLogOptions::default()).err();
    assert!(matches!(second, Some(OpenError::Locked)), "{second:?}");
    drop(log);
    open(folder.path(), DiskLogOptions::default()).unwrap();
}

#[tokio::test]
async fn options_out_of_bounds_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut bad = vec![DiskLogOptions::default(); 4];
    bad[0].limits.partitions = 0;
    bad[1].segment_bytes = 1;
    bad[2].queue_bytes = 1;
    bad[3].readers = 0;
    let fields = [
        "limits.partitions",
        "segment_bytes",
        "queue_bytes",
        "readers",
    ];
    for (options, field) in bad.into_iter().zip(fields) {
        let refused = open(folder.path(), options).err().unwrap().to_string();
        assert!(refused.contains(field), "{refused}");
    }
}

#[tokio::test]
async fn fewer_partitions_are_refused_while_those_left_out_have_records() {
    let folder = tempfile::tempdir().unwrap();
    let with = |partitions| {
        let mut options = DiskLogOptions::default();
        options.limits.partitions = partitions;
        open(folder.path(), options)
    };
    let log = with(4).unwrap();
    log.append(Partition(3), records(["a"]))
        .outcome()
        .await
        .unwrap();
    drop(log);
    let refused = with(3).err();
    assert!(
        matches!(
            refused,
            Some(OpenError::Partitions {
                partition: 3,
                configured: 3
            })
        ),
        "{refused:?}"
    );
    let log = with(8).unwrap();
    log.trim(Partition(3), Offset(1)).await.unwrap();
    drop(log);
    with(3).unwrap();
}

#[tokio::test]
async fn a_closed_log_takes_nothing_writes_what_it_has_taken_and_ends_waits() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(open(folder.path(), DiskLogOptions::default()).unwrap());
    let waiting = trellis_conformance::spawn({
        let log = log.clone();
        async move { log.wait(Partition(1), Offset(0)).await }
    });
    tokio::task::yield_now().await;
    let taken: Vec<_> = (0..100)
        .map(|_| log.append(FIRST, records(["a"])))
        .collect();
    log.close();
    let refused = log.append(FIRST, records(["b"])).outcome().await;
    assert_eq!(refused, Err(LogError::Closed));
    for taken in taken {
        taken.outcome().await.unwrap();
    }
    log.closed().await;
    assert_eq!(waiting.await.unwrap(), Err(LogError::Closed));
}

#[tokio::test]
async fn damage_is_refused_with_file_and_byte_and_salvaged_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), DiskLogOptions::default()).unwrap();
    for value in ["first", "second", "third"] {
        log.append(FIRST, records([value])).outcome().await.unwrap();
    }
    drop(log);
    let file = folder.path().join("00000000000000000001.log");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(6).position(|it| it == b"second").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let refused = open(folder.path(), DiskLogOptions::default())
        .err()
        .unwrap();
    let text = refused.to_string();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{text}");
    assert!(
        text.contains("00000000000000000001.log") && text.contains("salvaged"),
        "{text}"
    );
    let salvage = DiskLogOptions {
        on_damage: OnDamage::Salvage,
        ..DiskLogOptions::default()
    };
    let log = open(folder.path(), salvage).unwrap();
    assert_eq!(log.lost().len(), 1);
    let left = [(0, "first".to_owned()), (2, "third".to_owned())];
    assert_eq!(read_all(&log, FIRST).await, left);
    drop(log);
    let kept = folder.path().join("00000000000000000001.log.damaged");
    assert!(kept.exists());
    let log = open(folder.path(), DiskLogOptions::default()).unwrap();
    assert_eq!(read_all(&log, FIRST).await, left);
}
