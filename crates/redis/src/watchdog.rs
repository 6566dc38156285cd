//! Decides whether the store is well, on a connection of its own.
//!
//! The driver cannot tell: a server that hangs under load looks alive to it. A probe asks for the server's
//! facts and writes one key, so that all conditions under which calls would fail are seen although no call
//! is made: no answer, no connection, loading, replica, eviction policy, memory, persistence, replicas.

use crate::CallError;
use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::facts::Facts;
use crate::health::{Condition, Finding};
use crate::shared::Shared;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between two probes. A hung server is noticed within this and the store timeout.
const INTERVAL: Duration = Duration::from_millis(250);

/// Probes until it is told to stop.
pub(crate) async fn watch(shared: &Shared, stop: &CancellationToken) {
    let mut backoff = Backoff::default();
    let watching = async {
        loop {
            match Connection::open(&shared.driver).await {
                Ok((connection, mut end)) => {
                    backoff.succeeded();
                    let finding = tokio::select! {
                        biased;
                        () = end.wait() => Finding::new(Condition::Down, "the connection was closed"),
                        finding = probe_until_silent(shared, &connection) => finding,
                    };
                    shared.board.set_probe(finding);
                }
                Err(error) => shared.board.set_probe(Finding::from_open(&error)),
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = stop.cancelled() => {}
    }
}

/// Probes until an answer stays out: then the connection is as suspect as the server.
async fn probe_until_silent(shared: &Shared, connection: &Connection) -> Finding {
    loop {
        let finding = match probe(shared, connection).await {
            Ok(finding) => finding,
            Err(error @ CallError::Refused(_)) => Finding::from_call(&error),
            Err(error) => return Finding::from_call(&error),
        };
        shared.board.set_probe(finding);
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn probe(shared: &Shared, connection: &Connection) -> Result<Finding, CallError> {
    let within = shared.config.store_timeout;
    let set = vec![
        shared.keys.probe().into(),
        shared.identity.daemon.as_str().into(),
    ];
    let (facts, written) = tokio::join!(
        Facts::read(connection, within),
        connection.ask("SET", set, within),
    );
    let facts = facts?;
    // A server that became another history's without closing its connections.
    let link = shared.link.borrow().clone();
    if let Some(link) = link.filter(|link| link.history != facts.history) {
        link.void();
    }
    let judged = facts.judge();
    if judged.condition != Condition::Up {
        return Ok(judged);
    }
    written.map(|_| Finding::up())
}
