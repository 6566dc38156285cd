//! What becomes of jobs, rule by rule.

use super::super::*;
use super::harness::*;
use crate::log::Offset;
use crate::{ConcurrencyKey, Micros, RequestId, UniqueKey};

fn unique(key: &str, on_conflict: OnConflict) -> JobSpec {
    with(|spec| {
        let key = UniqueKey::new(key, "unique.key").unwrap();
        spec.options.unique = Some(Unique { key, on_conflict });
    })
}

fn requested(id: &str, digest: u64) -> JobSpec {
    with(|spec| {
        let id = RequestId::new(id, "request_id").unwrap();
        spec.options.request = Some(Request { id, digest });
    })
}

fn keyed(key: &str) -> JobSpec {
    with(|spec| {
        let key = ConcurrencyKey::new(key, "concurrency_key").unwrap();
        spec.options.concurrency_key = Some(key);
    })
}

fn policy(max_attempts: u32) -> JobSpec {
    with(|spec| {
        spec.options.retry = RetryPolicy {
            max_attempts,
            min_backoff: SECOND,
            max_backoff: SECOND,
            jitter_percent: 0,
        };
    })
}

#[test]
fn jobs_that_wait_are_cancelled_and_ended_ones_forgotten_a_thousand_at_once() {
    let mut run = Run::new();
    for _ in 0..1_200 {
        run.submit(&spec());
    }
    let held = run.next().unwrap();
    let purge = |run: &mut Run, states: &[JobState]| {
        run.put(&JobRecord::Purged {
            queue: queue("ocr"),
            states: states.to_vec(),
        })
    };
    let waiting = [JobState::Ready, JobState::Delayed];
    assert_eq!(purge(&mut run, &waiting), Verdict::Purged(1_000));
    assert_eq!(purge(&mut run, &waiting), Verdict::Purged(199));
    assert_eq!(purge(&mut run, &waiting), Verdict::Purged(0));
    assert_eq!(run.fold.count(&queue("ocr"), JobState::Cancelled), 1_199);
    assert_eq!(run.put(&JobRecord::Forgotten(held.0)), Verdict::Void);
    assert_eq!(run.succeed(held), Verdict::Done);
    assert_eq!(run.put(&JobRecord::Forgotten(held.0)), Verdict::Done);
    // One of the same moment still comes.
    run.submit(&spec());
    purge(&mut run, &waiting);
    purge(&mut run, &[JobState::Cancelled]);
    purge(&mut run, &[JobState::Cancelled]);
    assert!(run.fold.is_empty());
}

#[test]
fn a_job_is_leased_done_and_forgotten_after_its_retention() {
    let mut run = Run::new();
    let job = run.submit(&spec());
    assert_eq!(run.state(job), Some(JobState::Ready));
    let held = run.next().unwrap();
    assert_eq!(
        run.changes,
        [Change {
            job,
            state: Some(JobState::Running),
            over: None,
        }]
    );
    assert_eq!(run.succeed(held), Verdict::Done);
    assert_eq!(run.changes[0].over, Some(held.1));
    let ended = run.fold.job(job).unwrap();
    assert_eq!(ended.state(), JobState::Succeeded);
    assert_eq!(ended.left.unwrap().bytes, 4);
    run.pass(QueueSpec::default().result_retention);
    assert_eq!(run.state(job), None);
    assert_eq!(run.fold.queues().count(), 0, "nor is its queue known");
    assert!(run.fold.watermark() > job.made());
}

#[test]
fn a_job_ends_once_and_only_by_the_attempt_under_way() {
    let mut run = Run::new();
    let job = run.submit(&policy(5));
    let first = run.next().unwrap();
    run.end(first, AttemptEnd::Lost);
    assert_eq!(run.succeed(first), Verdict::Void, "the attempt is over");
    let second = run.next().unwrap();
    assert_eq!(
        run.succeed(first),
        Verdict::Void,
        "another one is under way"
    );
    assert_eq!(run.succeed(second), Verdict::Done);
    assert_eq!(run.end(second, failed()), Verdict::Void);
    assert_eq!(run.put(&JobRecord::Cancelled(job)), Verdict::Void);
    assert_eq!(run.state(job), Some(JobState::Succeeded));
    let ending = *run.fold.job(job).unwrap().ending().unwrap();
    assert_eq!(ending.lease, Some(second.1));
}

