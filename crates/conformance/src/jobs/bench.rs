//! What a case works with: the calls of the port.

use super::settings::Settings;
use bytes::Bytes;
use trellis_core::jobs::{
    Assigned, Attempt, AttemptEnd, Batch, BatchEvent, BatchId, BatchNews, BatchSpec, Cached, Chunk,
    InBatch, JobEvent, JobId, JobNews, JobSpec, JobState, JobView, JobWatch, Jobs, ListJobs,
    MAX_PAYLOAD_BYTES, OnFailure, Progress, QueueId, QueueSpec, QueueState, Report, Reserve,
    Submitted,
};
use trellis_core::limits::{ActualAmount, Charge};
use trellis_core::{EntryKey, Error, ErrorCode, Key, Micros, Name, Result};

/// Longer than any case.
pub(super) const HOUR: Micros = Micros::from_secs(3600);
/// One second.
pub(super) const SECOND: Micros = Micros::from_secs(1);

pub(super) fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

/// The code of the error that a call must end with.
#[track_caller]
pub(super) fn code<T>(result: Result<T>) -> ErrorCode {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => error.code,
    }
}

/// The field at fault of the error that a call must end with.
#[track_caller]
pub(super) fn namely<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("not refused"),
        Err(Error { violation, .. }) => violation.unwrap().field,
    }
}

/// A job is done, with this result.
pub(super) fn succeeded(result: &str) -> AttemptEnd {
    AttemptEnd::Succeeded(Bytes::copy_from_slice(result.as_bytes()))
}

/// An attempt in vain that may be made again.
pub(super) fn failed() -> AttemptEnd {
    AttemptEnd::Failed {
        error: "no".into(),
        retryable: true,
        retry_after: None,
    }
}

/// A namespace of the backend under test, and its time.
pub type Bench = crate::Bench<dyn Jobs>;

impl Bench {
    pub(super) fn queue(&self, name: &str) -> QueueId {
        QueueId {
            namespace: self.namespace.clone(),
            name: Name::new(name, "queue").unwrap(),
        }
    }

    /// A job of the queue `ocr`.
    pub(super) fn job(&self, data: &str) -> JobSpec {
        JobSpec::new(self.queue("ocr"), data.to_owned())
    }

    pub(super) fn job_with(&self, data: &str, change: impl FnOnce(&mut JobSpec)) -> JobSpec {
        let mut job = self.job(data);
        change(&mut job);
        job
    }

    pub(super) async fn ask(&self, job: JobSpec) -> Result<Submitted> {
        self.port().submit(job).await
    }

    /// Submits a job, which is taken in.
    pub(super) async fn submit(&self, job: JobSpec) -> JobId {
        self.ask(job).await.unwrap().job
    }

