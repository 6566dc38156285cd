//! What has happened in this daemon, told as events on a topic of its own.

use serde_json::Value;
use std::sync::Arc;
use trellis_core::events::{Event, Events, NewEvent, Topic};
use trellis_core::{Clock, Name, Namespace};

/// The topic, in the namespace that an event concerns. Callers cannot publish to it.
pub const DAEMON_TOPIC: &str = "trellis.daemon";

/// Tells on [`DAEMON_TOPIC`]. What the log does not take is lost: it must hold up nobody.
#[derive(Clone)]
pub struct Announcer {
    events: Option<Arc<dyn Events>>,
    clock: Arc<dyn Clock>,
    source: Arc<str>,
}

impl Announcer {
    /// Tells as `source`; without events it tells nobody.
    #[must_use]
    pub fn new(events: Option<Arc<dyn Events>>, clock: Arc<dyn Clock>, source: &str) -> Self {
        Self {
            events,
            clock,
            source: source.into(),
        }
    }

    /// Something of this kind, `trellis.…`, has happened to `subject` in a namespace. Never waits.
    pub fn tell(&self, namespace: &Namespace, kind: &str, subject: &str, data: &Value) {
        let Some(events) = &self.events else { return };
        let event = Event::new(NewEvent {
            source: self.source.to_string(),
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            time: Some(self.clock.now().wall),
            content_type: "application/json".to_owned(),
            data: data.to_string().into(),
            ..NewEvent::default()
        });
        match (Name::new(DAEMON_TOPIC, "topic"), event) {
            (Ok(name), Ok(event)) => {
                let topic = Topic {
                    namespace: namespace.clone(),
                    name,
                };
                // It has begun, and goes on.
                drop(events.publish(&topic, event));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(kind, %error, "an event of the daemon could not be told");
            }
        }
    }
}
