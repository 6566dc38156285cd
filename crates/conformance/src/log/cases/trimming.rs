//! What a trim takes away, and what it does not.

use crate::log::prelude::*;

async fn ten(bench: &Bench) -> Vec<Offset> {
    let mut offsets = Vec::new();
    for index in 0..10 {
        offsets.push(bench.append_value(FIRST, &index.to_string()).await.first);
    }
    bench.all_below(FIRST, offsets[9].next()).await;
    offsets
}

pub async fn what_is_not_trimmed_stays(bench: &Bench) {
    let offsets = ten(bench).await;
    let other = bench.append_value(SECOND, "other").await;
    bench.trim(FIRST, offsets[6]).await;
    let start = bench.bounds(FIRST).await.start;
    assert!(start <= offsets[6], "{start:?} is beyond {offsets:?}");
    let mut tail = bench.tail(FIRST, offsets[6]);
    tail.until(offsets[9].next()).await;
    for (index, offset) in offsets.iter().enumerate().skip(6) {
        let value = &tail.at(*offset).unwrap().record.value;
        assert_eq!(value, index.to_string().as_bytes());
    }
    let tail = bench.all_below(SECOND, other.end).await;
    assert!(tail.at(other.first).is_some());
}

pub async fn what_was_trimmed_is_gone_or_as_it_was(bench: &Bench) {
    let offsets = ten(bench).await;
    bench.trim(FIRST, offsets[6]).await;
    for (index, offset) in offsets.iter().enumerate().take(6) {
        match bench.read(FIRST, *offset, 1).await {
            Err(LogError::OutOfRange(bounds)) => assert!(bounds.start > *offset),
            Ok(read) => {
                let LogRecord { record, .. } = &read.records[0];
                assert_eq!(record.value, index.to_string());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub async fn a_trim_may_be_repeated_and_never_brings_anything_back(bench: &Bench) {
    let offsets = ten(bench).await;
    for before in [offsets[6], offsets[6], offsets[2], Offset(0)] {
        bench.trim(FIRST, before).await;
    }
    let mut tail = bench.tail(FIRST, offsets[6]);
    tail.until(offsets[9].next()).await;
    assert!(tail.at(offsets[6]).is_some());
}

pub async fn a_partition_trimmed_to_its_end_goes_on_with_higher_offsets(bench: &Bench) {
    let offsets = ten(bench).await;
    let end = bench.bounds(FIRST).await.end;
    assert!(end > offsets[9]);
    bench.trim(FIRST, end).await;
    let appended = bench.append_value(FIRST, "next").await;
    assert!(appended.first >= end, "{appended:?} is below {end:?}");
    let mut tail = bench.tail(FIRST, end);
    tail.until(appended.end).await;
    assert!(tail.at(appended.first).is_some());
}

pub async fn a_trim_beyond_the_end_is_out_of_range(bench: &Bench) {
    let offsets = ten(bench).await;
    let beyond = Offset(bench.bounds(FIRST).await.end.0 + 1_000);
    match bench.log().trim(FIRST, beyond).await {
        Err(LogError::OutOfRange(bounds)) => assert!(bounds.end < beyond),
        other => panic!("{other:?}"),
    }
    assert!(
        bench
            .all_below(FIRST, offsets[9].next())
            .await
            .at(offsets[0])
            .is_some()
    );
}
