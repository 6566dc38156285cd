//! How the store is, since when, and why we think so.
//!
//! Two observers report: the watchdog, which probes on a connection of its own, and the task that keeps the
//! command connection. As long as the watchdog has an objection it is what counts; after that it is whether
//! the command connection is attached.

use crate::{CallError, RefusalKind};
use fred::error::{Error as FredError, ErrorKind};
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::{Clock, Now};

/// The state of the store as this daemon sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Nothing is known yet.
    Starting,
    /// It answers, reads and writes, and the connection is attached.
    Up,
    /// It answers; the connection is being attached.
    Attaching,
    /// It does not answer: stopped, overloaded, or cut off without notice.
    Hung,
    /// The connection is refused or was closed.
    Down,
    /// It is loading its data.
    Loading,
    /// It is a replica.
    ReadOnly,
    /// Fewer good replicas than `min-replicas-to-write`: writes are refused.
    NoReplicas,
    /// Its memory is used up: writes are refused.
    OutOfMemory,
    /// It cannot persist: writes are refused.
    NotPersisting,
    /// `maxmemory-policy` would let it evict limits and locks.
    EvictionPolicy,
    /// It does not accept our credentials, or forbids us what we need.
    Credentials,
    /// A younger process holds this daemon id.
    Superseded,
    /// It answered something that it should not.
    Faulty,
}

impl Condition {
    /// Whether calls are pointless and the connection is to be given up.
    pub(crate) fn bars_calls(self) -> bool {
        match self {
            Self::Starting
            | Self::Up
            | Self::Attaching
            | Self::NoReplicas
            | Self::OutOfMemory
            | Self::NotPersisting => false,
            Self::Hung
            | Self::Down
            | Self::Loading
            | Self::ReadOnly
            | Self::EvictionPolicy
            | Self::Credentials
            | Self::Superseded
            | Self::Faulty => true,
        }
    }

    /// Whether a person must change something before the store can be used.
    #[must_use]
    pub fn needs_operator(self) -> bool {
        matches!(
            self,
            Self::EvictionPolicy | Self::Credentials | Self::Superseded
        )
    }
}

/// The state of the store, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The state.
    pub condition: Condition,
    /// Since when it has been so.
    pub since: Now,
    /// What was seen, for an operator. Holds no secret.
    pub reason: Arc<str>,
}

/// The driver's account of an error, or the words of the system's error inside it.
fn words(details: &str) -> String {
    let inner = details
        .split_once("message: \"")
        .and_then(|(_, rest)| rest.split_once('"'));
    inner.map_or(details, |(message, _)| message).to_lowercase()
}

/// What one observer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) condition: Condition,
    pub(crate) reason: Arc<str>,
}

impl Finding {
    pub(crate) fn new(condition: Condition, reason: impl Into<Arc<str>>) -> Self {
        Self {
            condition,
            reason: reason.into(),
        }
    }

    pub(crate) fn up() -> Self {
        Self::new(Condition::Up, "")
    }

    /// What it means that a connection could not be opened.
    pub(crate) fn from_open(error: &FredError) -> Self {
        match error.kind() {
            ErrorKind::Timeout => Self::new(Condition::Hung, "no answer while connecting"),
            ErrorKind::Auth => Self::new(Condition::Credentials, credentials(error.details())),
            ErrorKind::Tls => Self::new(Condition::Down, format!("TLS: {}", error.details())),
            _ if error.details().starts_with("NOPERM") => {
                Self::new(Condition::Credentials, credentials(error.details()))
            }
            _ => Self::new(Condition::Down, words(error.details())),
        }
    }

    /// What it means that a command failed.
    pub(crate) fn from_call(error: &CallError) -> Self {
        let refusal = match error {
            CallError::Unknown(reason) => return Self::new(Condition::Hung, *reason),
            CallError::Away(reason) => return Self::new(Condition::Down, *reason),
            CallError::Refused(refusal) => refusal,
        };
        let condition = match refusal.kind {
            RefusalKind::ReadOnly => Condition::ReadOnly,
            RefusalKind::Loading => Condition::Loading,
            RefusalKind::OutOfMemory => Condition::OutOfMemory,
            RefusalKind::NoReplicas => Condition::NoReplicas,
            RefusalKind::NotPersisting => Condition::NotPersisting,
            RefusalKind::ScriptBusy => Condition::Hung,
            RefusalKind::Superseded => Condition::Superseded,
            RefusalKind::Credentials | RefusalKind::NoPermission => {
                return Self::new(Condition::Credentials, credentials(&refusal.message));
            }
            _ => Condition::Faulty,
        };
        Self::new(condition, refusal.message.as_str())
    }
}

fn credentials(message: &str) -> String {
    format!("Redis refuses this user or password (REDIS_USERNAME, REDIS_PASSWORD): {message}")
}

/// Joins the findings of both observers and tells those who watch.
pub(crate) struct HealthBoard {
    clock: Arc<dyn Clock>,
    probe: watch::Sender<Finding>,
    link: watch::Sender<Finding>,
    joined: watch::Sender<Health>,
}

impl HealthBoard {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let starting = Finding::new(Condition::Starting, "not connected yet");
        let health = Health {
            condition: starting.condition,
            since: clock.now(),
            reason: starting.reason.clone(),
        };
        Self {
            clock,
            probe: watch::Sender::new(starting),
            link: watch::Sender::new(Finding::new(Condition::Attaching, "not attached yet")),
            joined: watch::Sender::new(health),
        }
    }

    pub(crate) fn set_probe(&self, finding: Finding) {
        self.probe.send_replace(finding);
        self.join();
    }

    pub(crate) fn set_link(&self, finding: Finding) {
        self.link.send_replace(finding);
        self.join();
    }

    /// The joined health.
    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.joined.subscribe()
    }

    /// Returns when the watchdog has no objection to calls, or has one.
    pub(crate) async fn until_calls_are(&self, barred: bool) {
        let mut probe = self.probe.subscribe();
        // The sender lives in `self`.
        let _ = probe
            .wait_for(|finding| finding.condition.bars_calls() == barred)
            .await;
    }

    fn join(&self) {
        self.joined.send_if_modified(|health| {
            // Read under the lock of `joined`, so that the last writer has seen the last findings.
            let probe = self.probe.borrow().clone();
            let finding = match probe.condition {
                Condition::Up => self.link.borrow().clone(),
                _ => probe,
            };
            let changed = health.condition != finding.condition;
            if changed {
                log(health.condition, &finding);
                health.condition = finding.condition;
                health.since = self.clock.now();
            }
            let told = changed || health.reason != finding.reason;
            health.reason = finding.reason;
            told
        });
    }
}

/// One line for each change of the condition. The pauses between attempts bound their number: while a store
/// comes and goes, at most a few a second.
fn log(from: Condition, finding: &Finding) {
    let (to, reason) = (finding.condition, &*finding.reason);
    if to.needs_operator() {
        tracing::error!(
            ?from,
            ?to,
            reason,
            "the store cannot be used as it is set up"
        );
    } else if to == Condition::Up {
        tracing::info!(?from, "the store is up");
    } else if matches!(from, Condition::Up | Condition::Attaching) && to != Condition::Attaching {
        tracing::warn!(?to, reason, "the store is away");
    } else {
        tracing::info!(?from, ?to, reason, "the store's health changed");
    }
}
