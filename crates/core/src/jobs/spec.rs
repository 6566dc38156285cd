//! What a caller says of a job and of a queue, and its bounds.

use super::batch::InBatch;
use super::charges::check_job_charges;
use super::ids::JobId;
use super::join::Cached;
use crate::hash::hash;
use crate::limits::Charge;
use crate::log::Partition;
use crate::{
    ConcurrencyKey, FairKey, Micros, Name, Namespace, RequestId, Result, Time, UniqueKey,
    check_rules,
};
use bytes::Bytes;

/// The most bytes of a payload, of a result and of a checkpoint.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

/// The most labels of a job.
pub const MAX_LABELS: usize = 32;

/// The most bytes of a label's value, of a trace context and of an error's text.
pub const MAX_TEXT_BYTES: usize = 4_096;

/// Priorities are below it; the highest goes first.
pub const PRIORITIES: u8 = 10;

/// The priority of a job that names none.
pub const DEFAULT_PRIORITY: u8 = 5;

/// The largest weight of a fair key.
pub const MAX_WEIGHT: u32 = 1_000;

/// The longest span that a job or a queue may name.
const MAX_SPAN: Micros = Micros::from_secs(366 * 24 * 3_600);

/// How long ids of requests and of jobs that have ended are remembered at least, in the time of the log.
pub const MEMORY: Micros = Micros::from_secs(600);

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId {
    /// Whose.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Name,
}

impl QueueId {
    /// The partition in which it stands, of so many: the same for ever, on every daemon.
    #[must_use]
    pub fn partition(&self, partitions: u32) -> Partition {
        // No name contains a control character, so the parts cannot run together.
        let (namespace, name) = (self.namespace.as_str(), self.name.as_str());
        let hash = hash([namespace.as_bytes(), b"\0", name.as_bytes()]);
        // Below the count, which is a `u32`.
        Partition(u32::try_from(hash % u64::from(partitions.max(1))).unwrap_or_default())
    }
}

/// What a worker gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// At most [`MAX_PAYLOAD_BYTES`].
    pub data: Bytes,
    /// The data names where the payload is: a cache key or a URL.
    pub is_reference: bool,
}

/// When a job runs again after an attempt in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after which the job is dead: 1 to 1,000.
    pub max_attempts: u32,
    /// The wait after the first attempt; doubled with each further one.
    pub min_backoff: Micros,
    /// The longest wait.
    pub max_backoff: Micros,
    /// By how many hundredths a wait may be shorter, at random: at most 100.
    pub jitter_percent: u8,
}

/// What a job does that names no policy.
pub(super) const DEFAULT_RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 10,
    min_backoff: Micros::from_secs(1),
    max_backoff: Micros::from_secs(300),
    jitter_percent: 20,
};

impl Default for RetryPolicy {
    fn default() -> Self {
        DEFAULT_RETRY
    }
}

impl RetryPolicy {
    /// How long a job waits after so many attempts, at least one. The jitter is a function of the job and the attempt, so that
    /// every reader of the log comes to the same.
    #[must_use]
    pub fn backoff(&self, job: JobId, attempts: u32) -> Micros {
        let doublings = attempts.saturating_sub(1).min(63);
        let wait = self.min_backoff.0.saturating_mul(1 << doublings);
        let wait = wait.min(self.max_backoff.0);
        let random = hash([&job.0.to_be_bytes(), &attempts.to_be_bytes()]);
        let most = u128::from(wait) * u128::from(self.jitter_percent) / 100;
        let less = (most * u128::from(random)) >> 64;
        Micros(wait - u64::try_from(less).unwrap_or(0))
    }
}

/// What happens when a job comes whose unique key another one has that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnConflict {
    /// The new one is refused.
    Reject,
    /// The answer tells the old one.
    Return,
    /// The old one ends as replaced, also if it runs.
    Replace,
}

/// Of jobs with one key a queue has one that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unique {
    /// The key.
    pub key: UniqueKey,
    /// What happens to a second one.
    pub on_conflict: OnConflict,
}

/// Whose turn a job takes among jobs of the same priority. Jobs that name none share the turns of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// Whose.
    pub fair_key: FairKey,
    /// The share of the key, 1 to [`MAX_WEIGHT`]: twice the weight, twice the jobs.
    pub weight: u32,
}

/// By which a repeated submission is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The caller's name for the submission, within the queue.
    pub id: RequestId,
    /// What distinguishes its body from another.
    pub digest: u64,
}

impl Request {
    /// A submission of this body.
    #[must_use]
    pub fn of(id: RequestId, body: &[u8]) -> Self {
        let digest = hash([body]);
        Self { id, digest }
    }
}

/// A job as it is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// Where.
    pub queue: QueueId,
    /// What the worker gets.
    pub payload: Payload,
    /// 0 to 9; the highest goes first.
    pub priority: u8,
    /// Not before this, as wall-clock time.
    pub run_at: Option<Time>,
    /// What most jobs leave as it is.
    pub options: JobOptions,
}