#[test]
fn an_attempt_in_vain_waits_and_the_last_one_leaves_the_job_dead() {
    let mut run = Run::new();
    let job = run.submit(&policy(2));
    let held = run.next().unwrap();
    run.end(held, failed());
    assert_eq!(run.state(job), Some(JobState::Delayed));
    run.pass(Micros(SECOND.0 - 1));
    assert_eq!(run.next(), None);
    run.pass(Micros::TICK);
    let held = run.next().unwrap();
    run.end(held, failed());
    let dead = run.fold.job(job).unwrap();
    assert_eq!((dead.state(), dead.attempts), (JobState::Dead, 2));
    assert_eq!(dead.error.as_deref(), Some("no"));
    run.pass(QueueSpec::default().result_retention);
    assert_eq!(run.state(job), Some(JobState::Dead), "it is kept longer");
}

#[test]
fn what_does_not_count_as_an_attempt_does_not() {
    let mut run = Run::new();
    let job = run.submit(&policy(1));
    for _ in 0..3 {
        let held = run.next().unwrap();
        run.end(held, AttemptEnd::Throttled(SECOND));
        assert_eq!(run.next(), None);
        run.pass(SECOND);
        let held = run.next().unwrap();
        run.end(held, AttemptEnd::Released);
        assert_eq!(run.fold.job(job).unwrap().attempts, 0);
    }
    let held = run.next().unwrap();
    run.end(held, AttemptEnd::Lost);
    assert_eq!(run.state(job), Some(JobState::Dead), "a lost worker counts");
}

#[test]
fn a_worker_ends_a_job_for_good_and_asks_for_a_later_attempt() {
    let mut run = Run::new();
    let job = run.submit(&policy(5));
    let held = run.next().unwrap();
    let later = AttemptEnd::Failed {
        error: "busy".into(),
        retryable: true,
        retry_after: Some(Micros(3 * SECOND.0)),
    };
    run.end(held, later);
    run.pass(SECOND);
    assert_eq!(run.next(), None);
    run.pass(Micros(2 * SECOND.0));
    let held = run.next().unwrap();
    let hopeless = AttemptEnd::Failed {
        error: "not an image".into(),
        retryable: false,
        retry_after: None,
    };
    run.end(held, hopeless);
    assert_eq!(run.state(job), Some(JobState::Failed));
}

#[test]
fn time_starts_delayed_jobs_and_ends_attempts_and_jobs() {
    let mut run = Run::new();
    let delayed = run.submit(&with(|spec| spec.run_at = Some(BEGIN + SECOND)));
    let slow = run.submit(&with(|spec| spec.options.timeout = Some(SECOND)));
    let late = run.submit(&with(|spec| {
        spec.options.deadline = Some(BEGIN + Micros(2 * SECOND.0));
        spec.priority = 0;
    }));
    let held = run.next().unwrap();
    assert_eq!(held.0, slow);
    assert_eq!(run.fold.next_due(), Some(BEGIN + SECOND));
    run.pass(SECOND);
    assert_eq!(run.state(delayed), Some(JobState::Ready));
    assert_eq!(run.state(slow), Some(JobState::Delayed), "it took too long");
    let job = run.fold.job(slow).unwrap();
    assert_eq!(job.error.as_deref(), Some("the attempt took too long"));
    let first = run.next().unwrap();
    assert_eq!(first.0, delayed);
    let held = run.next().unwrap();
    assert_eq!(held.0, late);
    run.pass(SECOND);
    assert_eq!(run.state(late), Some(JobState::Expired), "although it ran");
    assert_eq!(run.succeed(held), Verdict::Void);
}

#[test]
fn a_unique_job_is_refused_told_or_takes_the_place() {
    let mut run = Run::new();
    let first = run.submit(&unique("a", OnConflict::Reject));
    let ask = |run: &mut Run, on_conflict| run.ask(&unique("a", on_conflict)).1;
    let rejected = Submission::Rejected(first);
    assert_eq!(ask(&mut run, OnConflict::Reject), rejected);
    assert_eq!(
        ask(&mut run, OnConflict::Return),
        Submission::Existing(first)
    );
    assert_eq!(run.fold.len(), 1);
    let held = run.next().unwrap();
    assert_eq!(ask(&mut run, OnConflict::Reject), rejected, "it still runs");
    let (second, submission) = run.ask(&unique("a", OnConflict::Replace));
    assert_eq!(submission, Submission::Replaced(first));
    assert_eq!(run.state(first), Some(JobState::Replaced));
    assert_eq!(run.succeed(held), Verdict::Void);
    run.submit(&unique("b", OnConflict::Reject));
    let held = run.next().unwrap();
    assert_eq!(held.0, second);
    run.succeed(held);
    run.submit(&unique("a", OnConflict::Reject));
}

