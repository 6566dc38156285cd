//! Jobs of equal cache keys: one runs, and the others have its result.

use super::super::*;
use super::harness::*;
use crate::EntryKey;

fn keyed(key: &str) -> JobSpec {
    with(|spec| {
        spec.options.cached = Some(Cached {
            key: EntryKey::new(key, "cache_key").unwrap(),
            ttl: SECOND,
        });
    })
}

fn states(run: &Run, jobs: &[JobId]) -> Vec<JobState> {
    jobs.iter().map(|job| run.state(*job).unwrap()).collect()
}

#[test]
fn of_equal_keys_one_runs_and_all_have_its_result() {
    let mut run = Run::new();
    let jobs: Vec<JobId> = (0..4).map(|_| run.submit(&keyed("a"))).collect();
    let other = run.submit(&keyed("b"));
    let next: Vec<JobId> = run.fold.next(&queue("ocr")).collect();
    assert_eq!(next, [jobs[0], other]);
    assert_eq!(run.try_lease(jobs[1]), None);
    run.put(&JobRecord::Cancelled(jobs[2]));
    let held = run.next().unwrap();
    run.succeed(held);
    assert_eq!(run.changes.len(), 3);
    let left = run.fold.job(jobs[0]).unwrap().left;
    for job in [jobs[1], jobs[3]] {
        let job = run.fold.job(job).unwrap();
        assert_eq!((job.state(), job.attempts), (JobState::Succeeded, 0));
        assert_eq!(job.left, left);
    }
    assert_eq!(run.state(jobs[2]), Some(JobState::Cancelled));
    // The next one does not know of them.
    let late = run.submit(&keyed("a"));
    assert_eq!(run.drain(), [other, late]);
}

#[test]
fn when_the_one_that_runs_ends_otherwise_the_next_one_runs() {
    let mut run = Run::new();
    let jobs: Vec<JobId> = (0..3).map(|_| run.submit(&keyed("a"))).collect();
    let held = run.next().unwrap();
    run.end(held, failed());
    assert_eq!(run.next(), None, "it is tried again itself");
    run.put(&JobRecord::Cancelled(jobs[0]));
    let held = run.next().unwrap();
    assert_eq!(held.0, jobs[1]);
    assert_eq!(run.next(), None);
    let hopeless = AttemptEnd::Failed {
        error: "no".into(),
        retryable: false,
        retry_after: None,
    };
    run.end(held, hopeless);
    assert_eq!(run.drain(), [jobs[2]]);
    let expected = [JobState::Cancelled, JobState::Failed, JobState::Succeeded];
    assert_eq!(states(&run, &jobs), expected);
}

#[test]
fn a_delayed_job_joins_when_its_time_has_come_and_leads_nobody_before() {
    let mut run = Run::new();
    let delayed = JobSpec {
        run_at: Some(BEGIN + SECOND),
        ..keyed("a")
    };
    let delayed = run.submit(&delayed);
    let job = run.submit(&keyed("a"));
    let held = run.next().unwrap();
    assert_eq!(held.0, job);
    run.pass(SECOND);
    assert_eq!(run.next(), None);
    run.succeed(held);
    assert_eq!(run.state(delayed), Some(JobState::Succeeded));
}

#[test]
fn a_result_that_was_there_before_ends_a_job_that_has_not_begun_and_who_joined_it() {
    let mut run = Run::new();
    let jobs: Vec<JobId> = (0..2).map(|_| run.submit(&keyed("a"))).collect();
    let found = |job| JobRecord::Found {
        job,
        result: "text".into(),
    };
    assert_eq!(run.put(&found(jobs[0])), Verdict::Done);
    assert_eq!(run.put(&found(jobs[0])), Verdict::Void);
    assert_eq!(states(&run, &jobs), [JobState::Succeeded; 2]);
    let running = run.submit(&keyed("a"));
    let held = run.next().unwrap();
    assert_eq!(run.put(&found(running)), Verdict::Void);
    assert_eq!(run.succeed(held), Verdict::Done);
}

#[test]
fn more_than_a_thousand_run_by_themselves() {
    let mut run = Run::new();
    for _ in 0..1_003 {
        run.submit(&keyed("a"));
    }
    assert_eq!(run.fold.next(&queue("ocr")).count(), 3);
}