/// What most jobs leave as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// Over after this, as wall-clock time, whether it runs or not.
    pub deadline: Option<Time>,
    /// How long one attempt may take.
    pub timeout: Option<Micros>,
    /// What happens after an attempt in vain.
    pub retry: RetryPolicy,
    /// Beside whom it may not be.
    pub unique: Option<Unique>,
    /// Whose turn it takes.
    pub turn: Option<Turn>,
    /// Beside whom it may not run.
    pub concurrency_key: Option<ConcurrencyKey>,
    /// What each attempt takes of limits of its namespace before it begins: at most [`super::MAX_CHARGES`], of limits that are declared.
    pub charges: Vec<Charge>,
    /// Which job of which batch it is. Then it has no concurrency key, and its unique key replaces or is none.
    pub batch: Option<InBatch>,
    /// Where its result may be already, and is kept. Of jobs with one key a queue runs one at a time, and the others have its result.
    pub cached: Option<Cached>,
    /// For whoever looks.
    pub labels: Vec<(Name, String)>,
    /// W3C trace context of the submitter, as it was given.
    pub trace: String,
    /// By which a repeat is known.
    pub request: Option<Request>,
    /// The ended job that it is a repeat of.
    pub retry_of: Option<JobId>,
}

impl JobSpec {
    /// Bytes of what was asked for: payload and options.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.data.len() + self.options.bytes()
    }

    /// A job with nothing but its queue and its payload.
    #[must_use]
    pub fn new(queue: QueueId, data: impl Into<Bytes>) -> Self {
        Self {
            queue,
            payload: Payload {
                data: data.into(),
                is_reference: false,
            },
            priority: DEFAULT_PRIORITY,
            run_at: None,
            options: JobOptions::default(),
        }
    }

    /// Checks every bound. Errors: `InvalidField` with the field's path.
    pub fn check(&self) -> Result<()> {
        check_rules([
            (
                self.payload.data.len() <= MAX_PAYLOAD_BYTES,
                "payload",
                "must be at most 1 MiB; put more into the cache or elsewhere and send a reference",
            ),
            (
                self.priority < PRIORITIES,
                "priority",
                "must be 0 to 9; the highest goes first",
            ),
        ])?;
        self.options.check()
    }
}

impl JobOptions {
    /// Whether everything is left as it is, as most jobs leave it.
    pub(super) fn is_common(&self) -> bool {
        let Self {
            deadline,
            timeout,
            retry,
            unique,
            turn,
            concurrency_key,
            charges,
            batch,
            cached,
            labels,
            trace,
            request,
            retry_of,
        } = self;
        let named = unique.is_some() || concurrency_key.is_some() || request.is_some();
        let timed = deadline.is_some() || timeout.is_some() || *retry != DEFAULT_RETRY;
        let beside = turn.is_some() || !charges.is_empty() || batch.is_some() || cached.is_some();
        let told = !labels.is_empty() || !trace.is_empty() || retry_of.is_some();
        !(named || timed || beside || told)
    }

    /// Bytes of what is told to workers and to whoever looks.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let labels = self.labels.iter();
        let labels: usize = labels
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        labels + self.trace.len()
    }

    /// Checks every bound. Errors: `InvalidField` with the field's path.
    pub fn check(&self) -> Result<()> {
        let span = "must be above 0 and at most 366 days";
        let text = "must be at most 4096 bytes";
        let short = |text: &str| text.len() <= MAX_TEXT_BYTES;
        let mut values = self.labels.iter().map(|(_, value)| value.as_str());
        let timeout = self.timeout.unwrap_or(MAX_SPAN);
        let unique = self.unique.as_ref();
        let replaces = unique.is_none_or(|it| it.on_conflict == OnConflict::Replace);
        let ttl = self.cached.as_ref().map_or(MAX_SPAN, |it| it.ttl);
        let weight = self.turn.as_ref().map_or(1, |turn| turn.weight);
        check_rules([
            (
                (Micros::TICK..=MAX_SPAN).contains(&timeout),
                "timeout",
                span,
            ),
            ((Micros::TICK..=MAX_SPAN).contains(&ttl), "cache_ttl", span),
            (
                self.labels.len() <= MAX_LABELS,
                "labels",
                "must be at most 32",
            ),
            (values.all(short), "labels", text),
            (
                self.batch.is_none() || self.concurrency_key.is_none(),
                "concurrency_key",
                "must be left out in a batch: max_concurrent of the batch says how many run at once",
            ),
            (
                self.batch.is_none() || replaces,
                "unique.on_conflict",
                "must be to replace in a batch, each of whose jobs is to come",
            ),
            (short(&self.trace), "trace_context", text),
            (
                (1..=MAX_WEIGHT).contains(&weight),
                "weight",
                "must be 1 to 1000",
            ),
        ])?;
        check_job_charges(&self.charges)?;
        self.retry.check().map_err(|error| error.within("retry"))
    }
}

