//! Publishing: an append in the order of calls, answered by the log or by the fold.

use super::lane::Lane;
use super::order::{Folded, Ordered, Tell};
use super::topics::TopicEntry;
use crate::steady::SteadyClock;
use crate::underway::Underway;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use trellis_core::events::{Cursor, Event, Published, Publishing, Unnamed, to_record};
use trellis_core::log::{Appended, Appending, LogError, Offset};
use trellis_core::{Error, ErrorCode, Result, Time};

/// An id that is about to be in the window.
struct Reserved(Arc<Lane>);

impl Reserved {
    fn new(lane: &Arc<Lane>, now: Time) -> Result<Self> {
        lane.ids.lock().reserve(now)?;
        Ok(Self(Arc::clone(lane)))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.ids.lock().release();
    }
}

impl Lane {
    fn published(&self, offset: u64, epoch: u64, duplicate: bool) -> Published {
        let offset = Offset(offset);
        let counted = if duplicate {
            &self.duplicates
        } else {
            &self.published
        };
        counted.fetch_add(1, Ordering::Relaxed);
        Published {
            offset,
            cursor: Cursor {
                history: self.history,
                next: offset.next(),
                epoch,
            },
            duplicate,
            durability: self.log.durability(),
        }
    }

    fn answer(&self, folded: Folded) -> Published {
        match folded {
            Folded::At(offset) => self.published(offset, self.order.writer(), false),
            Folded::Repeats(first) => self.published(first.offset, first.writer, true),
        }
    }

    fn appended(&self, appended: Appended) -> Published {
        self.acknowledge(appended.end);
        self.published(appended.first.0, self.order.writer(), false)
    }

    /// Publishes an event. `unnamed` is its name in the log if its caller gave it none.
    pub fn publish(
        self: &Arc<Self>,
        entry: &TopicEntry,
        event: &Event,
        (unnamed, clock, underway): (Unnamed<'_>, &SteadyClock, &Underway),
    ) -> Publishing {
        let mut reserved = None;
        if let Some(id) = event.id() {
            let now = clock.wall();
            let known = self.ids.lock().find(entry, event.source(), id, now);
            if let Some(first) = known {
                return Publishing::Done(Ok(self.answer(Folded::Repeats(first))));
            }
            match Reserved::new(self, now) {
                Ok(taken) => reserved = Some(taken),
                Err(error) => return Publishing::Done(Err(error)),
            }
        }
        let tell = if reserved.is_some() {
            Tell::Always
        } else {
            Tell::InDoubt
        };
        let record =
            |records: &mut _, stamp| to_record(records, &entry.headers, (event, unnamed), stamp);
        match self.order.append(&*self.log, self.partition, record, tell) {
            Err(Appending::Done(appended)) => {
                let appended = appended.map(|appended| self.appended(appended));
                Publishing::Done(appended.map_err(Error::from))
            }
            Err(appending) => {
                let lane = Arc::clone(self);
                Publishing::waiting(async move {
                    let appended = appending.outcome().await?;
                    Ok(lane.appended(appended))
                })
            }
            Ok(ordered) => {
                let (lane, entry) = (Arc::clone(self), underway.enter());
                Publishing::waiting(async move {
                    let outcome = lane.outcome(ordered, tell).await;
                    drop((reserved, entry));
                    outcome
                })
            }
        }
    }

    async fn outcome(&self, ordered: Ordered, tell: Tell) -> Result<Published> {
        let Ordered {
            appending,
            mut folded,
        } = ordered;
        match appending.outcome().await {
            Ok(appended) if tell == Tell::InDoubt => Ok(self.appended(appended)),
            Ok(appended) => {
                self.acknowledge(appended.end);
                // It stands, so it is read back unless nothing is any more.
                match folded.await {
                    Ok(folded) => Ok(self.answer(folded)),
                    Err(_) => Err(self.ended().unwrap_or_else(overtaken)),
                }
            }
            Err(LogError::Unknown { reason }) => self.resolve(&mut folded, reason).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Finds out whether an append stands of which the log does not know.
    async fn resolve(
        &self,
        folded: &mut oneshot::Receiver<Folded>,
        reason: String,
    ) -> Result<Published> {
        let unknown = || Error::from(LogError::Unknown { reason });
        let Ok(bounds) = self.log.bounds(self.partition).await else {
            return Err(unknown());
        };
        let told = tokio::select! {
            biased;
            told = &mut *folded => told.map_err(|_| TryRecvError::Closed),
            _ = self.until_folded(bounds.end.0) => folded.try_recv(),
        };
        match told {
            Ok(folded) => Ok(self.answer(folded)),
            Err(TryRecvError::Empty) => Err(unknown()),
            Err(TryRecvError::Closed) => Err(self.ended().unwrap_or_else(overtaken)),
        }
    }
}

/// A later record was read back before it, so it does not count, whether it stands or comes to.
fn overtaken() -> Error {
    Error::new(
        ErrorCode::StoreUnavailable,
        "the log lost the event; nothing was published",
    )
}
