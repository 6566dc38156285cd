//! Checkpoints say what the records before them said, whatever comes between their parts.

use super::super::*;
use super::harness::*;
use crate::ConcurrencyKey;
use crate::log::{Offset, Record};

/// The state that a log tells to one who knows nothing, and whether by a checkpoint.
pub(super) fn replayed(log: &[Record], first: usize) -> (JobFold, bool) {
    let mut replay = Replay::new(first == 0);
    for (at, record) in log.iter().enumerate().skip(first) {
        let entry = Entry::decode(record).unwrap();
        replay.take(Offset(at as u64), entry, record.bytes());
    }
    let twice = read_twice(log, first);
    match replay.end() {
        Some(mut once) => {
            let mut other = twice.0;
            assert_eq!(image(&mut once.fold), image(&mut other));
            assert_eq!(once.checkpoint.is_some(), twice.1);
            (once.fold, twice.1)
        }
        // There is nothing, or no more than an owner's first steps.
        None => twice,
    }
}

/// The same by two readings, of which the first one looks for the checkpoint.
fn read_twice(log: &[Record], first: usize) -> (JobFold, bool) {
    let entry = |at: usize| Entry::decode(&log[at]).unwrap();
    let mut checkpoints = Checkpoints::default();
    for at in first..log.len() {
        checkpoints.look(Offset(at as u64), &entry(at));
    }
    let found = checkpoints.found();
    let (mut fold, from) = match &found {
        Some(found) => {
            let (begin, end) = (found.begin.0, found.end.0);
            let mut restore = Restore::new(found);
            for at in begin..=end {
                restore.take(&entry(usize::try_from(at).unwrap()));
            }
            (restore.into_fold(), usize::try_from(begin).unwrap() + 1)
        }
        None => (JobFold::default(), first),
    };
    for at in from..log.len() {
        fold.apply(Offset(at as u64), &entry(at), &mut Vec::new());
    }
    fold.end_snapshot();
    (fold, found.is_some())
}

/// A partition with jobs in every phase.
fn busy() -> Run {
    let mut run = Run::new();
    run.put(&JobRecord::QueueSet {
        queue: queue("ocr"),
        spec: QueueSpec {
            key_concurrency: Some(1),
            ..QueueSpec::default()
        },
    });
    for number in 0..30_u32 {
        run.submit(&with(|spec| {
            spec.priority = u8::try_from(number % 3).unwrap();
            spec.options.turn = Some(turn(["a", "b", "c"][number as usize % 3], 1 + number % 4));
            if number.is_multiple_of(5) {
                let key = ConcurrencyKey::new("k", "concurrency_key").unwrap();
                spec.options.concurrency_key = Some(key);
            }
            if number.is_multiple_of(7) {
                spec.run_at = Some(BEGIN + SECOND);
            }
        }));
    }
    for number in 0..12 {
        let held = run.next().unwrap();
        match number % 4 {
            0 => run.succeed(held),
            1 => run.end(held, failed()),
            2 => run.end(held, AttemptEnd::Lost),
            _ => Verdict::Void,
        };
    }
    run
}

/// Logs the next part; whether there was one.
fn tell(run: &mut Run, slices: &mut u64) -> bool {
    let Some(slice) = run.fold.next_slice(2_000) else {
        return false;
    };
    *slices += 1;
    run.put(&JobRecord::Slice(slice));
    true
}

/// Something happens.
fn go_on(run: &mut Run) {
    run.submit(&with(|spec| spec.options.turn = Some(turn("d", 1))));
    run.submit(&with(|spec| spec.queue = queue("new")));
    if let Some(held) = run.next() {
        run.succeed(held);
    }
    run.pass(crate::Micros(SECOND.0 / 4));
}

fn checkpoint(run: &mut Run, number: u64) -> Vec<Slice> {
    run.put(&JobRecord::CheckpointBegin { number });
    let was = image(&mut run.fold);
    let mut slices = 0;
    while tell(run, &mut slices) {
        go_on(run);
    }
    run.put(&JobRecord::CheckpointEnd { number, slices });
    assert!(run.fold.end_snapshot().is_some());
    go_on(run);
    was
}