impl RetryPolicy {
    /// Checks every bound. Errors: `InvalidField`.
    fn check(&self) -> Result<()> {
        check_rules([
            (
                (1..=1_000).contains(&self.max_attempts),
                "max_attempts",
                "must be 1 to 1000",
            ),
            (
                self.max_backoff <= MAX_SPAN,
                "max_backoff",
                "must be at most 366 days",
            ),
            (
                self.min_backoff <= self.max_backoff,
                "min_backoff",
                "must be at most max_backoff",
            ),
            (
                self.jitter_percent <= 100,
                "jitter_percent",
                "must be at most 100",
            ),
        ])
    }
}

/// How a queue runs its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// No job is started.
    pub paused: bool,
    /// Jobs that run at once, at least 1.
    pub concurrency: Option<u32>,
    /// Jobs of one concurrency key that run at once, at least 1.
    pub key_concurrency: Option<u32>,
    /// Jobs that have not ended. Beyond, new ones are refused.
    pub max_jobs: Option<u64>,
    /// How long results are kept, from the end of the job.
    pub result_retention: Micros,
    /// How long jobs are kept that are dead or have failed.
    pub dead_retention: Micros,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            paused: false,
            concurrency: None,
            key_concurrency: None,
            max_jobs: None,
            result_retention: Micros::from_secs(24 * 3_600),
            dead_retention: Micros::from_secs(14 * 24 * 3_600),
        }
    }
}

impl QueueSpec {
    /// Checks every bound. Errors: `InvalidField`.
    pub fn check(&self) -> Result<()> {
        let positive = "must be at least 1";
        let span = "must be at most 366 days";
        check_rules([
            (self.concurrency != Some(0), "concurrency", positive),
            (self.key_concurrency != Some(0), "key_concurrency", positive),
            (self.max_jobs != Some(0), "max_jobs", positive),
            (self.result_retention <= MAX_SPAN, "result_retention", span),
            (self.dead_retention <= MAX_SPAN, "dead_retention", span),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobSpec {
        let queue = QueueId {
            namespace: Namespace::new("default", "namespace").unwrap(),
            name: Name::new("ocr", "queue").unwrap(),
        };
        JobSpec::new(queue, "page 1")
    }

    #[track_caller]
    fn refused(field: &str, change: impl FnOnce(&mut JobSpec)) {
        let mut job = job();
        change(&mut job);
        assert_eq!(job.check().unwrap_err().violation.unwrap().field, field);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_field() {
        assert_eq!(job().check(), Ok(()));
        refused("payload", |job| {
            job.payload.data = vec![0; MAX_PAYLOAD_BYTES + 1].into();
        });
        refused("priority", |job| job.priority = 10);
        refused("timeout", |job| job.options.timeout = Some(Micros::ZERO));
        refused("timeout", |job| {
            job.options.timeout = Some(Micros(u64::MAX));
        });
        refused("trace_context", |job| {
            job.options.trace = "x".repeat(MAX_TEXT_BYTES + 1);
        });
        refused("retry.max_attempts", |job| {
            job.options.retry.max_attempts = 0;
        });
        refused("retry.min_backoff", |job| {
            job.options.retry.max_backoff = Micros::ZERO;
        });
        refused("retry.jitter_percent", |job| {
            job.options.retry.jitter_percent = 101;
        });
        refused("labels", |job| {
            let label = (Name::new("a", "labels").unwrap(), String::new());
            job.options.labels = vec![label; MAX_LABELS + 1];
        });
        let charge = || {
            let limit = Name::new("llm", "limit").unwrap();
            Charge::new(limit, crate::Key::new("", "key").unwrap(), 1).unwrap()
        };
        refused("charges", |job| job.options.charges = vec![charge(); 9]);
        refused("charges[1]", |job| {
            job.options.charges = vec![charge(); 2];
        });
        refused("charges[0].spec", |job| {
            let mut charge = charge();
            charge.require_spec = true;
            job.options.charges = vec![charge];
        });
        refused("weight", |job| {
            let fair_key = FairKey::new("a", "fair_key").unwrap();
            job.options.turn = Some(Turn {
                fair_key,
                weight: 0,
            });
        });
        let none = QueueSpec {
            concurrency: Some(0),
            ..QueueSpec::default()
        };
        assert!(none.check().is_err());
    }

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_only_shortens_them() {
        let policy = RetryPolicy {
            jitter_percent: 50,
            ..RetryPolicy::default()
        };
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..200 {
            let job = JobId(number);
            for (attempts, full) in [(1, 1), (2, 2), (5, 16), (20, 300), (u32::MAX, 300)] {
                let full = Micros::from_secs(full);
                let wait = policy.backoff(job, attempts);
                assert!(wait <= full && wait >= Micros(full.0 / 2), "{wait:?}");
                assert_eq!(wait, policy.backoff(job, attempts));
            }
            seen.insert(policy.backoff(job, 1));
        }
        assert!(seen.len() > 100, "jitter spreads");
    }

    #[test]
    fn a_queue_stands_in_the_same_partition_for_ever() {
        let queue = job().queue;
        assert_eq!(queue.partition(16), Partition(2));
        assert_eq!(queue.partition(1), Partition(0));
    }
}
