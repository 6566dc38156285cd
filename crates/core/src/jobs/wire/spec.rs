//! Jobs and queues, as they are asked for, as bytes.

use super::super::ids::JobId;
use super::super::join::Cached;
use super::super::spec::{
    JobOptions, JobSpec, MAX_LABELS, OnConflict, Payload, QueueId, QueueSpec, Request, RetryPolicy,
    Turn, Unique,
};
use crate::wire::{Put, Take};
use crate::{
    ConcurrencyKey, EntryKey, FairKey, Micros, Name, Namespace, RequestId, Time, UniqueKey,
};
use bytes::Bytes;

impl Put {
    pub(super) fn queue(&mut self, queue: &QueueId) {
        self.text(queue.namespace.as_str());
        self.text(queue.name.as_str());
    }

    pub(super) fn queue_spec(&mut self, spec: &QueueSpec) {
        self.flag(spec.paused);
        self.optional(spec.concurrency.map(u64::from));
        self.optional(spec.key_concurrency.map(u64::from));
        self.optional(spec.max_jobs);
        self.number(spec.result_retention.0);
        self.number(spec.dead_retention.0);
    }

    pub(super) fn job_spec(&mut self, spec: &JobSpec) {
        self.queue(&spec.queue);
        self.flag(spec.payload.is_reference);
        self.byte(spec.priority);
        self.optional(spec.run_at.map(|at| at.0));
        self.options(&spec.options);
    }

    pub(super) fn request(&mut self, request: Option<&Request>) {
        self.flag(request.is_some());
        if let Some(request) = request {
            self.text(request.id.as_str());
            self.number(request.digest);
        }
    }

    /// Most jobs have none, which takes one byte: 0. Otherwise it tells what there is: 1 as at first, 2 with charges, a
    /// batch and a cache key too.
    pub(super) fn options(&mut self, options: &JobOptions) {
        if options.is_common() {
            self.byte(0);
            return;
        }
        let more = !options.charges.is_empty();
        let more = more || options.batch.is_some() || options.cached.is_some();
        self.byte(if more { 2 } else { 1 });
        self.optional(options.deadline.map(|at| at.0));
        self.optional(options.timeout.map(|span| span.0));
        self.number(u64::from(options.retry.max_attempts));
        self.number(options.retry.min_backoff.0);
        self.number(options.retry.max_backoff.0);
        self.byte(options.retry.jitter_percent);
        self.flag(options.unique.is_some());
        if let Some(unique) = &options.unique {
            self.text(unique.key.as_str());
            self.byte(match unique.on_conflict {
                OnConflict::Reject => 1,
                OnConflict::Return => 2,
                OnConflict::Replace => 3,
            });
        }
        self.flag(options.turn.is_some());
        if let Some(turn) = &options.turn {
            self.text(turn.fair_key.as_str());
            self.number(u64::from(turn.weight));
        }
        self.flag(options.concurrency_key.is_some());
        if let Some(key) = &options.concurrency_key {
            self.text(key.as_str());
        }
        self.number(options.labels.len() as u64);
        for (name, value) in &options.labels {
            self.text(name.as_str());
            self.text(value);
        }
        self.text(&options.trace);
        self.request(options.request.as_ref());
        self.flag(options.retry_of.is_some());
        if let Some(job) = options.retry_of {
            self.large(job.0);
        }
        if more {
            self.charges(&options.charges);
            self.in_batch(options.batch);
            self.flag(options.cached.is_some());
            if let Some(cached) = &options.cached {
                self.text(cached.key.as_str());
                self.number(cached.ttl.0);
            }
        }
    }
}

