//! How a reader is told of new records.

use crate::log::prelude::*;
use crate::spawn;
use tokio::task::yield_now;

/// Lets every task run that can.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

pub async fn a_wait_ends_when_a_record_comes(bench: &Bench) {
    let log = bench.log();
    let end = bench.bounds(FIRST).await.end;
    let waiting = spawn(async move { log.wait(FIRST, end).await });
    settle().await;
    assert!(!waiting.is_finished(), "a wait ended with nothing to read");
    bench.append_value(FIRST, "a").await;
    assert!(waiting.await.unwrap().unwrap().end > end);
}

pub async fn a_wait_for_what_is_there_ends_at_once(bench: &Bench) {
    let appended = bench.append(FIRST, records(["a", "b", "c"])).await;
    for offset in appended.first.0..appended.end.0 {
        let bounds = bench.log().wait(FIRST, Offset(offset)).await.unwrap();
        assert!(bounds.end > Offset(offset));
    }
}

pub async fn a_wait_hears_nothing_of_other_partitions(bench: &Bench) {
    let log = bench.log();
    let end = bench.bounds(SECOND).await.end;
    let waiting = spawn(async move { log.wait(SECOND, end).await });
    let own = bench.append_value(FIRST, "a").await.end;
    bench.all_below(FIRST, own).await;
    settle().await;
    assert!(!waiting.is_finished(), "woken by another partition");
    waiting.abort();
}

pub async fn a_dropped_wait_changes_nothing(bench: &Bench) {
    let log = bench.log();
    let end = bench.bounds(FIRST).await.end;
    for _ in 0..100 {
        let log = log.clone();
        let waiting = spawn(async move { log.wait(FIRST, end).await });
        yield_now().await;
        waiting.abort();
    }
    let appended = bench.append_value(FIRST, "a").await;
    let tail = bench.all_below(FIRST, appended.end).await;
    assert_eq!(tail.first_values(), ["a"]);
}

pub async fn all_who_wait_are_told(bench: &Bench) {
    let end = bench.bounds(FIRST).await.end;
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let log = bench.log();
            spawn(async move { log.wait(FIRST, end).await })
        })
        .collect();
    settle().await;
    bench.append_value(FIRST, "a").await;
    for waiting in waiting {
        assert!(waiting.await.unwrap().unwrap().end > end);
    }
}

pub async fn a_reader_that_waits_and_reads_sees_all_of_a_busy_writer(bench: &Bench) {
    let start = bench.bounds(FIRST).await.start;
    let (writer, mut tail) = (bench.clone(), bench.tail(FIRST, start));
    let expected: Vec<String> = (0..200).map(|index| index.to_string()).collect();
    let values = expected.clone();
    let writing = spawn(async move {
        let mut end = start;
        for value in values {
            end = writer.append_value(FIRST, &value).await.end;
            yield_now().await;
        }
        end
    });
    while !writing.is_finished() {
        let some = Offset(tail.next().0 + 1);
        tokio::select! {
            () = tail.until(some) => {}
            () = yield_now() => {}
        }
    }
    tail.until(writing.await.unwrap()).await;
    let mut found = tail.first_values();
    found.sort_by_key(|value| value.parse::<u32>().unwrap());
    assert_eq!(found, expected);
}
