//! Telling on the daemon's topic how the shared store and what stands on it fare.

use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trellis_core::cache::Cache;
use trellis_core::limits::Limits;
use trellis_core::locks::Locks;
use trellis_core::{Cluster, Namespace, Scope};
use trellis_service::Announcer;

/// How often it is looked. What comes and goes in between is not told.
const EVERY: Duration = Duration::from_millis(250);

/// Tells what concerns the daemon and no namespace: in this one.
#[derive(Clone)]
pub(crate) struct Voice(pub Announcer, pub Namespace);

impl Voice {
    /// See [`Announcer::tell`].
    pub(crate) fn tell(&self, kind: &str, subject: &str, data: &serde_json::Value) {
        self.0.tell(&self.1, kind, subject, data);
    }
}

/// What is looked at.
pub(crate) struct Watched {
    pub limits: Arc<dyn Limits>,
    pub cache: Arc<dyn Cache>,
    pub locks: Arc<dyn Locks>,
    /// The shared store and its members; `None` in embedded mode.
    pub cluster: Option<Arc<dyn Cluster>>,
}

/// What was told last.
#[derive(Default, PartialEq)]
struct Told {
    /// Why each primitive is this daemon's alone, where it is although it should not be.
    degraded: BTreeMap<&'static str, Arc<str>>,
    /// Whether the store is there, its condition, and its history.
    store: Option<(bool, String, u64)>,
    /// Addresses of the daemons, by id and life.
    members: BTreeMap<(String, u64), String>,
}

/// Tells what changes until it is stopped.
pub(crate) async fn announce(watched: Watched, voice: Voice, stop: CancellationToken) {
    let mut told = look(&watched);
    while stop
        .run_until_cancelled(tokio::time::sleep(EVERY))
        .await
        .is_some()
    {
        let now = look(&watched);
        if now != told {
            tell(&told, &now, |kind, subject, data| {
                voice.tell(kind, subject, data);
            });
            told = now;
        }
    }
}

fn look(watched: &Watched) -> Told {
    let scopes = [
        ("limits", watched.limits.scope()),
        ("cache", watched.cache.scope()),
        ("locks", watched.locks.scope()),
    ];
    let degraded = scopes.into_iter().filter_map(|(what, scope)| match scope {
        Scope::Degraded { reason, .. } => Some((what, reason)),
        Scope::Shared | Scope::Local => None,
    });
    let cluster = watched.cluster.as_deref();
    let store = cluster.map(Cluster::store);
    let members = cluster.map_or_else(Vec::new, Cluster::members).into_iter();
    Told {
        degraded: degraded.collect(),
        store: store.map(|store| (store.up, store.condition, store.generation)),
        members: members
            .map(|member| ((member.daemon, member.incarnation), member.address))
            .collect(),
    }
}

fn tell(before: &Told, now: &Told, mut say: impl FnMut(&str, &str, &serde_json::Value)) {
    for (what, reason) in &now.degraded {
        if !before.degraded.contains_key(what) {
            let data = json!({"reason": &**reason});
            say(&format!("trellis.{what}.degraded"), what, &data);
        }
    }
    for what in before.degraded.keys() {
        if !now.degraded.contains_key(what) {
            say(&format!("trellis.{what}.shared"), what, &json!({}));
        }
    }
    if let (Some((was_up, _, former)), Some((up, condition, generation))) =
        (&before.store, &now.store)
    {
        if was_up != up {
            let kind = if *up {
                "trellis.store.up"
            } else {
                "trellis.store.down"
            };
            say(kind, "store", &json!({"condition": condition}));
        }
        if former != generation {
            let data = json!({"generation": generation, "former": former});
            say("trellis.store.generation", "store", &data);
        }
    }
    for (member, address) in &now.members {
        if !before.members.contains_key(member) {
            let data = json!({"address": address, "incarnation": member.1});
            say("trellis.member.joined", &member.0, &data);
        }
    }
    for (member, address) in &before.members {
        if !now.members.contains_key(member) {
            let data = json!({"address": address, "incarnation": member.1});
            say("trellis.member.left", &member.0, &data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(before: &Told, now: &Told) -> Vec<String> {
        let mut kinds = Vec::new();
        tell(before, now, |kind, _, _| kinds.push(kind.to_owned()));
        kinds
    }

    #[test]
    fn each_change_is_told_once() {
        let before = Told {
            store: Some((true, "up".to_owned(), 1)),
            members: [(("a".to_owned(), 1), String::new())].into(),
            ..Told::default()
        };
        let now = Told {
            degraded: [("locks", "gone".into())].into(),
            store: Some((false, "away".to_owned(), 2)),
            members: [(("b".to_owned(), 1), String::new())].into(),
        };
        let there = [
            "trellis.locks.degraded",
            "trellis.store.down",
            "trellis.store.generation",
            "trellis.member.joined",
            "trellis.member.left",
        ];
        assert_eq!(kinds(&before, &now), there);
        let back = kinds(&now, &before);
        assert_eq!(back[..2], ["trellis.locks.shared", "trellis.store.up"]);
        assert!(kinds(&now, &now).is_empty());
    }
}
