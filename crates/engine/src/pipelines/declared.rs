//! Which limits of pipelines are declared, and what their pipelines said then. Bounded by the limits that there are: one
//! is noted once it exists.

use parking_lot::RwLock;
use std::collections::HashMap;
use trellis_core::limits::LimitSpec;
use trellis_core::{Name, Namespace};

#[derive(Default)]
pub(super) struct Declared(RwLock<HashMap<Namespace, HashMap<Name, LimitSpec>>>);

impl Declared {
    /// Whether it is declared otherwise than `spec` says; `None` is not declared.
    pub fn differs(&self, namespace: &Namespace, limit: &Name, spec: Option<&LimitSpec>) -> bool {
        let declared = self.0.read();
        let limits = declared.get(namespace);
        limits.and_then(|limits| limits.get(limit)) != spec
    }

    pub fn insert(&self, namespace: &Namespace, limit: &Name, spec: LimitSpec) {
        let mut declared = self.0.write();
        let limits = declared.entry(namespace.clone()).or_default();
        limits.insert(limit.clone(), spec);
    }

    pub fn remove(&self, namespace: &Namespace, limit: &Name) {
        let mut declared = self.0.write();
        if let Some(limits) = declared.get_mut(namespace) {
            limits.remove(limit);
            if limits.is_empty() {
                declared.remove(namespace);
            }
        }
    }
}
