//! The pipelines of one namespace: what updates have set, over what a daemon starts with.
//!
//! Pure: an update is checked as a whole and then stands as a whole, or leaves everything as it was. Versions are one
//! sequence that only rises, by the wall clock across restarts.

use super::base::Base;
use super::name::PipelineName;
use super::pipeline::{Pipeline, PipelineSource};
use super::port::{ListPipelines, ResetPipeline, UpdatePipeline};
use super::setting::Settings;
use crate::{Error, ErrorCode, Result, Time};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// A pipeline before and after a call; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub before: Option<Arc<Pipeline>>,
    /// After.
    pub after: Option<Arc<Pipeline>>,
}

impl Change {
    /// Whether the call has changed anything.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.before != self.after
    }
}

/// A pipeline that updates have made or changed.
#[derive(Clone, Debug)]
struct Changed {
    updates: Settings,
    in_force: Arc<Pipeline>,
}

/// The pipelines of one namespace.
#[derive(Clone, Debug)]
pub struct Catalogue {
    base: Arc<Base>,
    changed: BTreeMap<PipelineName, Changed>,
    last_version: u64,
}

impl Catalogue {
    /// Without any update.
    #[must_use]
    pub fn new(base: Arc<Base>) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
            last_version: 0,
        }
    }

    /// Whether it is as if no update had been: it may be forgotten, its last version apart.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// The last version given; 0 before the first.
    #[must_use]
    pub fn last_version(&self) -> u64 {
        self.last_version
    }

    /// The pipeline of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Pipeline>> {
        let changed = self.changed.get(name).map(|changed| &changed.in_force);
        changed.or_else(|| self.base.find(name))
    }

    /// What updates have set in the pipeline of that name; `None` where none has.
    #[must_use]
    pub fn updates(&self, name: &str) -> Option<&Settings> {
        self.changed.get(name).map(|changed| &changed.updates)
    }

    /// The pipelines that updates have made or changed, with the version of each and what they have set.
    pub fn changed(&self) -> impl Iterator<Item = (&PipelineName, u64, &Settings)> {
        self.changed
            .iter()
            .map(|(name, it)| (name, it.in_force.version(), &it.updates))
    }

    /// The pipelines of a page, and whether there are more.
    #[must_use]
    pub fn list(&self, list: &ListPipelines) -> (Vec<Arc<Pipeline>>, bool) {
        let from = list.after.as_ref().map_or(Unbounded, Excluded);
        let changed = self
            .changed
            .range::<PipelineName, _>((from, Unbounded))
            .map(|(_, changed)| &changed.in_force);
        let untouched = self
            .base
            .after(list.after.as_ref())
            .filter(|pipeline| !self.changed.contains_key(pipeline.name()));
        let mut all: Vec<_> = changed.chain(untouched).cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        let more = all.len() > list.page_size;
        all.truncate(list.page_size);
        (all, more)
    }

    /// Sets what an update says, at this time. One whose values stand already changes nothing, whatever its base
    /// version, so that it may be repeated.
    pub fn update(&mut self, update: &UpdatePipeline, wall: Time) -> Result<Change> {
        let name = &update.name;
        let before = self.find(name.as_str()).cloned();
        if before.is_none() && !update.allow_missing {
            let message = format!(
                "pipeline {name} does not exist: set allow_missing to make it, or see List for those that do"
            );
            return Err(Error::new(ErrorCode::PipelineNotFound, message));
        }
        let changed = self.changed.get(name);
        let old = changed.map(|changed| &changed.updates);
        let new = self.updated(old.cloned().unwrap_or_default(), update)?;
        if before.is_none() && new.is_empty() {
            let allowed = "must hold at least one value where the pipeline does not exist";
            return Err(Error::invalid("settings", allowed));
        }
        let stands = old.map_or(new.is_empty(), |old| *old == new);
        if before.is_some() && stands {
            let after = before.clone();
            return Ok(Change { before, after });
        }
        check_version(name, before.as_deref(), update.base_version)?;
        let max = self.base.bounds().max_pipelines;
        if changed.is_none() && self.changed.len() >= max {
            let message = format!("updates have made or changed {max} pipelines of this namespace");
            return Err(Error::new(ErrorCode::TooManyPipelines, message));
        }
        let after = self.put(name, new, wall);
        Ok(Change {
            before,
            after: Some(after),
        })
    }

    /// Forgets what updates have set, at this time. Where nothing is set it changes nothing, whatever its base version.
    pub fn reset(&mut self, reset: &ResetPipeline, wall: Time) -> Result<Change> {
        let name = &reset.name;
        let before = self.find(name.as_str()).cloned();
        let permanent = self.base.find(name.as_str()).is_some();
        let nothing_set = match self.changed.get(name) {
            None => true,
            Some(changed) => permanent && changed.updates.is_empty(),
        };
        if nothing_set {
            let after = before.clone();
            return Ok(Change { before, after });
        }
        check_version(name, before.as_deref(), reset.base_version)?;
        let after = if permanent {
            Some(self.put(name, Settings::default(), wall))
        } else {
            self.changed.remove(name);
            None
        };
        Ok(Change { before, after })
    }

    /// The values of updates after this one. Errors name the field below `settings`.
    fn updated(&self, mut updates: Settings, update: &UpdatePipeline) -> Result<Settings> {
        for kind in &update.replaced {
            updates.clear(*kind);
        }
        for key in &update.dropped {
            updates.remove(key);
        }
        for (key, value) in &update.values {
            let set = updates.set(key.clone(), value.clone(), self.base.bounds());
            set.map_err(|error| error.within("settings"))?;
        }
        Ok(updates)
    }

    fn put(&mut self, name: &PipelineName, updates: Settings, wall: Time) -> Arc<Pipeline> {
        let version = (self.last_version + 1).max(wall.0);
        self.set(name, updates, version)
    }

    /// Sets what updates have set, under the version that was given to it elsewhere: it was checked there.
    pub fn set(&mut self, name: &PipelineName, updates: Settings, version: u64) -> Arc<Pipeline> {
        self.last_version = self.last_version.max(version);
        let below = match self.base.find(name.as_str()) {
            Some(base) => Pipeline::clone(base),
            None => Pipeline::new(name.clone()),
        };
        let pipeline = below.over(&updates, PipelineSource::Update).at(version);
        let in_force = Arc::new(pipeline);
        let changed = Changed {
            updates,
            in_force: Arc::clone(&in_force),
        };
        self.changed.insert(name.clone(), changed);
        in_force
    }

    /// Forgets what updates have set, as was decided elsewhere.
    pub fn forget(&mut self, name: &str) {
        self.changed.remove(name);
    }
}

fn check_version(name: &PipelineName, now: Option<&Pipeline>, expected: Option<u64>) -> Result<()> {
    let version = now.map_or(0, Pipeline::version);
    if expected.is_none_or(|expected| expected == version) {
        return Ok(());
    }
    let message = format!("pipeline {name} has version {version}: read it again");
    Err(Error::new(ErrorCode::PipelineChanged, message))
}
