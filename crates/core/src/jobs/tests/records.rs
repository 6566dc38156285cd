//! Records are read as they were written.

use super::super::*;
use super::harness::*;
use crate::log::{Offset, Record};
use crate::{ConcurrencyKey, EntryKey, Micros, Name, RequestId, Time, UniqueKey};
use proptest::prelude::*;

fn options() -> impl Strategy<Value = JobOptions> {
    let some = || proptest::option::of("[a-z]{1,9}");
    let numbers = proptest::option::of(1..1_000_000_u64);
    (some(), some(), some(), some(), numbers).prop_map(|(one, two, three, four, number)| {
        JobOptions {
            deadline: number.map(Time),
            timeout: number.map(Micros),
            retry: RetryPolicy {
                max_attempts: number.map_or(3, |number| u32::try_from(number % 999 + 1).unwrap()),
                ..RetryPolicy::default()
            },
            batch: number
                .filter(|_| three.is_none() && one.is_none())
                .map(|index| InBatch {
                    batch: BatchId(JobId(7)),
                    index: u32::try_from(index).unwrap(),
                }),
            unique: one.map(|key| Unique {
                key: UniqueKey::new(key, "key").unwrap(),
                on_conflict: OnConflict::Return,
            }),
            turn: two.as_deref().map(|key| turn(key, 3)),
            concurrency_key: three.map(|key| ConcurrencyKey::new(key, "key").unwrap()),
            cached: number.map(|number| Cached {
                key: EntryKey::new("page", "cache_key").unwrap(),
                ttl: Micros(number),
            }),
            charges: number.map(|_| charge("llm")).into_iter().collect(),
            labels: two
                .map(|name| (Name::new(name, "labels").unwrap(), "value".to_owned()))
                .into_iter()
                .collect(),
            trace: four.clone().unwrap_or_default(),
            request: four.map(|id| Request {
                id: RequestId::new(id, "request_id").unwrap(),
                digest: 9,
            }),
            retry_of: number.map(|number| JobId(u128::from(number) << 70)),
        }
    })
}

fn job_spec() -> impl Strategy<Value = JobSpec> {
    let plain = prop_oneof![Just(JobOptions::default()), options()];
    (plain, 0..10_u8, any::<bool>(), "[ -~]{0,40}").prop_map(|(options, priority, flag, data)| {
        let mut spec = JobSpec::new(queue("ocr"), data);
        spec.payload.is_reference = flag;
        spec.run_at = flag.then_some(Time(77));
        JobSpec {
            priority,
            options,
            ..spec
        }
    })
}

fn report() -> impl Strategy<Value = Option<Report>> {
    let report = (0..9_u64, proptest::option::of(9..99_u64), "\\PC{0,9}");
    proptest::option::of(report).prop_map(|report| {
        report.map(|(done, total, message)| Report {
            done,
            total,
            message: message.into(),
        })
    })
}

/// What attempts tell.
fn told() -> impl Strategy<Value = JobRecord> {
    prop_oneof![
        (id(), lease(), any::<bool>(), report()).prop_map(|(job, lease, left, report)| {
            let checkpoint = left.then(|| "page".into());
            JobRecord::Progressed {
                job,
                lease,
                progress: Progress { report, checkpoint },
            }
        }),
        (id(), lease(), any::<u32>(), any::<u64>()).prop_map(|(job, lease, index, bytes)| {
            let data = "text".into();
            JobRecord::Chunk {
                job,
                lease,
                chunk: Chunk { index, data },
                most: ChunkBounds {
                    count: index,
                    bytes,
                },
            }
        }),
    ]
}

/// What is logged of charges.
fn charged() -> impl Strategy<Value = JobRecord> {
    prop_oneof![
        (id(), any::<bool>()).prop_map(|(job, charged)| JobRecord::Leased {
            job,
            worker: worker(),
            reservation: charged.then(reservation),
        }),
        id().prop_map(|job| JobRecord::Refused {
            job,
            error: "never".into()
        }),
        proptest::collection::vec(lease(), 0..5).prop_map(JobRecord::Settled),
        (id(), lease(), 0..99_i64).prop_map(|(job, lease, amount)| JobRecord::Used {
            job,
            lease,
            used: vec![used(amount)]
        }),
    ]
}

