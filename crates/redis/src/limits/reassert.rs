//! A store that may have lost data is told what this daemon knows, before this daemon asks it anything.

use super::RedisLimits;
use super::book::{Bucket, Held, Taken, Told, View};
use super::call::Failure;
use super::convert;
use super::scripts::REASSERT;
use super::wire::{Reply, Spec};
use crate::{CallError, RefusalKind, Session};
use std::sync::atomic::Ordering;
use tokio::time::timeout;

/// Buckets and reservations told in one call: a pause of the store of a few milliseconds.
const BATCH: usize = 128;

/// Limit, key, spec, level, when it was seen.
type Seen<'a> = (&'a str, &'a str, Spec, i64, u64);

/// Limit, key, amount, spec, when it was taken.
type Charged<'a> = (&'a str, &'a str, i64, Spec, u64);

impl RedisLimits {
    /// Returns when the present generation has been told what this daemon knows of earlier ones: at once but for
    /// the first calls of a generation. The error is that nothing was done.
    pub(super) async fn told_again(&self) -> Result<(), CallError> {
        let is_told = |session: Session| self.told.load(Ordering::Acquire) == session.generation;
        let Some(session) = self.store.session().filter(|session| !is_told(*session)) else {
            return Ok(());
        };
        let away = CallError::Away("it has not been told of the known buckets yet");
        let Ok(_alone) = timeout(self.store.timeout(), self.telling.lock()).await else {
            return Err(away);
        };
        if is_told(session) {
            return Ok(());
        }
        let known = self.book.before(session.generation);
        for (namespace, told) in &known {
            if let Err(error) = self.tell(session, namespace, told).await {
                tracing::debug!(%error, %namespace, "known buckets could not be told");
                return Err(away);
            }
        }
        self.told.store(session.generation, Ordering::Release);
        Ok(())
    }

    async fn tell(&self, session: Session, namespace: &str, told: &Told) -> Result<(), CallError> {
        for views in told.views.chunks(BATCH) {
            let views: Vec<Seen<'_>> = views.iter().map(seen).collect();
            let none: [(&str, u64, Vec<Charged<'_>>); 0] = [];
            self.tell_some(session, namespace, &(views, none)).await?;
        }
        for held in told.held.chunks(BATCH) {
            let none: [Seen<'_>; 0] = [];
            let held: Vec<_> = held.iter().map(reserved).collect();
            self.tell_some(session, namespace, &(none, held)).await?;
        }
        Ok(())
    }

    async fn tell_some(
        &self,
        session: Session,
        namespace: &str,
        args: &impl serde::Serialize,
    ) -> Result<(), CallError> {
        let prepare = |call: crate::Call| call.within(session);
        let reply = self
            .ask_once_told::<u64>(&REASSERT, namespace, args, prepare)
            .await;
        match reply {
            Ok(Reply::Done { payload, .. }) => {
                tracing::info!(
                    namespace,
                    lowered = payload,
                    "a new generation was told what is known"
                );
            }
            Err(Failure::Call(error)) if error.refusal() != Some(RefusalKind::Script) => {
                return Err(error);
            }
            // Calls must go on all the same.
            failed => tracing::error!(?failed, namespace, "known buckets cannot be told"),
        }
        Ok(())
    }
}

fn seen((bucket, view): &(Bucket, View)) -> Seen<'_> {
    (
        &bucket.1,
        &bucket.2,
        convert::spec(&view.spec),
        view.level,
        view.at,
    )
}

fn reserved((id, held): &(Box<str>, Held)) -> (&str, u64, Vec<Charged<'_>>) {
    (id, held.until, held.taken.iter().map(charged).collect())
}

fn charged(taken: &Taken) -> Charged<'_> {
    (
        &taken.limit,
        &taken.key,
        taken.amount,
        convert::spec(&taken.spec),
        taken.at,
    )
}
