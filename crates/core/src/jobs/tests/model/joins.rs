//! Jobs of equal cache keys.

use super::super::super::*;
use super::{Model, ModelJob};
use crate::EntryKey;

impl ModelJob {
    fn key(&self) -> Option<(&QueueId, &EntryKey)> {
        let cached = self.spec.options.cached.as_ref()?;
        Some((&self.spec.queue, &cached.key))
    }
}

impl Model {
    /// A job is ready: another one of its key may lead.
    pub(super) fn join(&mut self, id: JobId) {
        let job = self.find(id).unwrap().clone();
        let leads = |it: &ModelJob| it.is_open() && it.tag.is_some() && !it.joined && it.id != id;
        let same = |it: &ModelJob| it.key() == job.key();
        let joined = job.key().is_some() && self.jobs().any(|it| same(it) && leads(it));
        self.find(id).unwrap().joined = joined;
    }

    /// A job has ended: those that joined it do too, or the first of them leads.
    pub(super) fn release(&mut self, id: JobId, state: JobState) {
        let job = self.find(id).unwrap().clone();
        // One that was never ready has led nobody, nor has one that joined.
        if job.key().is_none() || job.tag.is_none() || job.joined {
            return;
        }
        let own = self.jobs().filter(|it| it.key() == job.key());
        let joined = own.filter(|it| it.joined && it.is_open());
        let mut joined: Vec<(u64, JobId)> = joined.map(|it| (it.number, it.id)).collect();
        joined.sort_unstable();
        if state == JobState::Succeeded {
            for (_, other) in joined {
                self.finish(other, JobState::Succeeded);
            }
        } else if let Some((_, first)) = joined.first() {
            self.make_ready(*first);
        }
    }
}