/// What is logged of batches.
fn batched() -> impl Strategy<Value = JobRecord> {
    prop_oneof![
        id().prop_map(|id| JobRecord::BatchCancelled(BatchId(id))),
        (id(), 1..9_u32, any::<bool>()).prop_map(|(id, count, flag)| JobRecord::BatchCreated {
            id: BatchId(id),
            spec: Box::new(BatchSpec {
                queue: queue("ocr"),
                count,
                max_concurrent: flag.then_some(count),
                on_failure: if flag {
                    OnFailure::FailFast
                } else {
                    OnFailure::Collect
                },
                request: flag.then(|| Request {
                    id: RequestId::new("batch", "request_id").unwrap(),
                    digest: 9,
                }),
            })
        }),
    ]
}

fn id() -> impl Strategy<Value = JobId> {
    any::<u128>().prop_map(JobId)
}

fn lease() -> impl Strategy<Value = LeaseId> {
    let parts = (any::<u64>(), any::<u64>());
    parts.prop_map(|(epoch, sequence)| LeaseId { epoch, sequence })
}

fn record() -> impl Strategy<Value = JobRecord> {
    let how = prop_oneof![
        "[ -~]{0,40}".prop_map(|result| AttemptEnd::Succeeded(result.into())),
        ("\\PC{0,20}", any::<bool>(), any::<Option<u64>>()).prop_map(|(error, retryable, wait)| {
            AttemptEnd::Failed {
                error: error.into(),
                retryable,
                retry_after: wait.map(Micros),
            }
        }),
        any::<u64>().prop_map(|wait| AttemptEnd::Throttled(Micros(wait))),
        Just(AttemptEnd::Released),
        Just(AttemptEnd::Lost),
    ];
    let part = prop_oneof![
        Just(Part::Payload),
        Just(Part::Left),
        any::<u64>().prop_map(Part::Chunk),
    ];
    prop_oneof![
        any::<u32>().prop_map(JobRecord::Partitions),
        Just(JobRecord::EpochStart),
        Just(JobRecord::Tick),
        (id(), job_spec()).prop_map(|(id, spec)| JobRecord::Submitted {
            id,
            spec: Box::new(spec)
        }),
        charged(),
        batched(),
        (id(), lease(), how).prop_map(|(job, lease, how)| JobRecord::Ended { job, lease, how }),
        told(),
        id().prop_map(JobRecord::Cancelled),
        id().prop_map(JobRecord::Forgotten),
        (0..9_usize).prop_map(|count| JobRecord::Purged {
            queue: queue("ocr"),
            states: JobState::ALL[..count].to_vec(),
        }),
        id().prop_map(|job| JobRecord::Found {
            job,
            result: "text".into()
        }),
        any::<Option<u32>>().prop_map(|most| JobRecord::QueueSet {
            queue: queue("ocr"),
            spec: QueueSpec {
                concurrency: most.filter(|most| *most > 0),
                paused: most.is_none(),
                ..QueueSpec::default()
            }
        }),
        (id(), part, any::<u64>()).prop_map(|(job, part, from)| JobRecord::Moved {
            job,
            part,
            from: Offset(from),
            data: "page".into()
        }),
        any::<u64>().prop_map(|number| JobRecord::CheckpointBegin { number }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(number, slices)| JobRecord::CheckpointEnd { number, slices }),
    ]
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record(), owner: u64, now in 0..u64::MAX >> 1) {
        let mut writer = JobWriter::new(Epoch { number: 3, owner }, Time(5));
        let start = writer.write(&JobRecord::EpochStart, Time(0));
        prop_assert_eq!(Entry::decode(&start).unwrap().mark.unwrap().sequence, 0);
        if record != JobRecord::EpochStart {
            let entry = Entry::decode(&writer.write(&record, Time(now))).unwrap();
            prop_assert_eq!(entry.mark.unwrap(), writer.last());
            prop_assert_eq!(entry.mark.unwrap().time, Time(now.max(5)));
            prop_assert_eq!(entry.record, record);
        }
    }

    #[test]
    fn a_sheet_has_the_records_that_are_written_one_by_one(records in proptest::collection::vec(record(), 0..6), owner: u64) {
        let mut writer = JobWriter::new(Epoch { number: 3, owner }, BEGIN);
        writer.write(&JobRecord::EpochStart, BEGIN);
        let (mut other, mut sheet, mut written) = (writer, Sheet::default(), Vec::new());
        for record in records.iter().filter(|it| **it != JobRecord::EpochStart) {
            writer.write_on(&mut sheet, record.clone(), BEGIN);
            let one = other.write(record, BEGIN);
            prop_assert_eq!(sheet.last_bytes(), one.bytes());
            written.push(one);
        }
        writer.write_on(&mut sheet, JobRecord::Tick, BEGIN);
        prop_assert_eq!(sheet.strike_last(), Some(JobRecord::Tick));
        prop_assert_eq!(sheet.len(), written.len());
        let read: Vec<Entry> = written.iter().map(|it| Entry::decode(it).unwrap()).collect();
        prop_assert_eq!(sheet.into_records(), (written, read));
    }

    #[test]
    fn options_are_common_if_nothing_is_asked_for(record in record()) {
        if let JobRecord::Submitted { spec, .. } = record {
            prop_assert_eq!(spec.options.is_common(), spec.options == JobOptions::default());
        }
    }

    #[test]
    fn whatever_bytes_come_nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..90), kind in 0..16_u8, value in "[a-z]{0,4}",
    ) {
        let read = |key: Vec<u8>| {
            let record = Record { key: key.into(), value: value.clone().into(), ..Record::default() };
            Entry::decode(&record).is_ok()
        };
        read(bytes.clone());
        read([&[1, 0, kind], bytes.as_slice()].concat());
        read([&[1, 0, 12, kind % 5], bytes.as_slice()].concat());
    }
}