#[test]
fn a_repeated_request_is_told_its_first_job_for_as_long_as_it_is_remembered() {
    let mut run = Run::new();
    run.put(&JobRecord::QueueSet {
        queue: queue("ocr"),
        spec: QueueSpec {
            result_retention: Micros::ZERO,
            ..QueueSpec::default()
        },
    });
    let first = run.submit(&requested("r", 1));
    let ask = |run: &mut Run, digest| run.ask(&requested("r", digest)).1;
    assert_eq!(ask(&mut run, 1), Submission::Repeat(first));
    assert_eq!(ask(&mut run, 2), Submission::RequestReused);
    let held = run.next().unwrap();
    run.succeed(held);
    run.pass(Micros(MEMORY.0 - 1));
    assert_eq!(ask(&mut run, 1), Submission::Repeat(first));
    run.pass(Micros::TICK);
    assert_eq!(ask(&mut run, 1), Submission::New);
}

#[test]
fn an_id_that_is_known_or_too_old_to_be_known_is_no_new_job() {
    let mut run = Run::new();
    let id = run.submit(&spec());
    let again = JobRecord::Submitted {
        id,
        spec: Box::new(spec()),
    };
    assert_eq!(run.put(&again), Verdict::Void);
    run.drain();
    run.pass(QueueSpec::default().result_retention);
    assert_eq!(run.fold.len(), 0);
    assert_eq!(run.put(&again), Verdict::Void);
    run.submit(&spec());
}

#[test]
fn a_queue_runs_no_more_than_it_may_and_nothing_while_it_is_paused() {
    let mut run = Run::new();
    let set = |run: &mut Run, spec: QueueSpec| {
        let queue = queue("ocr");
        assert_eq!(run.put(&JobRecord::QueueSet { queue, spec }), Verdict::Done);
    };
    let two = QueueSpec {
        concurrency: Some(2),
        max_jobs: Some(4),
        ..QueueSpec::default()
    };
    set(&mut run, two);
    let jobs: Vec<JobId> = (0..4).map(|_| run.submit(&spec())).collect();
    assert_eq!(run.ask(&spec()).1, Submission::QueueFull);
    let first = run.next().unwrap();
    let paused = QueueSpec {
        paused: true,
        ..two
    };
    set(&mut run, paused);
    assert_eq!(run.next(), None);
    assert_eq!(run.try_lease(jobs[1]), None);
    set(&mut run, two);
    run.next().unwrap();
    assert_eq!(run.try_lease(jobs[2]), None, "two run");
    run.succeed(first);
    assert_eq!(run.next().unwrap().0, jobs[2]);
    run.submit(&spec());
    let other = with(|spec| spec.queue = queue("other"));
    run.submit(&other);
    assert!(
        run.next_of(&queue("other")).is_some(),
        "others are not held"
    );
}

#[test]
fn jobs_of_one_concurrency_key_run_one_after_the_other_and_hold_nobody_else() {
    let mut run = Run::new();
    let one = |key_concurrency| JobRecord::QueueSet {
        queue: queue("ocr"),
        spec: QueueSpec {
            key_concurrency,
            ..QueueSpec::default()
        },
    };
    run.put(&one(Some(1)));
    let first = run.submit(&keyed("a"));
    let second = run.submit(&keyed("a"));
    let urgent = run.submit(&JobSpec {
        priority: 9,
        ..keyed("a")
    });
    let other = run.submit(&keyed("b"));
    let held = run.next().unwrap();
    assert_eq!(held.0, urgent);
    assert_eq!(run.next().unwrap().0, other);
    assert_eq!(run.next(), None);
    assert_eq!(run.try_lease(first), None);
    run.end(held, failed());
    assert_eq!(run.try_lease(second), None, "it is not its turn");
    let held = run.next().unwrap();
    assert_eq!(held.0, first);
    run.pass(SECOND);
    assert_eq!(run.next(), None);
    run.put(&one(Some(2)));
    assert_eq!(run.next().unwrap().0, urgent);
    run.put(&one(None));
    assert_eq!(run.next().unwrap().0, second);
    run.put(&one(Some(1)));
    run.put(&JobRecord::Cancelled(held.0));
    assert_eq!(run.next(), None);
}

