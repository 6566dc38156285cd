//! What a server says about itself in `INFO`.

use crate::connection::Connection;
use crate::health::{Condition, Finding};
use crate::{CallError, Refusal, RefusalKind};
use std::time::Duration;

/// Which server this is and which history its data has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) run_id: String,
    pub(crate) repl_id: String,
}

/// The facts that decide whether a server can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) history: History,
    replica: bool,
    loading: bool,
    eviction: String,
}

impl Facts {
    /// Asks the server.
    pub(crate) async fn read(connection: &Connection, within: Duration) -> Result<Self, CallError> {
        let reply = connection.ask("INFO", Vec::new(), within).await?;
        let text = reply.text().unwrap_or_default();
        Self::parse(text).ok_or_else(|| {
            Refusal::new(RefusalKind::Script, "INFO lacks run_id or master_replid").into()
        })
    }

    fn parse(info: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim())
        };
        Some(Self {
            history: History {
                run_id: field("run_id")?.to_owned(),
                repl_id: field("master_replid")?.to_owned(),
            },
            replica: field("role") == Some("slave"),
            loading: field("loading") == Some("1"),
            eviction: field("maxmemory_policy").unwrap_or("noeviction").to_owned(),
        })
    }

    /// Whether the server may be attached to.
    pub(crate) fn judge(&self) -> Finding {
        if self.loading {
            return Finding::new(Condition::Loading, "the server is loading its data");
        }
        if self.replica {
            return Finding::new(Condition::ReadOnly, "the server is a replica");
        }
        if self.eviction.starts_with("allkeys-") {
            let reason = format!(
                "maxmemory-policy = {}: it may evict limits and locks; must be noeviction or one of volatile-*",
                self.eviction
            );
            return Finding::new(Condition::EvictionPolicy, reason);
        }
        Finding::up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(extra: &str) -> Condition {
        let info = format!("# Server\r\nrun_id:r\r\nmaster_replid:m\r\n{extra}\r\n");
        Facts::parse(&info).unwrap().judge().condition
    }

    #[test]
    fn a_server_that_cannot_keep_our_state_is_not_attached_to() {
        assert_eq!(judged("role:master"), Condition::Up);
        assert_eq!(judged("role:slave"), Condition::ReadOnly);
        assert_eq!(judged("loading:1"), Condition::Loading);
        assert_eq!(judged("maxmemory_policy:volatile-lru"), Condition::Up);
        assert_eq!(
            judged("maxmemory_policy:allkeys-lru"),
            Condition::EvictionPolicy
        );
        assert_eq!(Facts::parse("role:master"), None);
    }
}
