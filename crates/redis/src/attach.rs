//! Attaches a fresh connection: the first thing sent on it, and the only way to a [`Session`].

use crate::connection::Connection;
use crate::facts::{Facts, History};
use crate::health::{Condition, Finding};
use crate::shared::Shared;
use crate::{CallError, Script, Session};
use fred::types::Value;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use trellis_core::Time;

static ATTACH: LazyLock<Script> =
    LazyLock::new(|| Script::unguarded(include_str!("../scripts/attach.lua")));

/// A settled attach.
pub(crate) struct Attached {
    pub(crate) session: Session,
    pub(crate) history: History,
    /// When the attach was sent, on the monotonic clock: it counts as a beat of that time.
    pub(crate) sent_at: Time,
}

/// Attaches, or tells why the server cannot be used.
pub(crate) async fn attach(shared: &Shared, connection: &Connection) -> Result<Attached, Finding> {
    let within = shared.config.store_timeout;
    let failed = |error: CallError| Finding::from_call(&error);
    let facts = Facts::read(connection, within).await.map_err(failed)?;
    let judged = facts.judge();
    if judged.condition != Condition::Up {
        return Err(judged);
    }
    let link = shared.links_made.fetch_add(1, Ordering::Relaxed) + 1;
    let floor = shared.floor.load(Ordering::Relaxed);
    let incarnation = shared.incarnation.load(Ordering::Relaxed);
    let identity = &shared.identity;
    let keys = vec![
        shared.keys.guard().into(),
        shared.keys.members().into(),
        shared.keys.dead().into(),
    ];
    let apart = if *shared.apart.borrow() { "1" } else { "0" };
    let args: Vec<Value> = vec![
        facts.history.run_id.as_str().into(),
        facts.history.repl_id.as_str().into(),
        identity.daemon.as_str().into(),
        shared.boot.as_str().into(),
        link.to_string().into(),
        incarnation.to_string().into(),
        floor.to_string().into(),
        identity.version.as_str().into(),
        identity.protocol.to_string().into(),
        identity.address.as_str().into(),
        apart.into(),
    ];
    let sent_at = shared.clock.now().mono;
    let reply = ATTACH
        .run(connection, shared.clock.as_ref(), (keys, args), within)
        .await
        .map_err(failed)?;
    let [generation, incarnation, began, _now, lost] = reply.items() else {
        return Err(Finding::new(
            Condition::Faulty,
            "attach.lua answered something else",
        ));
    };
    let (Some(generation), Some(incarnation)) = (generation.number(), incarnation.number()) else {
        return Err(Finding::new(
            Condition::Faulty,
            "attach.lua answered something else",
        ));
    };
    let session = Session {
        generation,
        incarnation,
        link,
    };
    shared.incarnation.store(incarnation, Ordering::Relaxed);
    shared.saw_token(generation.max(incarnation));
    if lost.number() == Some(1) {
        shared.lost_before.store(generation, Ordering::Relaxed);
    }
    if began.number() == Some(1) {
        tell_of_generation(generation, lost.number() == Some(1));
    }
    tracing::info!(?session, "attached to the store");
    Ok(Attached {
        session,
        history: facts.history,
        sent_at,
    })
}

fn tell_of_generation(generation: u64, lost: bool) {
    if lost {
        tracing::warn!(
            generation,
            "the store may have lost data: a new generation of it begins"
        );
    } else {
        tracing::info!(generation, "the first generation of the store begins");
    }
}
