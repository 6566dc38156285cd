//! What this daemon knows of the store's pipelines. Pure: versions alone decide, so whatever is told may come twice, late and
//! in any order.

use std::collections::HashMap;
use std::sync::Arc;
use trellis_core::Namespace;
use trellis_core::pipelines::{Base, Catalogue, ListPipelines, Pipeline, PipelineName, Settings};

/// The pipelines of one namespace.
struct Space {
    catalogue: Catalogue,
    /// Those that are gone, with the version under which they went.
    gone: HashMap<PipelineName, u64>,
}

/// A pipeline as the store has it: its version, and what updates have set; `None`: it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub namespace: Namespace,
    pub name: PipelineName,
    pub version: u64,
    pub updates: Option<Settings>,
}

/// The pipelines of all namespaces.
pub(super) struct Known {
    base: Arc<Base>,
    spaces: HashMap<Namespace, Space>,
    /// The generation of the store in which this was read; 0 before it ever was.
    pub generation: u64,
    /// The number of the last change in the store that is known with all before it.
    pub last_change: u64,
}

impl Known {
    pub fn new(base: Arc<Base>) -> Self {
        Self {
            base,
            spaces: HashMap::new(),
            generation: 0,
            last_change: 0,
        }
    }

    /// The same with nothing known yet of what the store holds in a generation.
    pub fn forgetful(&self, generation: u64) -> Self {
        Self {
            generation,
            ..Self::new(Arc::clone(&self.base))
        }
    }

    pub fn find(&self, namespace: &Namespace, name: &str) -> Option<&Arc<Pipeline>> {
        match self.spaces.get(namespace) {
            Some(space) => space.catalogue.find(name),
            None => self.base.find(name),
        }
    }

    /// The pipelines of a page, and whether there are more.
    pub fn list(&self, list: &ListPipelines) -> (Vec<Arc<Pipeline>>, bool) {
        match self.spaces.get(&list.namespace) {
            Some(space) => space.catalogue.list(list),
            None => self.catalogue(&list.namespace).list(list),
        }
    }

    /// The pipelines of a namespace, to work a change out on.
    pub fn catalogue(&self, namespace: &Namespace) -> Catalogue {
        match self.spaces.get(namespace) {
            Some(space) => space.catalogue.clone(),
            None => Catalogue::new(Arc::clone(&self.base)),
        }
    }

    /// The version in the store of a pipeline, 0 where nothing is known of it, and whether it is gone.
    pub fn version(&self, namespace: &Namespace, name: &PipelineName) -> (u64, bool) {
        let Some(space) = self.spaces.get(namespace) else {
            return (0, false);
        };
        if let Some(version) = space.gone.get(name) {
            return (*version, true);
        }
        let is_set = space.catalogue.updates(name.as_str()).is_some();
        let pipeline = space.catalogue.find(name.as_str()).filter(|_| is_set);
        (pipeline.map_or(0, |pipeline| pipeline.version()), false)
    }

    /// Takes note of a pipeline, unless a later version of it is known. Tells whether anything has changed.
    pub fn note(&mut self, record: Record, max_gone: usize) -> bool {
        let Record {
            namespace,
            name,
            version,
            updates,
        } = record;
        if version <= self.version(&namespace, &name).0 {
            return false;
        }
        let base = &self.base;
        let space = self.spaces.entry(namespace).or_insert_with(|| Space {
            catalogue: Catalogue::new(Arc::clone(base)),
            gone: HashMap::new(),
        });
        if let Some(updates) = updates {
            space.gone.remove(&name);
            space.catalogue.set(&name, updates, version);
        } else {
            space.catalogue.forget(name.as_str());
            space.gone.insert(name, version);
            self.forget_gone(max_gone);
        }
        true
    }

