//! What of requests is refused, and with which field.

use super::super::Context;
use super::answers::lease_id;
use super::batches::create_batch;
use super::requests::{attempt, chunk, end, progress, submit};
use super::settings::{purge, requeue};
use super::watching::from_sequence;
use crate::ServiceConfig;
use trellis_core::jobs::{Attempt, JobId, LeaseId};
use trellis_core::{Namespace, Result, Time};
use trellis_proto::v1;

fn refused<T: std::fmt::Debug>(field: &str, convert: impl FnOnce(&Context<'_>) -> Result<T>) {
    let home = Namespace::new("default", "namespace").unwrap();
    let context = Context {
        config: &ServiceConfig::default(),
        namespace: &home,
        deadline: None,
    };
    let error = convert(&context).unwrap_err();
    assert_eq!(error.violation.unwrap().field, field);
}

fn submission(change: impl FnOnce(&mut v1::JobSpec)) -> v1::JobServiceSubmitRequest {
    let mut job = v1::JobSpec {
        queue: "ocr".to_owned(),
        options: Some(v1::JobOptions::default()),
        ..Default::default()
    };
    change(&mut job);
    v1::JobServiceSubmitRequest {
        job: Some(job),
        ..Default::default()
    }
}

#[track_caller]
fn bad_job(field: &str, change: impl FnOnce(&mut v1::JobSpec)) {
    refused(field, |context| {
        submit(submission(change), context, Time(0))
    });
}

fn with(change: impl FnOnce(&mut v1::JobOptions)) -> impl FnOnce(&mut v1::JobSpec) {
    |job| change(job.options.get_or_insert_default())
}

#[test]
fn what_is_wrong_with_a_job_is_refused_with_its_path() {
    use v1::job_spec::Start;
    let span = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let never = prost_types::Timestamp {
        seconds: -1,
        nanos: 0,
    };
    bad_job("job.queue", |job| job.queue = String::new());
    bad_job("job.priority", |job| job.priority = Some(10));
    bad_job("job.priority", |job| job.priority = Some(-1));
    bad_job("job.run_at", |job| job.start = Some(Start::RunAt(never)));
    bad_job("job.delay", |job| job.start = Some(Start::Delay(span(-1))));
    bad_job("job.payload", |job| {
        let data = vec![0; 1024 * 1024 + 1].into();
        job.payload = Some(v1::JobPayload {
            content: Some(v1::job_payload::Content::Data(data)),
        });
    });
}

#[test]
fn what_is_wrong_with_its_options_is_too() {
    let span = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let never = prost_types::Timestamp {
        seconds: -1,
        nanos: 0,
    };
    bad_job("job.options.deadline", with(|it| it.deadline = Some(never)));
    bad_job("job.options.timeout", with(|it| it.timeout = Some(span(0))));
    bad_job("job.options.weight", with(|it| it.weight = 1));
    bad_job(
        "job.options.weight",
        with(|it| {
            it.fair_key = "a".to_owned();
            it.weight = 1_001;
        }),
    );
    bad_job(
        "job.options.fair_key",
        with(|it| it.fair_key = "\n".to_owned()),
    );
    bad_job(
        "job.options.concurrency_key",
        with(|it| it.concurrency_key = "x".repeat(257)),
    );
    bad_job(
        "job.options.labels",
        with(|it| {
            it.labels.insert("a\n".to_owned(), String::new());
        }),
    );
    bad_job(
        "job.options.trace_context",
        with(|it| it.trace_context = "x".repeat(4_097)),
    );
    let unique = |key: &str, on_conflict| v1::JobUnique {
        key: key.to_owned(),
        on_conflict,
    };
    bad_job(
        "job.options.unique.key",
        with(|it| it.unique = Some(unique("", 1))),
    );
    bad_job(
        "job.options.unique.on_conflict",
        with(|it| it.unique = Some(unique("a", 9))),
    );
}

#[test]
fn what_is_wrong_with_its_retries_is_too() {
    let span = |seconds| prost_types::Duration { seconds, nanos: 0 };
    let retry = |change: fn(&mut v1::JobRetryPolicy)| {
        with(move |it| change(it.retry.get_or_insert_default()))
    };
    bad_job(
        "job.options.retry.max_attempts",
        retry(|it| it.max_attempts = -1),
    );
    bad_job(
        "job.options.retry.max_attempts",
        retry(|it| it.max_attempts = 1_001),
    );
    bad_job(
        "job.options.retry.jitter_percent",
        retry(|it| it.jitter_percent = Some(101)),
    );
    let reversed = v1::JobRetryPolicy {
        min_backoff: Some(span(2)),
        max_backoff: Some(span(1)),
        ..Default::default()
    };
    bad_job(
        "job.options.retry.max_backoff",
        with(|it| it.retry = Some(reversed)),
    );
}

#[test]
fn another_body_has_another_digest_however_labels_are_ordered() {
    let home = Namespace::new("default", "namespace").unwrap();
    let context = Context {
        config: &ServiceConfig::default(),
        namespace: &home,
        deadline: None,
    };
    let digest = |labels: &[(&str, &str)], now| {
        let mut request = submission(with(|it| {
            let labels = labels.iter();
            it.labels = labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
        }));
        request.request_id = "r".to_owned();
        let spec = submit(request, &context, Time(now)).unwrap();
        spec.options.request.unwrap().digest
    };
    let first = digest(&[("a", "1"), ("b", "2")], 1);
    assert_eq!(digest(&[("b", "2"), ("a", "1")], 2), first);
    assert_ne!(digest(&[("b", "1"), ("a", "2")], 1), first);
}

#[test]
fn a_lease_id_is_taken_as_it_was_given_and_in_no_other_spelling() {
    let given = Attempt {
        job: JobId(u128::MAX / 3),
        lease: LeaseId {
            epoch: 7,
            sequence: u64::MAX,
        },
    };
    assert_eq!(attempt(&lease_id(given)), Ok(given));
    let upper = lease_id(given).to_uppercase();
    for odd in ["", "-", "1-2-3", &upper, &format!("{}0", lease_id(given))] {
        let error = attempt(odd).unwrap_err();
        assert_eq!(error.violation.unwrap().field, "lease_id", "{odd:?}");
    }
}

#[test]
fn an_end_names_what_is_wrong_with_it() {
    use v1::job_attempt_end::End;
    let bad = |field: &str, how: Option<End>| {
        let lease_id = lease_id(Attempt {
            job: JobId(1),
            lease: LeaseId::default(),
        });
        let wrong = v1::JobAttemptEnd { lease_id, end: how };
        refused(field, |context| end(wrong, context));
    };
    bad("end", None);
    let result = vec![0; 1024 * 1024 + 1].into();
    bad(
        "succeeded.result",
        Some(End::Succeeded(v1::JobSucceeded { result })),
    );
    let error = "x".repeat(4_097);
    let failed = v1::JobFailed {
        error,
        ..Default::default()
    };
    bad("failed.error", Some(End::Failed(failed)));
    bad(
        "throttled.retry_after",
        Some(End::Throttled(v1::JobThrottled::default())),
    );
}

#[test]
fn what_is_wrong_with_charges_batch_and_cache_key_is_refused_with_its_path() {
    let charge = |change: fn(&mut v1::Charge)| {
        let mut charge = v1::Charge {
            limit: "pages".to_owned(),
            amount: 1,
            ..Default::default()
        };
        change(&mut charge);
        with(move |it| it.charges = vec![charge])
    };
    bad_job(
        "job.options.charges[0].limit",
        charge(|it| it.limit.clear()),
    );
    bad_job("job.options.charges[0].amount", charge(|it| it.amount = 0));
    let spec = charge(|it| it.spec = Some(v1::LimitSpec::default()));
    bad_job("job.options.charges[0].spec.kind", spec);
    let nine = vec![v1::Charge::default(); 9];
    bad_job("job.options.charges", with(|it| it.charges = nine));
    let place = |batch_id: &str, index| {
        let batch_id = batch_id.to_owned();
        with(move |it| it.batch = Some(v1::JobInBatch { batch_id, index }))
    };
    bad_job("job.options.batch.batch_id", place("1", 0));
    let id = JobId(1).to_string();
    bad_job("job.options.batch.index", place(&id, -1));
    bad_job(
        "job.options.cache_key",
        with(|it| it.cache_key = "x".repeat(5_000)),
    );
    let ttl = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    bad_job("job.options.cache_ttl", with(|it| it.cache_ttl = ttl(1)));
    bad_job(
        "job.options.cache_ttl",
        with(|it| {
            it.cache_key = "a".to_owned();
            it.cache_ttl = ttl(0);
        }),
    );
}

fn lease() -> String {
    lease_id(Attempt {
        job: JobId(1),
        lease: LeaseId::default(),
    })
}

#[test]
fn progress_names_what_is_wrong_with_it() {
    let bad = |field: &str, change: fn(&mut v1::JobProgress)| {
        let mut said = v1::JobProgress {
            lease_id: lease(),
            ..Default::default()
        };
        change(&mut said);
        refused(field, |context| progress(said, context));
    };
    bad("progress", |_| {});
    bad("lease_id", |it| it.lease_id.clear());
    bad("checkpoint", |it| {
        it.checkpoint = Some(vec![0; 1024 * 1024 + 1].into());
    });
    bad("report.done", |it| {
        it.report = Some(v1::JobReport {
            done: -1,
            ..Default::default()
        });
    });
    bad("report.total", |it| {
        it.report = Some(v1::JobReport {
            total: Some(-1),
            ..Default::default()
        });
    });
    bad("report.done", |it| {
        it.report = Some(v1::JobReport {
            done: 2,
            total: Some(1),
            ..Default::default()
        });
    });
    bad("report.message", |it| {
        it.report = Some(v1::JobReport {
            message: "x".repeat(4_097),
            ..Default::default()
        });
    });
    bad("used[0].limit", |it| {
        it.used = vec![v1::ActualAmount::default()];
    });
}

#[test]
fn a_piece_names_what_is_wrong_with_it() {
    let bad = |field: &str, change: fn(&mut v1::JobChunk)| {
        let mut piece = v1::JobChunk {
            lease_id: lease(),
            index: 0,
            data: "text".into(),
        };
        change(&mut piece);
        refused(field, |context| chunk(piece, context));
    };
    bad("lease_id", |it| it.lease_id.clear());
    bad("index", |it| it.index = -1);
    bad("data", |it| it.data = vec![0; 1024 * 1024 + 1].into());
}

#[test]
fn a_batch_names_what_is_wrong_with_it() {
    let bad = |field: &str, change: fn(&mut v1::JobServiceCreateBatchRequest)| {
        let mut request = v1::JobServiceCreateBatchRequest {
            queue: "ocr".to_owned(),
            jobs: 1,
            ..Default::default()
        };
        change(&mut request);
        refused(field, |context| create_batch(request, context));
    };
    bad("queue", |it| it.queue.clear());
    for jobs in [-1, 0, 100_001] {
        refused("jobs", |context| {
            let request = v1::JobServiceCreateBatchRequest {
                queue: "ocr".to_owned(),
                jobs,
                ..Default::default()
            };
            create_batch(request, context)
        });
    }
    bad("max_concurrent", |it| it.max_concurrent = -1);
    bad("on_failure", |it| it.on_failure = 9);
    bad("request_id", |it| it.request_id = "\n".to_owned());
}

#[test]
fn purge_requeue_and_watch_name_what_is_wrong_with_them() {
    refused("states[1]", |context| {
        let request = v1::JobServicePurgeRequest {
            queue: "ocr".to_owned(),
            states: vec![1, 99],
            ..Default::default()
        };
        purge(request, context)
    });
    for max_jobs in [-1, 1_001] {
        refused("max_jobs", |context| {
            let request = v1::JobServiceRequeueRequest {
                queue: "ocr".to_owned(),
                max_jobs,
                ..Default::default()
            };
            requeue(request, context)
        });
    }
    refused("from_sequence", |_| from_sequence(-1));
}
