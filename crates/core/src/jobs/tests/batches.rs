//! Batches: what comes, in which order it ends, and when all of it does.

use super::super::*;
use super::harness::*;
use crate::RequestId;
use crate::log::Partition;

fn asked(count: u32, on_failure: OnFailure) -> BatchSpec {
    BatchSpec {
        queue: queue("ocr"),
        count,
        max_concurrent: None,
        on_failure,
        request: None,
    }
}

fn create(run: &mut Run, number: u64, spec: &BatchSpec) -> (BatchId, Verdict) {
    let id = BatchId(JobId::new(run.now, Partition(0), number));
    let spec = Box::new(spec.clone());
    (id, run.put(&JobRecord::BatchCreated { id, spec }))
}

fn of(batch: BatchId, index: u32) -> JobSpec {
    with(|spec| spec.options.batch = Some(InBatch { batch, index }))
}

fn batch(run: &mut Run, spec: &BatchSpec) -> (BatchId, Vec<JobId>) {
    let (id, verdict) = create(run, 1, spec);
    assert_eq!(verdict, Verdict::Batch(Batching::New));
    let jobs = (0..spec.count).map(|index| run.submit(&of(id, index)));
    (id, jobs.collect())
}

fn order(run: &Run, id: BatchId) -> Vec<JobId> {
    let each = (1..).map_while(|number| {
        let (at, job) = run.fold.ended_in(id, number)?;
        assert_eq!(at, number);
        Some(job)
    });
    each.collect()
}

#[test]
fn a_batch_is_over_when_all_its_jobs_have_ended_in_an_order_that_is_kept() {
    let mut run = Run::new();
    let (id, jobs) = batch(&mut run, &asked(3, OnFailure::Collect));
    let held: Vec<_> = (0..3).map(|_| run.next().unwrap()).collect();
    run.succeed(held[2]);
    let hopeless = AttemptEnd::Failed {
        error: "no".into(),
        retryable: false,
        retry_after: None,
    };
    run.end(held[0], hopeless);
    assert_eq!(run.fold.batch(id).unwrap().over, None);
    run.succeed(held[1]);
    assert_eq!(order(&run, id), [jobs[2], jobs[0], jobs[1]]);
    let told = run.fold.batch(id).unwrap();
    assert_eq!((told.taken, told.ended()), (3, 3));
    assert_eq!(told.ended[Outcome::Failed as usize], 1);
    assert!(told.over.is_some() && told.stop.is_none());
    run.pass(QueueSpec::default().dead_retention);
    assert_eq!(run.fold.batch(id), None);
}

#[test]
fn a_job_of_a_batch_comes_once_and_no_other_takes_its_place() {
    let mut run = Run::new();
    let (id, jobs) = batch(&mut run, &asked(2, OnFailure::Collect));
    assert_eq!(run.ask(&of(id, 1)).1, Submission::Repeat(jobs[1]));
    assert_eq!(run.ask(&of(id, 2)).1, Submission::BatchFull(2));
    let elsewhere = JobSpec {
        queue: queue("mail"),
        ..of(id, 0)
    };
    assert_eq!(run.ask(&elsewhere).1, Submission::NoBatch);
    let unknown = BatchId(JobId(1));
    assert_eq!(run.ask(&of(unknown, 0)).1, Submission::NoBatch);
    run.drain();
    assert_eq!(run.ask(&of(id, 1)).1, Submission::Repeat(jobs[1]));
}

#[test]
fn a_batch_is_known_by_its_request() {
    let mut run = Run::new();
    let mut spec = asked(2, OnFailure::Collect);
    let id = RequestId::new("r", "request_id").unwrap();
    spec.request = Some(Request { id, digest: 1 });
    let (first, _) = create(&mut run, 1, &spec);
    let again = create(&mut run, 2, &spec).1;
    assert_eq!(again, Verdict::Batch(Batching::Repeat(first)));
    spec.request.as_mut().unwrap().digest = 2;
    let other = create(&mut run, 3, &spec).1;
    assert_eq!(other, Verdict::Batch(Batching::RequestReused));
    assert_eq!(run.fold.batch_count(), 1);
}

#[test]
fn a_batch_runs_no_more_at_once_than_it_may_and_holds_nobody_else() {
    let mut run = Run::new();
    let mut spec = asked(5, OnFailure::Collect);
    spec.max_concurrent = Some(2);
    let (_, jobs) = batch(&mut run, &spec);
    let other = run.submit(&super::harness::spec());
    let next: Vec<JobId> = run.fold.next(&queue("ocr")).collect();
    assert_eq!(next, [jobs[0], jobs[1], other]);
    let held = run.next().unwrap();
    run.next().unwrap();
    let next: Vec<JobId> = run.fold.next(&queue("ocr")).collect();
    assert_eq!(next, [other]);
    assert_eq!(run.try_lease(jobs[2]), None);
    run.succeed(held);
    let next: Vec<JobId> = run.fold.next(&queue("ocr")).collect();
    assert_eq!(next, [jobs[2], other]);
}

#[test]
fn one_that_fails_ends_the_others_if_the_batch_says_so() {
    for (on_failure, cancelled) in [(OnFailure::FailFast, 3), (OnFailure::Collect, 0)] {
        let mut run = Run::new();
        let (id, jobs) = batch(&mut run, &asked(5, on_failure));
        let first = run.next().unwrap();
        run.succeed(first);
        let running = run.next().unwrap();
        run.put(&JobRecord::Cancelled(jobs[2]));
        run.pass(SECOND);
        let told = run.fold.batch(id).unwrap();
        assert_eq!(told.ended[Outcome::Cancelled as usize], cancelled + 1);
        let fast = on_failure == OnFailure::FailFast;
        assert_eq!(told.stop, fast.then_some(Stop::Failed));
        assert_eq!(told.over.is_some(), fast);
        let late = run.succeed(running);
        assert_eq!(late == Verdict::Void, fast);
    }
}

#[test]
fn a_batch_that_is_stopped_ends_a_thousand_jobs_with_each_record() {
    let mut run = Run::new();
    let (id, _) = batch(&mut run, &asked(2_500, OnFailure::FailFast));
    assert_eq!(run.put(&JobRecord::BatchCancelled(id)), Verdict::Done);
    assert_eq!(run.put(&JobRecord::BatchCancelled(id)), Verdict::Void);
    assert_eq!(run.changes.len(), 1_000);
    assert_eq!(
        run.ask(&of(id, 0)).1,
        Submission::Repeat(first_of(&run, id))
    );
    run.pass(SECOND);
    let told = run.fold.batch(id).unwrap();
    assert_eq!((told.ended(), told.stop), (2_500, Some(Stop::Cancelled)));
    assert!(told.over.is_some());
    assert_eq!(run.fold.tick(run.now), None);
}

fn first_of(run: &Run, id: BatchId) -> JobId {
    run.fold.ended_in(id, 1).unwrap().1
}

#[test]
fn a_batch_that_is_cancelled_before_its_jobs_have_come_is_over_at_once() {
    let mut run = Run::new();
    let (id, _) = create(&mut run, 1, &asked(3, OnFailure::Collect));
    run.put(&JobRecord::BatchCancelled(id));
    assert!(run.fold.batch(id).unwrap().over.is_some());
    assert_eq!(run.ask(&of(id, 0)).1, Submission::BatchOver);
}