#[test]
fn a_checkpoint_is_the_state_where_it_begins_and_the_records_behind_go_on_from_it() {
    let mut run = busy();
    let was = checkpoint(&mut run, 1);
    let mut checkpoints = Checkpoints::default();
    for (at, record) in run.log.iter().enumerate() {
        checkpoints.look(Offset(at as u64), &Entry::decode(record).unwrap());
    }
    let found = checkpoints.found().unwrap();
    let mut restore = Restore::new(&found);
    for record in &run.log {
        restore.take(&Entry::decode(record).unwrap());
    }
    let mut restored = restore.into_fold();
    assert_eq!(image(&mut restored), was);
    // What stands before is not needed.
    let begin = usize::try_from(found.begin.0).unwrap();
    let (mut again, by_checkpoint) = replayed(&run.log, begin);
    assert!(by_checkpoint);
    assert_eq!(image(&mut again), image(&mut run.fold));
    assert_eq!(run.drain().len(), {
        let mut count = 0;
        while again.next(&queue("ocr")).next().is_some() {
            let job = again.next(&queue("ocr")).next().unwrap();
            assert!(again.finish((job, None), Outcome::Cancelled, &mut Vec::new()));
            count += 1;
        }
        count
    });
}

#[test]
fn the_newest_whole_checkpoint_is_in_force_and_a_torn_one_says_nothing() {
    let mut run = busy();
    checkpoint(&mut run, 1);
    checkpoint(&mut run, 2);
    let whole = run.log.len();
    run.put(&JobRecord::CheckpointBegin { number: 3 });
    let mut slices = 0;
    tell(&mut run, &mut slices);
    go_on(&mut run);
    let (mut again, _) = replayed(&run.log, 0);
    assert_eq!(image(&mut again), image(&mut run.fold));
    // Its end comes, and one part is missing.
    while tell(&mut run, &mut slices) {}
    let number = 3;
    run.put(&JobRecord::CheckpointEnd { number, slices });
    for missing in whole..run.log.len() {
        let mut log = run.log.clone();
        log.remove(missing);
        let mut checkpoints = Checkpoints::default();
        for (at, record) in log.iter().enumerate() {
            checkpoints.look(Offset(at as u64), &Entry::decode(record).unwrap());
        }
        let is_part = !matches!(
            Entry::decode(&run.log[missing]).unwrap().record,
            JobRecord::Submitted { .. }
                | JobRecord::Tick
                | JobRecord::Leased { .. }
                | JobRecord::Ended { .. }
        );
        let number = checkpoints.found().unwrap().number;
        assert_eq!(number, if is_part { 2 } else { 3 });
    }
}

#[test]
fn a_checkpoint_counts_only_if_an_owner_began_and_ended_it() {
    let mut run = busy();
    checkpoint(&mut run, 1);
    let mut zombie = run.writer;
    let mut next = JobWriter::new(
        Epoch {
            number: 2,
            owner: 9,
        },
        BEGIN,
    );
    let start = next.write(&JobRecord::EpochStart, run.now);
    run.append(start);
    for record in [
        JobRecord::CheckpointBegin { number: 2 },
        JobRecord::CheckpointEnd {
            number: 2,
            slices: 0,
        },
    ] {
        let record = zombie.write(&record, run.now);
        assert_eq!(run.append(record), Verdict::Void);
    }
    run.writer = next;
    go_on(&mut run);
    let (mut again, _) = replayed(&run.log, 0);
    assert_eq!(image(&mut again), image(&mut run.fold));
    checkpoint(&mut run, 3);
    // Copies of a begin do not void what was begun.
    let copies: Vec<Record> = run.log.clone();
    run.log.extend(copies);
    let (mut again, _) = replayed(&run.log, 0);
    assert_eq!(image(&mut again), image(&mut run.fold));
}

#[test]
fn a_checkpoint_tells_the_oldest_record_that_a_job_needs() {
    let mut run = Run::new();
    let first = run.submit(&spec());
    let at = run.fold.job(first).unwrap().payload.offset;
    run.submit(&spec());
    run.put(&JobRecord::CheckpointBegin { number: 1 });
    let mut slices = 0;
    while tell(&mut run, &mut slices) {}
    assert_eq!(run.fold.end_snapshot(), Some(at));
    let from = at;
    let moved = JobRecord::Moved {
        job: first,
        part: Part::Payload,
        from,
        data: "page".into(),
    };
    run.put(&moved);
    run.put(&JobRecord::CheckpointBegin { number: 2 });
    while tell(&mut run, &mut slices) {}
    assert_eq!(run.fold.end_snapshot(), Some(at.next()));
}
