//! The memory log against the suite of the log port, what it promises beyond, and the suite on the hostile log before it.

use std::sync::Arc;
use trellis_conformance::log::{HostileLog, Odds, Settings, Subject, record, records};
use trellis_conformance::{Pace, PausedClock};
use trellis_core::log::{Log, LogError, Offset, Partition};
use trellis_core::{Micros, Time};
use trellis_local::log::{MemoryLog, MemoryLogOptions, Retention};

const FIRST: Partition = Partition(0);

fn options(settings: Settings) -> MemoryLogOptions {
    MemoryLogOptions {
        limits: settings.limits,
        ..MemoryLogOptions::default()
    }
}

fn log(options: &MemoryLogOptions) -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(options, Arc::new(PausedClock::new())))
}

mod plain {
    use super::*;

    fn memory(settings: Settings) -> Subject {
        Subject::new(vec![log(&options(settings))], Pace::Virtual)
    }

    trellis_conformance::log_conformance!(memory);
}

/// The same seeds every time: a failure is found again by running it again.
mod hostile {
    use super::*;

    fn hostile(settings: Settings) -> Subject {
        let memory = log(&options(settings));
        let hostile = Arc::new(HostileLog::new(memory, 7, Odds::default()));
        Subject::new(vec![hostile], Pace::Virtual)
    }

    trellis_conformance::log_conformance!(hostile);

    mod another_seed {
        use super::*;

        fn hostile(settings: Settings) -> Subject {
            let memory = log(&options(settings));
            let hostile = Arc::new(HostileLog::new(memory, 2_024, Odds::default()));
            Subject::new(vec![hostile], Pace::Virtual)
        }

        trellis_conformance::log_conformance!(hostile);
    }
}

#[tokio::test(start_paused = true)]
async fn the_hostile_log_does_all_the_harm_it_names_and_the_same_again_by_the_same_seed() {
    let harm = async |seed| {
        let memory = log(&MemoryLogOptions::default());
        let hostile = HostileLog::new(memory.clone(), seed, Odds::default());
        for index in 0..300 {
            let _ = hostile
                .append(FIRST, records([index.to_string()]))
                .outcome()
                .await;
            let bounds = hostile.bounds(FIRST).await.unwrap();
            let _ = hostile.read(FIRST, bounds.start, 10_000).await;
            if index % 10 == 9 {
                hostile.trim(FIRST, bounds.end).await.unwrap();
            }
        }
        hostile.land();
        (hostile.harm(), memory.bounds(FIRST).await.unwrap().end)
    };
    let (first, end) = harm(1).await;
    let all = [
        first.unknown_stands,
        first.unknown_late,
        first.unknown_never,
        first.duplicates,
        first.gaps,
        first.lags,
        first.returned,
    ];
    assert!(all.iter().all(|count| *count > 0), "{first:?}");
    assert_eq!(harm(1).await, (first, end));
    assert_ne!(harm(2).await.0, first);
}

#[tokio::test(start_paused = true)]
async fn a_full_log_refuses_until_it_is_trimmed() {
    let bytes = record("12345678").bytes() as u64;
    let log = log(&MemoryLogOptions {
        max_bytes: 3 * bytes,
        ..MemoryLogOptions::default()
    });
    let append = async || log.append(FIRST, records(["12345678"])).outcome().await;
    for _ in 0..3 {
        append().await.unwrap();
    }
    assert!(matches!(append().await, Err(LogError::Full { .. })));
    log.trim(FIRST, Offset(1)).await.unwrap();
    assert_eq!(append().await.unwrap().first, Offset(3));
    let bounds = log.bounds(FIRST).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (Offset(1), Offset(4)));
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_is_gone_at_once_and_also_inside_a_batch() {
    let log = log(&MemoryLogOptions::default());
    log.append(FIRST, records(["a", "b", "c"]))
        .outcome()
        .await
        .unwrap();
    log.trim(FIRST, Offset(1)).await.unwrap();
    let gone = log.read(FIRST, Offset(0), 1).await.unwrap_err();
    assert!(matches!(gone, LogError::OutOfRange(bounds) if bounds.start == Offset(1)));
    let read = log.read(FIRST, Offset(1), usize::MAX).await.unwrap();
    assert_eq!((read.records.len(), read.next), (2, Offset(3)));
}

#[tokio::test(start_paused = true)]
async fn old_records_go_by_size_and_by_age() {
    let bytes = record("x").bytes() as u64;
    let by_size = Retention {
        max_bytes: Some(3 * bytes),
        max_age: None,
    };
    let by_age = Retention {
        max_bytes: None,
        max_age: Some(Micros::from_secs(10)),
    };
    let log = log(&MemoryLogOptions {
        retention: vec![by_size, by_age],
        ..MemoryLogOptions::default()
    });
    for _ in 0..10 {
        for partition in 0..3 {
            log.append(Partition(partition), records(["x"]))
                .outcome()
                .await
                .unwrap();
        }
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
    }
    let start = async |partition| log.bounds(Partition(partition)).await.unwrap().start;
    assert_eq!(start(0).await, Offset(7));
    assert_eq!(start(1).await, Offset(5));
    assert_eq!(start(2).await, Offset(0));
}

#[tokio::test(start_paused = true)]
async fn a_seek_tells_the_first_record_of_its_time() {
    let log = log(&MemoryLogOptions::default());
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(
            log.append(FIRST, records(["a", "b"]))
                .outcome()
                .await
                .unwrap()
                .time,
        );
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    for (index, time) in times.iter().enumerate() {
        let first = Offset(index as u64 * 2);
        assert_eq!(log.seek(FIRST, *time).await.unwrap(), first);
        let after = *time + Micros::TICK;
        assert_eq!(log.seek(FIRST, after).await.unwrap(), Offset(first.0 + 2));
    }
    assert_eq!(log.seek(FIRST, Time::NEVER).await.unwrap(), Offset(10));
}

#[tokio::test(start_paused = true)]
async fn a_closed_log_takes_nothing_and_ends_waits() {
    let log = log(&MemoryLogOptions::default());
    log.append(FIRST, records(["a"])).outcome().await.unwrap();
    let waiting = trellis_conformance::spawn({
        let log = log.clone();
        async move { log.wait(FIRST, Offset(1)).await }
    });
    tokio::task::yield_now().await;
    log.close();
    assert_eq!(waiting.await.unwrap(), Err(LogError::Closed));
    let refused = log.append(FIRST, records(["b"])).outcome().await;
    assert_eq!(refused, Err(LogError::Closed));
    assert_eq!(
        log.read(FIRST, Offset(0), 1).await.unwrap().records.len(),
        1
    );
}
