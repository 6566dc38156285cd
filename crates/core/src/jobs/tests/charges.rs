//! Charges against limits: who is passed by, and what is to be settled.

use super::super::*;
use super::harness::*;
use crate::Micros;
use crate::limits::Usage;

fn charged(limit: &str) -> JobSpec {
    with(|spec| spec.options.charges = vec![charge(limit)])
}

fn settlements(run: &Run) -> Vec<(LeaseId, Usage)> {
    let due = run.fold.due_settlements();
    due.map(|(lease, due)| (lease, due.taken.usage.clone()))
        .collect()
}

fn as_reserved() -> Usage {
    Usage::Actual(Vec::new())
}

#[test]
fn who_waits_for_a_limit_is_passed_by_and_the_order_stays() {
    let mut run = Run::new();
    let specs = [
        charged("llm"),
        spec(),
        charged("ocr"),
        charged("llm"),
        charged("ocr"),
        spec(),
    ];
    let jobs: Vec<JobId> = specs.iter().map(|spec| run.submit(spec)).collect();
    let next: Vec<JobId> = run.fold.next(&queue("ocr")).collect();
    assert_eq!(next, jobs);
    let shut = |limit: &'static str| {
        move |buckets: &ChargedBuckets| buckets.iter().any(|it| it.limit.as_str() == limit)
    };
    let next: Vec<JobId> = run.fold.next_unless(&queue("ocr"), shut("llm")).collect();
    assert_eq!(next, [jobs[1], jobs[2], jobs[4], jobs[5]]);
    // A line that is shut while it is told ends there.
    let open = std::cell::Cell::new(2);
    let once = |_: &ChargedBuckets| open.replace(open.get() - 1) <= 0;
    let next: Vec<JobId> = run.fold.next_unless(&queue("ocr"), once).collect();
    assert_eq!(next, [jobs[0], jobs[1], jobs[2], jobs[5]]);
    assert_eq!(run.drain(), jobs);
}

#[test]
fn what_an_attempt_has_taken_is_to_be_settled_once_however_it_ends() {
    for how in [
        AttemptEnd::Succeeded("text".into()),
        failed(),
        AttemptEnd::Throttled(SECOND),
        AttemptEnd::Lost,
    ] {
        let mut run = Run::new();
        run.submit(&charged("llm"));
        let held = run.next().unwrap();
        assert!(settlements(&run).is_empty());
        run.end(held, how);
        assert_eq!(settlements(&run), [(held.1, as_reserved())]);
        assert_eq!(run.put(&JobRecord::Settled(vec![held.1])), Verdict::Done);
        assert_eq!(run.put(&JobRecord::Settled(vec![held.1])), Verdict::Void);
        assert!(settlements(&run).is_empty());
    }
    let mut run = Run::new();
    let job = run.submit(&charged("llm"));
    let held = run.next().unwrap();
    run.put(&JobRecord::Cancelled(job));
    assert_eq!(settlements(&run), [(held.1, as_reserved())]);
}

#[test]
fn what_was_not_begun_is_refunded_and_what_was_used_is_what_the_worker_said_last() {
    let mut run = Run::new();
    let job = run.submit(&charged("llm"));
    let held = run.next().unwrap();
    run.end(held, AttemptEnd::Released);
    assert_eq!(settlements(&run), [(held.1, Usage::RefundAll)]);
    run.put(&JobRecord::Settled(vec![held.1]));
    let held = run.next().unwrap();
    for amount in [9, 2] {
        let (job, lease) = held;
        let used = vec![used(amount)];
        let said = JobRecord::Used { job, lease, used };
        assert_eq!(run.put(&said), Verdict::Done);
    }
    run.pass(Micros::from_secs(1));
    run.end(held, AttemptEnd::Lost);
    assert_eq!(settlements(&run), [(held.1, Usage::Actual(vec![used(2)]))]);
    let (job, lease) = (job, held.1);
    let used = vec![used(1)];
    let late = JobRecord::Used { job, lease, used };
    assert_eq!(run.put(&late), Verdict::Void);
}

#[test]
fn a_job_that_never_gets_what_it_charges_fails_unless_it_runs() {
    let mut run = Run::new();
    let job = run.submit(&charged("llm"));
    let refused = JobRecord::Refused {
        job,
        error: "too much".into(),
    };
    let held = run.next().unwrap();
    assert_eq!(run.put(&refused), Verdict::Void);
    run.end(held, AttemptEnd::Released);
    assert_eq!(run.put(&refused), Verdict::Done);
    let job = run.fold.job(job).unwrap();
    assert_eq!((job.state(), job.attempts), (JobState::Failed, 0));
    assert_eq!(job.error.as_deref(), Some("too much"));
}
