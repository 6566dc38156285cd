//! Bytes that change: told, never passed over and never misread.

use super::life::{Life, options, record};
use super::sim::Sim;
use crate::log::disk::OpenError;
use crate::log::disk::format::{SEGMENT_HEADER, SegmentHeader, segment_name};
use trellis_core::log::{LogError, LogRecord};

const PARTITIONS: u32 = 2;

/// What a log holds, by partition.
type Contents = Vec<Vec<LogRecord>>;

/// Three segments, the first with a summary, the last being written; every byte of every record means something.
fn built() -> (Sim, Contents) {
    let sim = Sim::new(1);
    let mut life = Life::open(&sim, options()).unwrap();
    for segment in 0..3 {
        for group in 0..4 {
            let batch = |partition: u32| {
                let value = format!("{segment}/{group}/{partition}").repeat(12);
                (partition, vec![record(value), record("second")])
            };
            let answers = life.append((0..PARTITIONS).map(batch).collect());
            assert!(answers.iter().all(Result::is_ok));
        }
        if segment == 1 {
            life.trim(0, 1).unwrap();
        }
        if segment < 2 {
            life.writer.roll();
        }
    }
    let contents = contents(&life).unwrap();
    (sim, contents)
}

fn contents(life: &Life) -> Result<Contents, LogError> {
    (0..PARTITIONS)
        .map(|partition| life.read_all(partition))
        .collect()
}

#[derive(Debug, Default)]
struct Outcomes {
    refused: usize,
    told_when_read: usize,
    harmless: usize,
}

#[test]
fn a_changed_byte_anywhere_is_refused_or_told_and_never_misread() {
    let (sim, expected) = built();
    let mut outcomes = Outcomes::default();
    for number in 1..=3 {
        let name = segment_name(number);
        for at in 0..sim.bytes(&name).len() {
            let sim = sim.copy();
            sim.alter(&name, |bytes| bytes[at] ^= 1 << (at % 8));
            match Life::open(&sim, options()) {
                Err(OpenError::Damaged { file, .. } | OpenError::Version { file, .. }) => {
                    assert_eq!(file, name, "byte {at}");
                    outcomes.refused += 1;
                }
                Err(error) => panic!("{name} byte {at}: {error}"),
                Ok(life) => match contents(&life) {
                    Ok(found) => {
                        assert!(found == expected, "{name} byte {at} is misread");
                        outcomes.harmless += 1;
                    }
                    Err(LogError::Damaged { position, .. }) => {
                        assert!(position.starts_with(&name), "{position} for {name}");
                        outcomes.told_when_read += 1;
                    }
                    Err(error) => panic!("{name} byte {at}: {error}"),
                },
            }
        }
    }
    // A summary may change, as the segment is then read; so may the manifest of a segment that is not the newest.
    let all = [outcomes.refused, outcomes.told_when_read, outcomes.harmless];
    assert!(all.iter().all(|count| *count > 100), "{outcomes:?}");
}

#[test]
fn a_newest_file_cut_off_anywhere_keeps_all_groups_before_the_cut() {
    let (sim, expected) = built();
    let name = segment_name(3);
    let mut kept = Vec::new();
    for length in 0..=sim.bytes(&name).len() {
        let sim = sim.copy();
        sim.alter(&name, |bytes| bytes.truncate(length));
        let life = Life::open(&sim, options()).unwrap_or_else(|error| panic!("{length}: {error}"));
        let found = contents(&life).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!(expected.starts_with(found), "cut off at {length}");
        }
        kept.push(found.iter().map(Vec::len).sum::<usize>());
    }
    // Four groups of the last file, of two batches of two records each.
    assert!(kept.is_sorted(), "{kept:?}");
    kept.dedup();
    let all: usize = expected.iter().map(Vec::len).sum();
    assert_eq!(kept, [all - 16, all - 12, all - 8, all - 4, all]);
}

#[test]
fn a_missing_sector_is_a_torn_tail_in_the_last_group_and_damage_before_it() {
    let sim = Sim::new(1);
    let mut life = Life::open(&sim, options()).unwrap();
    for _ in 0..2 {
        let big = vec![record(vec![b'x'; 3_000]), record(vec![b'y'; 3_000])];
        assert!(life.append(vec![(0, big)])[0].is_ok());
    }
    let name = segment_name(1);
    let length = sim.bytes(&name).len();
    let zero = |sector: usize| {
        let sim = sim.copy();
        sim.alter(&name, |bytes| {
            let end = (sector * 512 + 512).min(bytes.len());
            bytes[sector * 512..end].fill(0);
        });
        Life::open(&sim, options()).map(|life| life.read_all(0).unwrap().len())
    };
    let last = (length - 6_000) / 512 + 1;
    for sector in last..=(length - 1) / 512 {
        assert_eq!(zero(sector).unwrap(), 2, "sector {sector}");
    }
    for sector in 1..last - 2 {
        match zero(sector) {
            Err(OpenError::Damaged { position, .. }) => assert!(position < 6_300),
            other => panic!("sector {sector}: {other:?}"),
        }
    }
}

