//! Jobs of equal cache keys: one of them runs, and the others have its result.
//!
//! Of the open jobs of a queue with one key that have been ready, the first leads. Those that come while it is open join it and do not start; when it
//! succeeds they do too, by the same result, and when it ends otherwise the first of them leads. Above a thousand that joined, jobs run by themselves.

use super::fold::{Change, JobFold, Verdict, done, place};
use super::ids::JobId;
use super::index::Index;
use super::job::{Job, Outcome, Phase};
use crate::log::Offset;
use crate::{EntryKey, Micros};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// Jobs that join one at most.
const MOST_JOINED: usize = 1_000;

/// Where a result is looked for before a job runs, and kept once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cached {
    /// The key of the entry, in the namespace of the job.
    pub key: EntryKey,
    /// How long the result is kept there.
    pub ttl: Micros,
}

/// Jobs of one key.
#[derive(Debug, Default)]
pub(super) struct Joining {
    leader: Option<JobId>,
    /// In the order in which they came.
    joined: BTreeMap<u64, JobId>,
}

/// By key.
pub(super) type Joins = HashMap<EntryKey, Joining>;

impl Job {
    /// Whether it waits for another one of its cache key.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.joined
    }

    fn key(&self) -> Option<&EntryKey> {
        self.options().cached.as_ref().map(|cached| &cached.key)
    }

    /// Whether others may join it: it is open and has been ready.
    fn leads(&self) -> bool {
        !self.joined && self.tag.is_some() && self.ending().is_none()
    }
}

/// A job is there, as it is.
pub(super) fn enlist(joins: &mut Joins, id: JobId, job: &Job) {
    let Some(key) = job.key() else {
        return;
    };
    if job.leads() {
        let joining = joins.entry(key.clone()).or_default();
        joining.leader.get_or_insert(id);
    } else if job.joined && job.ending().is_none() {
        joins
            .entry(key.clone())
            .or_default()
            .joined
            .insert(job.number, id);
    }
}

/// It is not any more.
pub(super) fn unlist(joins: &mut Joins, id: JobId, job: &Job) {
    let Some(key) = job.key() else {
        return;
    };
    let Some(joining) = joins.get_mut(key) else {
        return;
    };
    joining.leader = joining.leader.filter(|leader| *leader != id);
    joining.joined.remove(&job.number);
    if joining.leader.is_none() && joining.joined.is_empty() {
        joins.remove(key);
    }
}

impl Index {
    /// Has a job that is ready join another one of its key, if one leads.
    pub fn join(&self, job: &mut Job) {
        if job.phase != Phase::Ready {
            return;
        }
        let joins = &self.queues[job.queue].joins;
        let joining = job.key().and_then(|key| joins.get(key));
        job.joined = joining.is_some_and(|it| it.leader.is_some() && it.joined.len() < MOST_JOINED);
    }

    fn joining(&self, id: JobId, job: &Job) -> Option<&Joining> {
        let joining = self.queues[job.queue].joins.get(job.key()?)?;
        (joining.leader == Some(id)).then_some(joining)
    }
}

impl JobFold {
    /// Those that have joined a job, if it leads.
    pub(super) fn joined(&self, id: JobId) -> Vec<JobId> {
        let job = self.jobs.get(&id);
        let joining = job.and_then(|job| self.index.joining(id, job));
        joining.map_or_else(Vec::new, |it| it.joined.values().copied().collect())
    }

    /// A job that led has ended: so do those that joined it, or the first of them leads.
    pub(super) fn release(
        &mut self,
        (id, joined): (JobId, Vec<JobId>),
        outcome: Outcome,
        changes: &mut Vec<Change>,
    ) {
        if outcome == Outcome::Succeeded {
            let left = self.jobs.get(&id).and_then(|job| job.left);
            for other in joined {
                self.alter(other, |job| job.left = left);
                self.finish((other, None), Outcome::Succeeded, changes);
            }
        } else if let Some(first) = joined.first() {
            // Nobody leads now.
            self.change(*first, changes, |_| {});
        }
    }

    /// The result of a job that has not begun was there before.
    pub(super) fn found(
        &mut self,
        offset: Offset,
        (id, result): (JobId, &Bytes),
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let waits = |job: &Job| job.ending().is_none() && job.lease().is_none();
        if !self.jobs.get(&id).is_some_and(waits) {
            return Verdict::Void;
        }
        let left = Some(place(offset, result));
        self.alter(id, |job| job.left = left);
        done(self.finish((id, None), Outcome::Succeeded, changes))
    }
}
