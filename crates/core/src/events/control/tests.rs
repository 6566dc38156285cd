//! Records are read as they were written, and checkpoints say what the records before them said.

use super::super::event::Topic;
use super::super::group::{DeadReason, GroupRecord};
use super::super::port::{GroupId, GroupSpec, TopicRetention};
use super::*;
use crate::{Micros, Name, Namespace, Time};
use proptest::prelude::*;

fn topic(number: u8) -> Topic {
    Topic {
        namespace: Namespace::new("default", "namespace").unwrap(),
        name: Name::new(format!("topic-{number}"), "topic").unwrap(),
    }
}

fn group(number: u8) -> GroupId {
    GroupId {
        topic: topic(number % 2),
        name: Name::new(format!("group-{number}"), "group").unwrap(),
    }
}

fn group_record() -> impl Strategy<Value = GroupRecord> {
    let offset = || 0..20_u64;
    prop_oneof![
        (offset(), 1..4_u64).prop_map(|(at, size)| GroupRecord::Done(vec![(at, at + size)])),
        (offset(), 0..5_u32).prop_map(|(offset, attempts)| GroupRecord::Retry {
            offset,
            attempts,
            due: Time(offset * 7),
        }),
        offset().prop_map(|offset| GroupRecord::Dead {
            offset,
            attempts: 3,
            reason: DeadReason::Rejected,
        }),
        offset().prop_map(|offset| GroupRecord::Replay {
            offset,
            due: Time(1),
        }),
        offset().prop_map(|before| GroupRecord::Gone { before }),
    ]
}

fn record() -> impl Strategy<Value = ControlRecord> {
    let number = || 0..3_u8;
    let spec = |seconds: u64| GroupSpec {
        lease: Micros::from_secs(seconds),
        ordered: seconds.is_multiple_of(2),
        ..GroupSpec::default()
    };
    prop_oneof![
        1 => Just(ControlRecord::Started),
        1 => (number(), proptest::option::of(any::<u64>())).prop_map(|(number, most)| {
            ControlRecord::TopicSet {
                topic: topic(number),
                retention: TopicRetention {
                    max_bytes: most,
                    ..TopicRetention::default()
                },
            }
        }),
        3 => (number(), 0..9_u64).prop_map(move |(number, floor)| ControlRecord::GroupMade {
            id: group(number),
            floor,
            spec: spec(floor),
        }),
        1 => (number(), 0..9_u64).prop_map(move |(number, seconds)| ControlRecord::GroupSet {
            id: group(number),
            spec: spec(seconds),
        }),
        1 => number().prop_map(|number| ControlRecord::GroupDeleted(group(number))),
        8 => (number(), group_record()).prop_map(|(number, record)| ControlRecord::Group {
            id: group(number),
            record,
        }),
    ]
}

fn fold(records: &[ControlRecord]) -> ControlFold {
    let mut fold = ControlFold::default();
    fold.apply(&ControlRecord::Partitions(4));
    for record in records {
        fold.apply(record);
    }
    fold
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record()) {
        prop_assert_eq!(ControlRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn whatever_bytes_come_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0..12_u8) {
        let _ = ControlRecord::decode(&bytes);
        let known = [&[1, kind], bytes.as_slice()].concat();
        let _ = ControlRecord::decode(&known);
    }

    #[test]
    fn a_checkpoint_says_what_the_records_before_it_said(records in proptest::collection::vec(record(), 0..60)) {
        let fold = fold(&records);
        let mut again = ControlFold::default();
        let checkpoint = fold.checkpoint(9);
        for (index, record) in checkpoint.iter().enumerate() {
            let read = ControlRecord::decode(&record.encode()).unwrap();
            prop_assert_eq!(again.apply(&read), index + 1 == checkpoint.len());
        }
        prop_assert_eq!(again, fold);
    }

    #[test]
    fn a_checkpoint_that_is_torn_or_broken_into_says_nothing(
        records in proptest::collection::vec(record(), 0..40), cut in any::<prop::sample::Index>(), broken: bool,
    ) {
        let before = fold(&records);
        let mut checkpoint = before.checkpoint(9);
        let cut = cut.index(checkpoint.len() - 1) + 1;
        if broken {
            checkpoint.insert(cut, ControlRecord::Started);
        } else {
            checkpoint.truncate(cut);
        }
        let mut after = fold(&records);
        let complete = checkpoint.iter().any(|record| after.apply(record));
        after.apply(&ControlRecord::Started);
        prop_assert!(!complete);
        prop_assert_eq!(after, before);
    }
}