#[test]
fn older_files_cut_off_missing_or_exchanged_are_refused() {
    let (sim, _) = built();
    let (first, second) = (segment_name(1), segment_name(2));
    for length in [0, 10, 64, 200, 600] {
        let sim = sim.copy();
        sim.alter(&first, |bytes| bytes.truncate(length));
        let refused = Life::open(&sim, options()).err();
        assert!(
            matches!(&refused, Some(OpenError::Damaged { file, .. }) if *file == first),
            "{length}: {refused:?}"
        );
    }
    let exchanged = sim.copy();
    let other = sim.bytes(&second);
    exchanged.alter(&first, |bytes| *bytes = other);
    let refused = Life::open(&exchanged, options()).err().unwrap();
    assert!(
        refused
            .to_string()
            .contains("header is that of another file"),
        "{refused}"
    );
    let missing = sim.copy();
    missing.forget(&first);
    let refused = Life::open(&missing, options()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Missing { file } if *file == first),
        "{refused}"
    );
}

#[test]
fn a_file_of_another_log_or_another_version_is_refused_with_its_name() {
    let (sim, _) = built();
    let first = segment_name(1);
    let alter = |change: &dyn Fn(&mut SegmentHeader)| {
        let sim = sim.copy();
        sim.alter(&first, |bytes| {
            let mut header = SegmentHeader::decode(bytes.first_chunk().unwrap()).unwrap();
            change(&mut header);
            bytes[..SEGMENT_HEADER].copy_from_slice(&header.encode());
        });
        Life::open(&sim, options()).err().unwrap()
    };
    let refused = alter(&|header| header.history.0 += 1);
    assert!(
        matches!(&refused, OpenError::Foreign { file } if *file == first),
        "{refused}"
    );
    for name in [first, segment_name(3)] {
        let newer = sim.copy();
        newer.alter(&name, |bytes| bytes[8] = 2);
        let refused = Life::open(&newer, options()).err().unwrap();
        let right =
            matches!(&refused, OpenError::Version { file, found: 2, known: 1 } if *file == name);
        assert!(right, "{refused}");
    }
}

#[test]
fn a_salvaged_log_has_lost_one_batch_at_most_for_one_changed_byte_and_opens_again() {
    let (sim, expected) = built();
    let mut salvaged = 0;
    for number in 1..=3 {
        let name = segment_name(number);
        for at in (0..sim.bytes(&name).len()).step_by(5) {
            if (8..12).contains(&at) {
                // Another version is not damage.
                continue;
            }
            let sim = sim.copy();
            sim.alter(&name, |bytes| bytes[at] ^= 0x55);
            let what = format!("{name} byte {at}");
            let (life, lost) =
                Life::salvage(&sim).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = contents(&life).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut missing = 0;
            for (found, expected) in found.iter().zip(&expected) {
                // A trim that was lost brings its record back.
                let extra = found.iter().filter(|record| !expected.contains(record));
                assert!(extra.count() <= 1, "{what}");
                missing += expected
                    .iter()
                    .filter(|record| !found.contains(record))
                    .count();
            }
            assert!(missing <= 2, "{what}: {missing} are missing, lost {lost:?}");
            assert!(missing == 0 || !lost.is_empty(), "{what}: nothing was told");
            salvaged += usize::from(!lost.is_empty());
            drop(life);
            let again =
                Life::open(&sim, options()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(
                contents(&again).unwrap() == found,
                "{what}: changed by opening again"
            );
        }
    }
    assert!(salvaged > 100, "{salvaged}");
}

#[test]
fn a_missing_file_is_given_up_by_a_salvage_and_the_rest_stays() {
    let (sim, expected) = built();
    sim.forget(&segment_name(2));
    let (life, lost) = Life::salvage(&sim).unwrap();
    assert_eq!((lost.len(), lost[0].file.as_str()), (1, &*segment_name(2)));
    let found = contents(&life).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len() - 8);
        assert!(found.iter().all(|record| expected.contains(record)));
    }
    drop(life);
    assert!(contents(&Life::open(&sim, options()).unwrap()).unwrap() == found);
}

#[test]
fn a_log_that_is_not_damaged_is_not_changed_by_a_salvage() {
    let (sim, expected) = built();
    let before: Vec<_> = (1..=3)
        .map(|number| sim.bytes(&segment_name(number)))
        .collect();
    let (life, lost) = Life::salvage(&sim).unwrap();
    assert_eq!(lost, []);
    assert!(contents(&life).unwrap() == expected);
    let after: Vec<_> = (1..=3)
        .map(|number| sim.bytes(&segment_name(number)))
        .collect();
    assert!(before == after);
}