    /// Of those that are gone no more than the bound are remembered, the last ones.
    fn forget_gone(&mut self, most: usize) {
        let gone = |(namespace, space): (&Namespace, &Space)| {
            let all = space.gone.iter();
            let one = |(name, version): (&PipelineName, &u64)| {
                (*version, namespace.clone(), name.clone())
            };
            all.map(one).collect::<Vec<_>>()
        };
        let count: usize = self.spaces.values().map(|space| space.gone.len()).sum();
        if count <= most {
            return;
        }
        let Some((_, namespace, name)) = self.spaces.iter().flat_map(gone).min() else {
            return;
        };
        if let Some(space) = self.spaces.get_mut(&namespace) {
            space.gone.remove(&name);
            if space.gone.is_empty() && space.catalogue.is_empty() {
                self.spaces.remove(&namespace);
            }
        }
    }

    /// What updates have set in a pipeline, if that is known.
    pub fn record(&self, namespace: &Namespace, name: &PipelineName) -> Option<Record> {
        let space = self.spaces.get(namespace)?;
        let updates = space.catalogue.updates(name.as_str())?;
        Some(Record {
            namespace: namespace.clone(),
            name: name.clone(),
            version: self.version(namespace, name).0,
            updates: Some(updates.clone()),
        })
    }

    /// Everything, as it would be told to a store that has lost it.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (namespace, space) in &self.spaces {
            let set = space.catalogue.changed();
            let set = set.map(|(name, version, updates)| (name, version, Some(updates.clone())));
            let gone = space
                .gone
                .iter()
                .map(|(name, version)| (name, *version, None));
            records.extend(set.chain(gone).map(|(name, version, updates)| Record {
                namespace: namespace.clone(),
                name: name.clone(),
                version,
                updates,
            }));
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::Micros;
    use trellis_core::pipelines::{PipelineBounds, SettingKey, SettingKind, SettingValue};

    fn settings(ttl: u64) -> Settings {
        let mut settings = Settings::default();
        let key = SettingKey::parse("cache_ttl", "path").unwrap();
        let ttl = SettingValue::Ttl(Micros::from_secs(ttl));
        settings.set(key, ttl, &PipelineBounds::default()).unwrap();
        settings
    }

    fn record(name: &str, version: u64, ttl: Option<u64>) -> Record {
        Record {
            namespace: Namespace::new("n", "namespace").unwrap(),
            name: PipelineName::new(name, "name").unwrap(),
            version,
            updates: ttl.map(settings),
        }
    }

    fn known() -> Known {
        Known::new(Arc::new(Base::new(&[], PipelineBounds::default()).unwrap()))
    }

    fn ttl(known: &Known, name: &str) -> Option<Micros> {
        let namespace = Namespace::new("n", "namespace").unwrap();
        match known
            .find(&namespace, name)?
            .value(SettingKind::CacheTtl, "default")?
        {
            SettingValue::Ttl(ttl) => Some(*ttl),
            SettingValue::Limit(_) => None,
        }
    }

    #[test]
    fn the_highest_version_stands_in_whatever_order_changes_are_told() {
        let told = [
            record("mine", 5, Some(1)),
            record("mine", 7, None),
            record("mine", 9, Some(3)),
        ];
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let mut known = known();
            for at in order {
                known.note(told[at].clone(), 10);
                known.note(told[at].clone(), 10);
            }
            assert_eq!(ttl(&known, "mine"), Some(Micros::from_secs(3)), "{order:?}");
            assert_eq!(known.records(), [told[2].clone()]);
        }
        let mut known = known();
        assert!(known.note(told[1].clone(), 10));
        assert!(!known.note(told[0].clone(), 10), "it is gone since");
        assert_eq!(ttl(&known, "mine"), None);
    }

    #[test]
    fn of_those_that_are_gone_the_last_ones_are_remembered() {
        let mut known = known();
        for version in 1..=5 {
            known.note(record(&format!("p{version}"), version, None), 2);
        }
        let mut left: Vec<_> = known.records().into_iter().map(|it| it.version).collect();
        left.sort_unstable();
        assert_eq!(left, [4, 5]);
    }

    #[test]
    fn a_built_in_pipeline_that_is_gone_is_what_it_was() {
        let mut known = known();
        known.note(record("ocr", 3, Some(1)), 10);
        assert_eq!(ttl(&known, "ocr"), Some(Micros::from_secs(1)));
        known.note(record("ocr", 4, None), 10);
        assert_eq!(ttl(&known, "ocr"), Some(Micros::from_secs(3_600)));
    }
}