#[test]
fn what_an_attempt_leaves_is_there_for_the_next_one_and_can_be_moved() {
    let mut run = Run::new();
    let job = run.submit(&spec());
    let held = run.next().unwrap();
    let progress = |lease| JobRecord::Progressed {
        job,
        lease,
        progress: Progress {
            checkpoint: Some("page 3".into()),
            report: None,
        },
    };
    run.put(&progress(held.1));
    let left = run.fold.job(job).unwrap().left.unwrap();
    assert_eq!((left.offset, left.bytes), (Offset(4), 6));
    run.end(held, AttemptEnd::Lost);
    assert_eq!(run.put(&progress(held.1)), Verdict::Void);
    assert_eq!(run.fold.job(job).unwrap().left, Some(left));
    let moved = |part, from| JobRecord::Moved {
        job,
        part,
        from,
        data: "page 3".into(),
    };
    assert_eq!(run.put(&moved(Part::Left, left.offset)), Verdict::Done);
    assert_eq!(run.put(&moved(Part::Left, left.offset)), Verdict::Void);
    assert_eq!(run.put(&moved(Part::Payload, Offset(2))), Verdict::Done);
    let job = run.fold.job(job).unwrap();
    assert_eq!(job.payload.offset, Offset(9));
    assert_eq!(job.left.unwrap().offset, Offset(7));
}

#[test]
fn only_the_first_owner_of_the_highest_epoch_counts() {
    let mut run = Run::new();
    let job = run.submit(&spec());
    let mut former = run.writer;
    let rival = |owner| JobWriter::new(Epoch { number: 2, owner }, BEGIN);
    let (mut first, mut second) = (rival(1), rival(2));
    let start = first.write(&JobRecord::EpochStart, BEGIN);
    assert_eq!(run.append(start.clone()), Verdict::Done);
    let late = second.write(&JobRecord::EpochStart, BEGIN);
    assert_eq!(run.append(late), Verdict::Void);
    assert_eq!(run.append(start), Verdict::Void, "a copy");
    let cancel = JobRecord::Cancelled(job);
    let zombie = former.write(&cancel, BEGIN);
    assert_eq!(run.append(zombie), Verdict::Void);
    let rival = second.write(&cancel, BEGIN);
    assert_eq!(run.append(rival), Verdict::Void);
    assert_eq!(run.state(job), Some(JobState::Ready));
    let record = first.write(&cancel, BEGIN);
    assert_eq!(run.append(record.clone()), Verdict::Done);
    assert_eq!(run.append(record), Verdict::Void, "a copy");
    assert_eq!(run.fold.lost(), 0);
}

#[test]
fn records_that_the_log_has_lost_are_told() {
    let mut run = Run::new();
    for _ in 0..3 {
        let _ = run.writer.write(&JobRecord::Tick, BEGIN);
    }
    run.submit(&spec());
    assert_eq!(run.fold.lost(), 3);
    // Another record stands where this one stood.
    let mut other = run.writer;
    let _ = run.writer.write(&JobRecord::Tick, BEGIN);
    let record = other.write(
        &JobRecord::CheckpointEnd {
            number: 1,
            slices: 1,
        },
        BEGIN,
    );
    run.append(record);
    run.put(&JobRecord::Tick);
    assert_eq!(run.fold.lost(), 4);
}

#[test]
fn time_never_falls_and_a_thousand_due_jobs_do_not_hold_up_a_record() {
    let mut run = Run::new();
    for _ in 0..1_500 {
        run.submit(&with(|spec| spec.run_at = Some(BEGIN + SECOND)));
    }
    run.now = BEGIN + SECOND;
    run.put(&JobRecord::Tick);
    assert_eq!(run.changes.len(), 1_000);
    run.now = BEGIN;
    run.put(&JobRecord::Tick);
    assert_eq!(run.fold.time(), BEGIN + SECOND);
    assert_eq!(run.changes.len(), 500);
}
