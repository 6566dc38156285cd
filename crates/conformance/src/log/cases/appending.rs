//! What an append promises.

use crate::log::prelude::*;
use crate::spawn;
use bytes::Bytes;

pub async fn an_appended_record_is_read_back_as_it_was(bench: &Bench) {
    let headers: [(&str, &[u8]); 3] = [
        ("ce_type", b"a"),
        ("ce_type", b""),
        ("\u{e9}", b"\x00\x80\xff"),
    ];
    let everything = Record {
        key: Bytes::from_static(b"key \x00\xff"),
        headers: headers.into_iter().collect(),
        value: Bytes::from((0..=255).collect::<Vec<u8>>()),
    };
    for original in [Record::default(), everything] {
        let appended = bench.append(FIRST, original.clone().into()).await;
        let tail = bench.all_below(FIRST, appended.end).await;
        let found = tail.at(appended.first).unwrap();
        assert_eq!((&found.record, found.time), (&original, appended.time));
    }
}

pub async fn the_records_of_a_batch_stand_together_where_the_answer_says(bench: &Bench) {
    for size in [1_usize, 2, 100] {
        let values: Vec<String> = (0..size).map(|index| format!("{size}-{index}")).collect();
        let appended = bench.append(SECOND, records(values.clone())).await;
        let tail = bench.all_below(SECOND, appended.end).await;
        assert_stand(&tail, appended.first, &values);
    }
}

/// Asserts that values stand from an offset on.
fn assert_stand(tail: &Tail, first: Offset, values: &[String]) {
    for (offset, value) in (first.0..).zip(values) {
        let found = tail
            .at(Offset(offset))
            .map(|it| it.record.value.as_ref().to_vec());
        assert_eq!(found.as_deref(), Some(value.as_bytes()), "at {offset}");
    }
}

pub async fn offsets_rise_with_every_append(bench: &Bench) {
    let mut end = bench.bounds(FIRST).await.end;
    for index in 0..30 {
        let appended = bench.append_value(FIRST, &index.to_string()).await;
        assert!(appended.first >= end, "{appended:?} is below {end:?}");
        end = appended.end;
    }
}

pub async fn partitions_know_nothing_of_each_other(bench: &Bench) {
    let mut ends = Vec::new();
    for round in 0..10 {
        for partition in 0..3 {
            let value = format!("{partition}/{round}");
            ends.push(bench.append_value(Partition(partition), &value).await.end);
        }
    }
    for partition in 0..3 {
        let end = ends.iter().skip(partition).step_by(3).max().unwrap();
        let partition = u32::try_from(partition).unwrap();
        let tail = bench.all_below(Partition(partition), *end).await;
        let expected: Vec<String> = (0..10)
            .map(|round| format!("{partition}/{round}"))
            .collect();
        let mut found = tail.first_values();
        found.sort();
        assert_eq!(found, expected);
    }
}

pub async fn appends_under_way_stand_in_the_order_of_their_calls(bench: &Bench) {
    let log = bench.log();
    let calls: Vec<_> = (0..50)
        .map(|index| log.append(FIRST, records([format!("{index}")])))
        .collect();
    let mut offsets = Vec::new();
    for call in calls {
        match call.outcome().await {
            Ok(appended) => offsets.push(appended.first),
            // From here on the order is not promised.
            Err(LogError::Unknown { .. }) => break,
            Err(error) => panic!("append: {error}"),
        }
    }
    assert!(offsets.is_sorted(), "{offsets:?}");
    let end = bench.append_value(FIRST, "last").await.end;
    let tail = bench.all_below(FIRST, end).await;
    for (index, offset) in offsets.iter().enumerate() {
        assert_stand(&tail, *offset, &[index.to_string()]);
    }
}

pub async fn an_append_that_nobody_waits_for_goes_on(bench: &Bench) {
    let log = bench.log();
    // One may fail, as any append may.
    for attempt in 0..100 {
        let dropped = format!("dropped {attempt}");
        drop(log.append(FIRST, records([dropped.clone()])));
        let end = bench.append_value(FIRST, "after").await.end;
        if bench
            .all_below(FIRST, end)
            .await
            .values()
            .contains(&dropped)
        {
            return;
        }
    }
    panic!("no append went on that nobody waited for");
}

pub async fn every_acknowledged_batch_of_many_writers_stands(bench: &Bench) {
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let bench = bench.clone();
            spawn(async move {
                let mut acknowledged = Vec::new();
                for round in 0..20_usize {
                    let values: Vec<String> = (0..=round % 3)
                        .map(|part| format!("{writer}/{round}/{part}"))
                        .collect();
                    let appended = bench.append(FIRST, records(values.clone())).await;
                    acknowledged.push((appended, values));
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        let mut own = writer.await.unwrap();
        assert!(own.is_sorted_by_key(|(appended, _)| appended.first));
        acknowledged.append(&mut own);
    }
    let end = acknowledged.iter().map(|(appended, _)| appended.end).max();
    let tail = bench.all_below(FIRST, end.unwrap()).await;
    for (appended, values) in acknowledged {
        assert_stand(&tail, appended.first, &values);
    }
}

pub async fn a_batch_as_large_as_allowed_is_taken(bench: &Bench) {
    let limits = bench.log().limits();
    let overhead = Record::default().bytes();
    let large = "x".repeat(limits.batch_bytes - overhead);
    let batch = records([large.clone()]);
    assert_eq!(batch.bytes(), limits.batch_bytes);
    let appended = bench.append(FIRST, batch).await;
    let tail = bench.all_below(FIRST, appended.end).await;
    assert_stand(&tail, appended.first, &[large]);
    let many: Vec<String> = (0..limits.batch_records).map(|it| it.to_string()).collect();
    let appended = bench.append(FIRST, records(many.clone())).await;
    let tail = bench.all_below(FIRST, appended.end).await;
    assert_stand(&tail, appended.first, &many);
}

pub async fn what_can_never_be_appended_is_refused_with_the_field(bench: &Bench) {
    let limits = bench.log().limits();
    let field = |error: LogError| match error {
        LogError::Invalid { field, .. } => field,
        error => panic!("{error}"),
    };
    let many = records((0..=limits.batch_records).map(|it| it.to_string()));
    assert_eq!(field(bench.refused(FIRST, many).await), "batch.records");
    let large = records(["x".repeat(limits.batch_bytes)]);
    assert_eq!(field(bench.refused(FIRST, large).await), "batch.bytes");
    let nowhere = Partition(limits.partitions);
    let refused = bench.refused(nowhere, records(["a"])).await;
    assert_eq!(field(refused), "partition");
    assert_eq!(field(Batch::new(vec![]).unwrap_err()), "batch.records");
    for name in [&b""[..], b"\xff", &[b'x'; 257]] {
        let bad = Record {
            headers: [(name, b"")].into_iter().collect(),
            ..Record::default()
        };
        let refused = Batch::new(vec![Record::default(), bad]).unwrap_err();
        assert_eq!(field(refused), "batch.records[1].headers[0].name");
    }
    let bounds = bench.bounds(FIRST).await;
    assert_eq!(bounds.start, bounds.end, "what is refused leaves nothing");
}