    /// Submits jobs of the queue `ocr`, in order.
    pub(super) async fn submit_all(&self, data: &[&str]) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for data in data {
            jobs.push(self.submit(self.job(data)).await);
        }
        jobs
    }

    /// Asks for jobs of a queue.
    pub(super) fn reserve_of(&self, queue: &str, max_jobs: usize, max_wait: Micros) -> Reserve {
        Reserve {
            queue: self.queue(queue),
            worker: Name::new("worker", "worker").unwrap(),
            max_jobs,
            max_bytes: MAX_PAYLOAD_BYTES,
            max_wait,
            lease: None,
        }
    }

    pub(super) async fn reserve(
        &self,
        queue: &str,
        max_jobs: usize,
        max_wait: Micros,
    ) -> Result<Vec<Assigned>> {
        let reserve = self.reserve_of(queue, max_jobs, max_wait);
        self.port().reserve(reserve).await
    }

    /// What there is of `ocr` now, at most so many.
    pub(super) async fn get(&self, max_jobs: usize) -> Vec<Assigned> {
        self.reserve("ocr", max_jobs, Micros::ZERO).await.unwrap()
    }

    /// The payloads of what there is now, in order.
    pub(super) async fn names(&self, max_jobs: usize) -> Vec<String> {
        let got = self.get(max_jobs).await;
        let names = got
            .iter()
            .map(|it| String::from_utf8(it.payload.data.to_vec()).unwrap());
        names.collect()
    }

    /// The next job of `ocr`, waited for.
    pub(super) async fn one(&self) -> Assigned {
        let mut got = self.reserve("ocr", 1, HOUR).await.unwrap();
        assert_eq!(got.len(), 1);
        got.remove(0)
    }

    pub(super) async fn end(&self, got: &Assigned, how: AttemptEnd) -> Result<()> {
        let port = self.port();
        let ends = vec![(attempt(got), how)];
        port.finish(&self.namespace, ends).await.remove(0)
    }

    pub(super) async fn extend(&self, got: &Assigned, span: Option<Micros>) -> Result<Micros> {
        let port = self.port();
        port.extend(&self.namespace, attempt(got), span).await
    }

    /// Nothing is heard of its worker any more.
    pub(super) fn let_go(&self, got: &Assigned) {
        let within = Settings::default().reattach_time;
        self.port().let_go(&self.namespace, &[attempt(got)], within);
    }

    pub(super) async fn progress(&self, got: &Assigned, checkpoint: &str) -> Result<()> {
        let progress = Progress {
            report: None,
            checkpoint: Some(Bytes::copy_from_slice(checkpoint.as_bytes())),
        };
        let port = self.port();
        port.progress(&self.namespace, attempt(got), progress).await
    }

    pub(super) async fn append(&self, got: &Assigned, index: u32, data: &str) -> Result<()> {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let chunk = Chunk { index, data };
        let port = self.port();
        port.append(&self.namespace, attempt(got), chunk).await
    }

    /// Tells how far an attempt is, of ten.
    pub(super) async fn report(&self, got: &Assigned, done: u64) -> Result<()> {
        let report = Some(Report {
            done,
            total: Some(10),
            message: "pages".into(),
        });
        let progress = Progress {
            report,
            checkpoint: None,
        };
        let port = self.port();
        port.progress(&self.namespace, attempt(got), progress).await
    }

    /// A job of `ocr` whose result is kept for a second.
    pub(super) fn cached(&self, data: &str, key: &str) -> JobSpec {
        self.job_with(data, |job| {
            let key = EntryKey::new(key, "cache_key").unwrap();
            job.options.cached = Some(Cached { key, ttl: SECOND });
        })
    }

    pub(super) fn batch_of(&self, count: u32) -> BatchSpec {
        BatchSpec {
            queue: self.queue("ocr"),
            count,
            max_concurrent: None,
            on_failure: OnFailure::Collect,
            request: None,
        }
    }

    pub(super) async fn create(&self, spec: BatchSpec) -> BatchId {
        let created = self.port().create_batch(spec).await;
        created.unwrap().0.id
    }

    /// A job of a batch, named by its index.
    pub(super) fn in_batch(&self, batch: BatchId, index: u32) -> JobSpec {
        self.job_with(&index.to_string(), |job| {
            job.options.batch = Some(InBatch { batch, index });
        })
    }

    /// Makes a batch, and submits its jobs.
    pub(super) async fn batch(&self, spec: BatchSpec) -> (BatchId, Vec<JobId>) {
        let count = spec.count;
        let batch = self.create(spec).await;
        let mut jobs = Vec::new();
        for index in 0..count {
            jobs.push(self.submit(self.in_batch(batch, index)).await);
        }
        (batch, jobs)
    }

    pub(super) async fn look_at(&self, batch: BatchId) -> Batch {
        let view = self.port().batch(&self.namespace, batch).await;
        view.unwrap().batch
    }

    /// All that a reader of a batch gets from a number on, in short: up to its end, behind which nothing comes.
    pub(super) async fn watch_batch(&self, batch: BatchId, from: u64) -> Vec<(u64, String)> {
        let port = self.port();
        let watch = port.watch_batch(&self.namespace, batch, from).await;
        let mut watch = watch.unwrap();
        let mut all = Vec::new();
        while let Some(BatchEvent { number, news }) = watch.next().await.unwrap() {
            let said = match news {
                BatchNews::Ended { view, result } => {
                    let result = result.map(|it| String::from_utf8(it.to_vec()).unwrap());
                    let index = view.options.batch.unwrap().index;
                    format!("{index} {:?} {}", view.state, result.unwrap_or_default())
                }
                BatchNews::Over(view) => format!("{:?}", view.batch.state()),
            };
            all.push((number, said));
        }
        all
    }

    /// A job of `ocr` that charges so many units.
    pub(super) fn charged(&self, data: &str, limit: &str, amount: i64) -> JobSpec {
        self.job_with(data, |job| {
            let limit = Name::new(limit, "limit").unwrap();
            let charge = Charge::new(limit, Key::new("", "key").unwrap(), amount);
            job.options.charges = vec![charge.unwrap()];
        })
    }

    /// An attempt has used so much of `pages`.
    pub(super) async fn used(&self, got: &Assigned, amount: i64) -> Result<()> {
        let used = vec![ActualAmount {
            limit: Name::new("pages", "limit").unwrap(),
            key: Key::new("", "key").unwrap(),
            amount,
        }];
        let port = self.port();
        port.used(&self.namespace, attempt(got), used).await
    }

    pub(super) async fn watch(&self, job: JobId, from: u64) -> Box<dyn JobWatch> {
        let watch = self.port().watch(&self.namespace, job, from).await;
        watch.unwrap()
    }

    pub(super) async fn look(&self, job: JobId) -> JobView {
        self.port().job(&self.namespace, job).await.unwrap()
    }

    pub(super) async fn state(&self, job: JobId) -> JobState {
        self.look(job).await.state
    }

    /// A job once it has ended, and its result.
    pub(super) async fn wait(
        &self,
        job: JobId,
        max_wait: Micros,
    ) -> Result<(JobView, Option<Bytes>)> {
        self.port().wait(&self.namespace, job, max_wait).await
    }

    pub(super) async fn cancel(&self, job: JobId) -> Result<JobView> {
        self.port().cancel(&self.namespace, job).await
    }

    pub(super) async fn set(&self, spec: QueueSpec) -> QueueState {
        self.port()
            .set_queue(self.queue("ocr"), spec)
            .await
            .unwrap()
    }

    pub(super) async fn purge(&self, states: &[JobState]) -> Result<u64> {
        let port = self.port();
        port.purge(self.queue("ocr"), states.to_vec()).await
    }

    /// A page of the jobs of `ocr` in these states, and whether there are more.
    pub(super) async fn page(
        &self,
        states: &[JobState],
        after: Option<JobId>,
        page_size: usize,
    ) -> (Vec<JobId>, bool) {
        let list = ListJobs {
            queue: self.queue("ocr"),
            states: states.to_vec(),
            after,
            page_size,
        };
        let (jobs, more) = self.port().jobs(list).await.unwrap();
        (jobs.into_iter().map(|job| job.id).collect(), more)
    }

    /// The call itself, for a task of its own.
    pub(super) fn backend(&self) -> std::sync::Arc<dyn Jobs> {
        self.port()
    }
}

/// The next thing that a reader gets, in short.
pub(super) async fn next(watch: &mut Box<dyn JobWatch>) -> (u64, String) {
    let event = watch.next().await.unwrap().expect("nothing comes any more");
    let JobEvent { number, news, .. } = event;
    let text = |data: &Bytes| String::from_utf8(data.to_vec()).unwrap();
    let said = match news {
        JobNews::Reset => "reset".to_owned(),
        JobNews::Chunk(data) => text(&data),
        JobNews::Progress { report, .. } => format!("{} done", report.done),
        JobNews::Ended { view, result } => {
            let result = result.as_ref().map(text);
            format!("{:?} {}", view.state, result.unwrap_or_default())
        }
    };
    (number, said)
}

/// All that a reader gets, in short, up to the outcome, behind which nothing comes.
pub(super) async fn rest(watch: &mut Box<dyn JobWatch>) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    while all
        .last()
        .is_none_or(|(_, said): &(u64, String)| !said.starts_with(char::is_uppercase))
    {
        all.push(next(watch).await);
    }
    assert_eq!(watch.next().await.unwrap(), None);
    all
}

pub(super) fn attempt(got: &Assigned) -> Attempt {
    Attempt {
        job: got.job,
        lease: got.lease,
    }
}
