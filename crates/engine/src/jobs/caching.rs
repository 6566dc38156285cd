//! Results in the cache: looked for before a job begins, kept when it has succeeded.
//!
//! A cache that does not answer is one that has nothing: the job runs.

use super::calls::{Call, Called};
use bytes::Bytes;
use std::sync::Arc;
use trellis_core::Namespace;
use trellis_core::cache::{Cache, Content, Cost, GetOptions, NewEntry, Policy, Precondition};
use trellis_core::jobs::{Cached, JobFold, JobId, JobMap, MAX_PAYLOAD_BYTES};

/// Results that are looked for at once; others wait.
const MOST_LOOKING: usize = 1_000;

/// Results on their way to the cache at once; others are not kept.
const MOST_KEEPING: usize = 1_000;

/// Jobs with a cache key.
#[derive(Default)]
pub(super) struct Caching {
    cache: Option<Arc<dyn Cache>>,
    /// Open jobs whose results were looked for in this life, and whether that is over.
    looked: JobMap<bool>,
    /// Calls on their way.
    looking: usize,
    keeping: usize,
    calls: Vec<Call>,
}

impl Caching {
    pub fn new(cache: Option<Arc<dyn Cache>>) -> Self {
        Self {
            cache,
            ..Self::default()
        }
    }

    /// Whether it is known that a job is to be run. Looks for its result if nobody has.
    pub fn is_missing(&mut self, fold: &JobFold, id: JobId) -> bool {
        let job = fold.job(id);
        let cached = job.and_then(|job| job.options().cached.as_ref());
        let (Some(job), Some(cached), Some(cache)) = (job, cached, self.cache.clone()) else {
            return true;
        };
        if let Some(over) = self.looked.get(&id) {
            return *over;
        }
        if self.looking >= MOST_LOOKING {
            return false;
        }
        self.looking += 1;
        self.looked.insert(id, false);
        let namespace = fold.queue_of(job).namespace.clone();
        let key = cached.key.clone();
        self.calls.push(Box::pin(async move {
            let got = cache.get(&namespace, &[key], GetOptions::default()).await;
            let hit = got.ok().and_then(|(mut found, _)| found.pop()?.hit());
            let result = hit.and_then(|hit| hit.content.value().cloned());
            Called::Looked(
                id,
                result.filter(|result| result.len() <= MAX_PAYLOAD_BYTES),
            )
        }));
        false
    }

    /// A call has come to something.
    pub fn looked(&mut self) {
        self.looking -= 1;
    }

    /// Nothing was found, or that it was is not logged: the job runs.
    pub fn missed(&mut self, id: JobId) {
        if let Some(over) = self.looked.get_mut(&id) {
            *over = true;
        }
    }

    /// A job has ended, or is not known any more.
    pub fn forget(&mut self, id: JobId) {
        self.looked.remove(&id);
    }

    /// A job has succeeded.
    pub fn keep(&mut self, namespace: &Namespace, cached: &Cached, result: &Bytes) {
        let Some(cache) = self.cache.clone().filter(|_| self.keeping < MOST_KEEPING) else {
            return;
        };
        self.keeping += 1;
        let (namespace, key) = (namespace.clone(), cached.key.clone());
        let entry = NewEntry {
            content: Content::Value(result.clone()),
            content_type: Arc::from(""),
            policy: Policy::fresh_for(cached.ttl),
            cost: Cost::default(),
            fence: None,
        };
        self.calls.push(Box::pin(async move {
            let kept = cache.set(&namespace, &key, entry, Precondition::Always);
            if let Err(error) = kept.await {
                tracing::warn!(key = key.as_str(), error = %error.message, "the result of a job cannot be cached now");
            }
            Called::Kept
        }));
    }

    pub fn kept(&mut self) {
        self.keeping -= 1;
    }

    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }
}
