//! What attempts tell while they run.

use super::super::*;
use super::harness::*;

const MOST: ChunkBounds = ChunkBounds {
    count: 3,
    bytes: 10,
};

fn chunk(run: &mut Run, (job, lease): (JobId, LeaseId), index: u32, data: &str) -> Verdict {
    let data = data.to_owned().into();
    run.put(&JobRecord::Chunk {
        job,
        lease,
        chunk: Chunk { index, data },
        most: MOST,
    })
}

fn report(run: &mut Run, (job, lease): (JobId, LeaseId), done: u64) -> Verdict {
    let report = Some(Report {
        done,
        ..Report::default()
    });
    let progress = Progress {
        report,
        checkpoint: None,
    };
    run.put(&JobRecord::Progressed {
        job,
        lease,
        progress,
    })
}

/// The numbers of what a reader gets from one on.
fn numbers(run: &Run, job: JobId, mut from: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let stream = run.fold.job(job).unwrap().stream().unwrap();
    while let Some((number, _)) = stream.from(from) {
        numbers.push(number);
        from = number + 1;
    }
    numbers
}

#[test]
fn what_is_told_is_numbered_and_of_reports_the_newest_is_kept() {
    let mut run = Run::new();
    let job = run.submit(&spec());
    let held = run.next().unwrap();
    assert_eq!(run.fold.job(job).unwrap().next_number(), 1);
    assert_eq!(
        chunk(&mut run, held, 0, "a"),
        Verdict::Chunk(Chunking::Taken(1))
    );
    assert_eq!(report(&mut run, held, 1), Verdict::Done);
    assert_eq!(
        chunk(&mut run, held, 1, "b"),
        Verdict::Chunk(Chunking::Taken(3))
    );
    assert_eq!(report(&mut run, held, 2), Verdict::Done);
    assert_eq!(numbers(&run, job, 0), [1, 3, 4]);
    assert_eq!(numbers(&run, job, 2), [3, 4]);
    run.succeed(held);
    assert_eq!(
        numbers(&run, job, 0),
        [1, 3, 4],
        "the end leaves it as it is"
    );
    assert_eq!(chunk(&mut run, held, 2, "c"), Verdict::Void);
    assert_eq!(report(&mut run, held, 3), Verdict::Void);
}

#[test]
fn a_chunk_stands_once_and_none_is_left_out_or_too_much() {
    let mut run = Run::new();
    let job = run.submit(&spec());
    let held = run.next().unwrap();
    for (index, data, expected) in [
        (1, "a", Chunking::Gap(0)),
        (0, "a", Chunking::Taken(1)),
        (0, "a", Chunking::Repeat),
        (1, "0123456789", Chunking::Full),
        (1, "b", Chunking::Taken(2)),
        (2, "c", Chunking::Taken(3)),
        (3, "d", Chunking::Full),
        (2, "c", Chunking::Repeat),
    ] {
        let told = chunk(&mut run, held, index, data);
        assert_eq!(told, Verdict::Chunk(expected), "{index} {data}");
    }
    assert_eq!(numbers(&run, job, 0), [1, 2, 3]);
}

#[test]
fn a_new_attempt_voids_what_was_told_and_its_readers_learn_it() {
    let mut run = Run::new();
    let job = run.submit(&spec());
    let first = run.next().unwrap();
    chunk(&mut run, first, 0, "a");
    report(&mut run, first, 1);
    run.end(first, AttemptEnd::Lost);
    assert_eq!(numbers(&run, job, 0), [1, 2], "nobody has said otherwise");
    let second = run.next().unwrap();
    let stream = run.fold.job(job).unwrap().stream().unwrap();
    assert_eq!(stream.from(0), Some((3, Said::Reset)));
    assert_eq!(stream.lease, second.1);
    assert_eq!(chunk(&mut run, first, 1, "b"), Verdict::Void);
    chunk(&mut run, second, 0, "a");
    assert_eq!(numbers(&run, job, 0), [3, 4]);
    assert_eq!(numbers(&run, job, 3), [3, 4]);
    assert_eq!(numbers(&run, job, 4), [4]);
}

#[test]
fn an_attempt_before_which_nothing_was_told_voids_nothing() {
    let mut run = Run::new();
    let job = run.submit(&spec());
    let first = run.next().unwrap();
    run.end(first, AttemptEnd::Lost);
    let second = run.next().unwrap();
    assert!(run.fold.job(job).unwrap().stream().is_none());
    chunk(&mut run, second, 0, "a");
    assert_eq!(numbers(&run, job, 0), [1]);
}