#[test]
fn a_checkpoint_of_an_attempt_is_read_as_it_was_written_before_there_were_reports() {
    let mut writer = JobWriter::new(OWNER, BEGIN);
    writer.write(&JobRecord::EpochStart, BEGIN);
    let (job, lease) = (JobId(7), LeaseId::default());
    let told = JobRecord::Progressed {
        job,
        lease,
        progress: Progress {
            checkpoint: Some("page".into()),
            report: None,
        },
    };
    let mut record = writer.write(&told, BEGIN);
    // Two flags tell what else there is.
    record.key = record.key.slice(..record.key.len() - 2);
    assert_eq!(Entry::decode(&record).unwrap().record, told);
}

#[test]
fn a_settlement_is_read_as_it_was_written_for_each_attempt_by_itself() {
    let (epoch, sequence) = (3_u64, 9_u64);
    let lease = [epoch.to_be_bytes(), sequence.to_be_bytes()].concat();
    let key = [&[1, 0, 16], lease.as_slice()].concat();
    let record = Record {
        key: key.into(),
        ..Record::default()
    };
    let settled = JobRecord::Settled(vec![LeaseId { epoch, sequence }]);
    assert_eq!(Entry::decode(&record).unwrap().record, settled);
}

#[test]
fn a_record_of_another_version_or_with_something_left_over_is_refused() {
    let right = Entry::first(4);
    assert!(Entry::decode(&right).is_ok());
    for change in [
        |record: &mut Record| record.value = "more".into(),
        |record: &mut Record| record.key = [record.key.as_ref(), b"x"].concat().into(),
        |record: &mut Record| record.key = [&[2], &record.key[1..]].concat().into(),
        |record: &mut Record| record.key = record.key.slice(..record.key.len() - 1),
    ] {
        let mut wrong = right.clone();
        change(&mut wrong);
        assert!(Entry::decode(&wrong).is_err());
    }
}