impl Take<'_> {
    pub(super) fn queue(&mut self) -> Option<QueueId> {
        Some(QueueId {
            namespace: Namespace::new(self.text()?, "namespace").ok()?,
            name: Name::new(self.text()?, "queue").ok()?,
        })
    }

    pub(super) fn queue_spec(&mut self) -> Option<QueueSpec> {
        let paused = self.flag()?;
        let (mut concurrency, mut key_concurrency, mut max_jobs) = (None, None, None);
        self.optional(&mut concurrency)?;
        self.optional(&mut key_concurrency)?;
        self.optional(&mut max_jobs)?;
        let spec = QueueSpec {
            paused,
            concurrency: concurrency.map(u32::try_from).transpose().ok()?,
            key_concurrency: key_concurrency.map(u32::try_from).transpose().ok()?,
            max_jobs,
            result_retention: Micros(self.number()?),
            dead_retention: Micros(self.number()?),
        };
        spec.check().is_ok().then_some(spec)
    }

    pub(super) fn job_spec(&mut self, data: &Bytes) -> Option<JobSpec> {
        let (queue, is_reference, priority) = (self.queue()?, self.flag()?, self.byte()?);
        let mut run_at = None;
        self.optional(&mut run_at)?;
        let spec = JobSpec {
            queue,
            payload: Payload {
                is_reference,
                data: data.clone(),
            },
            priority,
            run_at: run_at.map(Time),
            options: self.options()?,
        };
        spec.check().is_ok().then_some(spec)
    }

    pub(super) fn options(&mut self) -> Option<JobOptions> {
        let mut options = JobOptions::default();
        let more = match self.byte()? {
            0 => return Some(options),
            1 => false,
            2 => true,
            _ => return None,
        };
        let (mut deadline, mut timeout) = (None, None);
        self.optional(&mut deadline)?;
        self.optional(&mut timeout)?;
        options.deadline = deadline.map(Time);
        options.timeout = timeout.map(Micros);
        options.retry = RetryPolicy {
            max_attempts: self.small()?,
            min_backoff: Micros(self.number()?),
            max_backoff: Micros(self.number()?),
            jitter_percent: self.byte()?,
        };
        if self.flag()? {
            options.unique = Some(self.unique()?);
        }
        if self.flag()? {
            options.turn = Some(Turn {
                fair_key: FairKey::new(self.text()?, "fair_key").ok()?,
                weight: self.small()?,
            });
        }
        if self.flag()? {
            let key = ConcurrencyKey::new(self.text()?, "concurrency_key");
            options.concurrency_key = Some(key.ok()?);
        }
        options.labels = self.labels()?;
        self.text()?.clone_into(&mut options.trace);
        self.request(&mut options.request)?;
        if self.flag()? {
            options.retry_of = Some(JobId(self.large()?));
        }
        if more {
            options.charges = self.charges()?;
            self.in_batch(&mut options.batch)?;
            if self.flag()? {
                options.cached = Some(Cached {
                    key: EntryKey::new(self.text()?, "cache_key").ok()?,
                    ttl: Micros(self.number()?),
                });
            }
        }
        options.check().is_ok().then_some(options)
    }

    /// Reads into `request`, if there is one.
    pub(super) fn request(&mut self, request: &mut Option<Request>) -> Option<()> {
        if self.flag()? {
            *request = Some(Request {
                id: RequestId::new(self.text()?, "request_id").ok()?,
                digest: self.number()?,
            });
        }
        Some(())
    }

    fn unique(&mut self) -> Option<Unique> {
        Some(Unique {
            key: UniqueKey::new(self.text()?, "unique.key").ok()?,
            on_conflict: match self.byte()? {
                1 => OnConflict::Reject,
                2 => OnConflict::Return,
                3 => OnConflict::Replace,
                _ => return None,
            },
        })
    }

    fn labels(&mut self) -> Option<Vec<(Name, String)>> {
        let count = usize::try_from(self.number()?).ok()?;
        let labels = (0..count.min(MAX_LABELS + 1)).map(|_| {
            let name = Name::new(self.text()?, "labels").ok()?;
            Some((name, self.text()?.to_owned()))
        });
        labels.collect()
    }
}
