//! How jobs come in.

use crate::jobs::prelude::*;
use trellis_core::{Name, RequestId, UniqueKey};

fn requested(bench: &Bench, id: &str, digest: u64) -> JobSpec {
    bench.job_with(&format!("page {digest}"), |job| {
        let id = RequestId::new(id, "request_id").unwrap();
        job.options.request = Some(Request { id, digest });
    })
}

fn unique(bench: &Bench, data: &str, on_conflict: OnConflict) -> JobSpec {
    bench.job_with(data, |job| {
        let key = UniqueKey::new("page 1", "unique_key").unwrap();
        job.options.unique = Some(Unique { key, on_conflict });
    })
}

pub async fn a_job_is_run_and_its_result_told(bench: &Bench) {
    let submitted = bench.ask(bench.job("page")).await.unwrap();
    assert_eq!(submitted.decision, Decision::New);
    assert_eq!(submitted.durability, bench.backend().durability());
    let job = submitted.job;
    assert_eq!(bench.state(job).await, JobState::Ready);
    let got = bench.one().await;
    assert_eq!((got.job, got.attempt), (job, 1));
    assert_eq!(got.payload.data, "page");
    assert_eq!(got.checkpoint, None);
    bench.assert_left(got.remaining, Settings::default().lease);
    assert_eq!(bench.state(job).await, JobState::Running);
    bench.end(&got, succeeded("text")).await.unwrap();
    let (view, result) = bench.wait(job, HOUR).await.unwrap();
    assert_eq!((view.state, view.attempts), (JobState::Succeeded, 1));
    assert_eq!(result.unwrap(), "text");
}

pub async fn a_job_is_told_as_it_was_submitted(bench: &Bench) {
    let asked = bench.job_with("cache://page", |job| {
        job.priority = 7;
        job.payload.is_reference = true;
        job.options.timeout = Some(HOUR);
        "00-1-2-01".clone_into(&mut job.options.trace);
        let label = Name::new("tenant", "labels").unwrap();
        job.options.labels = vec![(label, "acme".to_owned())];
    });
    let job = bench.submit(asked.clone()).await;
    let view = bench.look(job).await;
    assert_eq!((view.id, &view.queue), (job, &asked.queue));
    assert_eq!((view.priority, &view.options), (7, &asked.options));
    assert_eq!((view.lease, view.ended), (None, None));
    let got = bench.one().await;
    assert_eq!((got.payload, got.options), (asked.payload, asked.options));
    let lease = bench.look(job).await.lease.unwrap();
    assert_eq!((lease.id, lease.worker.as_str()), (got.lease, "worker"));
}

pub async fn a_repeated_request_is_told_its_first_job(bench: &Bench) {
    let job = bench.submit(requested(bench, "r", 1)).await;
    let again = bench.ask(requested(bench, "r", 1)).await.unwrap();
    assert_eq!((again.job, again.decision), (job, Decision::Repeat));
    assert_ne!(bench.submit(requested(bench, "s", 1)).await, job);
    let got = bench.one().await;
    bench.end(&got, succeeded("text")).await.unwrap();
    let again = bench.ask(requested(bench, "r", 1)).await.unwrap();
    assert_eq!((again.job, again.decision), (job, Decision::Repeat));
}

pub async fn a_request_id_with_another_body_is_refused(bench: &Bench) {
    bench.submit(requested(bench, "r", 1)).await;
    let refused = bench.ask(requested(bench, "r", 2)).await;
    assert_eq!(code(refused), ErrorCode::RequestIdReused);
    assert_eq!(bench.names(10).await.len(), 1);
}

pub async fn a_unique_job_is_refused_or_told_or_takes_the_place(bench: &Bench) {
    let first = bench.submit(unique(bench, "a", OnConflict::Reject)).await;
    for (on_conflict, decision) in [
        (OnConflict::Reject, Decision::Rejected),
        (OnConflict::Return, Decision::Existing),
    ] {
        let told = bench.ask(unique(bench, "b", on_conflict)).await.unwrap();
        assert_eq!((told.job, told.decision), (first, decision));
    }
    let told = bench.ask(unique(bench, "c", OnConflict::Replace)).await;
    assert_eq!(told.unwrap().decision, Decision::Replaced(first));
    assert_eq!(bench.state(first).await, JobState::Replaced);
    let got = bench.one().await;
    assert_eq!(got.payload.data, "c");
    bench.end(&got, succeeded("text")).await.unwrap();
    let next = bench.ask(unique(bench, "d", OnConflict::Reject)).await;
    assert_eq!(next.unwrap().decision, Decision::New);
}

pub async fn jobs_of_one_call_are_answered_by_themselves(bench: &Bench) {
    let bad = bench.job_with("b", |job| job.priority = 10);
    let jobs = vec![bench.job("a"), bad, bench.job("c")];
    let mut told = bench.backend().submit_batch(jobs).await;
    let last = told.pop().unwrap().unwrap();
    assert_eq!(namely(told.pop().unwrap()), "priority");
    let first = told.pop().unwrap().unwrap();
    assert_eq!(bench.page(&[], None, 10).await.0.len(), 2);
    assert_ne!(first.job, last.job);
    assert_eq!(bench.names(10).await, ["a", "c"]);
}

pub async fn a_submission_whose_caller_has_gone_stands(bench: &Bench) {
    drop(bench.backend().submit(bench.job("a")));
    let got = bench.one().await;
    assert_eq!(got.payload.data, "a");
}

pub async fn queues_and_namespaces_do_not_see_each_other(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let other = bench.beside("other");
    assert!(other.get(10).await.is_empty());
    let none = bench.reserve("mail", 10, Micros::ZERO).await.unwrap();
    assert!(none.is_empty());
    let unknown = other.backend().job(&other.namespace, job).await;
    assert_eq!(code(unknown), ErrorCode::JobNotFound);
    assert_eq!(code(other.cancel(job).await), ErrorCode::JobNotFound);
    let got = bench.one().await;
    let attempt = (attempt(&got), succeeded("text"));
    let mut ended = other
        .backend()
        .finish(&other.namespace, vec![attempt])
        .await;
    assert_eq!(code(ended.remove(0)), ErrorCode::JobNotFound);
}
