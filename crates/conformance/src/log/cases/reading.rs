//! What a read brings.

use crate::log::prelude::*;

/// Appends single records of about 1000 bytes, and tells where they stand.
async fn ten(bench: &Bench) -> Vec<Offset> {
    let mut offsets = Vec::new();
    for index in 0..10 {
        let value = format!("{index}{}", "-".repeat(970));
        offsets.push(bench.append_value(FIRST, &value).await.first);
    }
    // All are readable from here on.
    bench.all_below(FIRST, offsets[9].next()).await;
    offsets
}

pub async fn a_read_begins_at_its_offset(bench: &Bench) {
    let offsets = ten(bench).await;
    for offset in &offsets {
        let read = bench.read(FIRST, *offset, usize::MAX).await.unwrap();
        assert_eq!(read.records[0].offset, *offset);
        let seen: Vec<Offset> = read.records.iter().map(|record| record.offset).collect();
        let expected = offsets.iter().filter(|it| *it >= offset);
        assert!(
            expected.into_iter().all(|it| seen.contains(it)),
            "{seen:?} from {offset:?} of {offsets:?}"
        );
    }
}

pub async fn a_read_stops_at_its_budget_and_brings_at_least_one(bench: &Bench) {
    let offsets = ten(bench).await;
    for budget in [0_usize, 1, 2_500, 5_000] {
        let read = bench.read(FIRST, offsets[0], budget).await.unwrap();
        let sizes: Vec<usize> = read.records.iter().map(|it| it.record.bytes()).collect();
        let (_, before) = sizes.split_last().unwrap();
        assert!(
            before.iter().sum::<usize>() <= budget,
            "{sizes:?} for {budget}"
        );
        assert_eq!(read.records[0].offset, offsets[0]);
        assert!(read.next < offsets[9], "the read did not stop");
    }
}

pub async fn a_read_at_the_end_brings_nothing(bench: &Bench) {
    ten(bench).await;
    let end = bench.bounds(FIRST).await.end;
    match bench.read(FIRST, end, 1_000).await {
        Ok(read) => assert!(read.records.iter().all(|record| record.offset >= end)),
        Err(error) => panic!("{error}"),
    }
}

pub async fn a_read_beyond_the_end_is_out_of_range(bench: &Bench) {
    ten(bench).await;
    let beyond = Offset(bench.bounds(FIRST).await.end.0 + 1_000);
    match bench.read(FIRST, beyond, 1_000).await {
        Err(LogError::OutOfRange(bounds)) => assert!(bounds.end < beyond),
        other => panic!("{other:?}"),
    }
}

pub async fn an_empty_partition_has_bounds_and_nothing_to_read(bench: &Bench) {
    let bounds = bench.bounds(FIRST).await;
    assert_eq!(bounds.start, bounds.end);
    let read = bench.read(FIRST, bounds.start, 1_000).await.unwrap();
    assert!(read.records.is_empty());
    assert_eq!(read.next, bounds.start);
}

pub async fn a_partition_that_does_not_exist_is_refused(bench: &Bench) {
    let log = bench.log();
    let nowhere = Partition(log.limits().partitions);
    let time = trellis_core::Time(0);
    let refused = [
        log.read(nowhere, Offset(0), 1).await.unwrap_err(),
        log.wait(nowhere, Offset(0)).await.unwrap_err(),
        log.trim(nowhere, Offset(0)).await.unwrap_err(),
        log.bounds(nowhere).await.unwrap_err(),
        log.seek(nowhere, time).await.unwrap_err(),
    ];
    for error in refused {
        let right = matches!(&error, LogError::Invalid { field, .. } if field == "partition");
        assert!(right, "{error}");
    }
}

pub async fn the_history_stays_the_same(bench: &Bench) {
    let history = bench.bounds(FIRST).await.history;
    let end = bench.append_value(FIRST, "a").await.end;
    bench.all_below(FIRST, end).await;
    bench.trim(FIRST, end).await;
    assert_eq!(bench.bounds(FIRST).await.history, history);
}
