//! How what this daemon knows and what the store holds come together.

use super::RedisPipelines;
use super::call::{Page, Seen};
use super::known::Known;
use crate::Session;
use tokio::time::timeout;
use trellis_core::{Error, ErrorCode, Result, Scope};

/// How often everything is read anew because more was forgotten meanwhile than is remembered.
const LOADS: usize = 4;

/// What came of a page.
enum Taken {
    All,
    More,
    /// Ends may have been missed: everything must be read anew.
    Anew,
}

impl RedisPipelines {
    /// Brings what is known here up to the store. The task reads everything first where that is needed.
    pub(super) async fn catch_up(&self) -> Result<Session> {
        loop {
            let session = self.settled().await?;
            if self.advance(session).await? {
                return Ok(session);
            }
            self.loaded.send_replace(None);
            self.anew.notify_one();
        }
    }

    /// The session, once what the store holds in its generation was read, within the store's timeout.
    async fn settled(&self) -> Result<Session> {
        let mut loaded = self.loaded.subscribe();
        let settled = async {
            loop {
                let session = self.store.session();
                let session = session.ok_or_else(|| away("not attached"))?;
                if *loaded.borrow_and_update() == Some(session.generation) {
                    return Ok(session);
                }
                // The sender lives in `self`.
                let _ = loaded.changed().await;
            }
        };
        let settled = timeout(self.store.timeout(), settled).await;
        settled.unwrap_or_else(|_| Err(away("its pipelines are still to be read")))
    }

    /// Asks what has changed, and takes note of it. False: everything must be read anew.
    async fn advance(&self, session: Session) -> Result<bool> {
        loop {
            let since = self.known.read().last_change;
            let page = self.look(session, since).await?;
            match self.take(session, since, page) {
                Taken::All => return Ok(true),
                Taken::More => {}
                Taken::Anew => return Ok(false),
            }
        }
    }

    fn take(&self, session: Session, since: u64, page: Page) -> Taken {
        let mut known = self.known.write();
        let is_gap = since > 0 && page.forgotten > since;
        if is_gap || known.generation != session.generation {
            return Taken::Anew;
        }
        let mut changed = false;
        for seen in page.records {
            if let Seen::Read(record) = seen {
                changed |= known.note(record, self.max_gone());
            }
        }
        known.last_change = known.last_change.max(page.upto);
        drop(known);
        if changed {
            self.changes.send_replace(());
        }
        if page.more { Taken::More } else { Taken::All }
    }

    /// Does whatever is needed for this daemon to know what the store holds. For the task alone.
    pub(super) async fn sync(&self) -> Result<()> {
        let Some(session) = self.store.session() else {
            return Ok(());
        };
        let generation = self.known.read().generation;
        let is_loaded = *self.loaded.borrow() == Some(session.generation);
        if is_loaded && generation == session.generation && self.advance(session).await? {
            return Ok(());
        }
        if generation != 0 && generation != session.generation {
            self.tell(session).await?;
        }
        self.load(session).await
    }

    /// Tells a new generation what is known here, should the store have lost it.
    async fn tell(&self, session: Session) -> Result<()> {
        let records = self.known.read().records();
        let (put_back, refused) = self.restore(session, &records).await?;
        if put_back > 0 {
            tracing::warn!(put_back, "the store had lost settings of pipelines");
        }
        if refused > 0 {
            tracing::error!(
                refused,
                "settings of pipelines that the store had lost find no room in it: raise pipelines.max_pipelines"
            );
        }
        Ok(())
    }

    /// Reads everything.
    async fn load(&self, session: Session) -> Result<()> {
        for _ in 0..LOADS {
            if let Some(known) = self.read_all(session).await? {
                *self.known.write() = known;
                self.loaded.send_replace(Some(session.generation));
                self.changes.send_replace(());
                return Ok(());
            }
        }
        Err(away("its pipelines change faster than they can be read"))
    }

    /// What the store holds; `None` where more was forgotten meanwhile than is remembered.
    async fn read_all(&self, session: Session) -> Result<Option<Known>> {
        let mut known = self.known.read().forgetful(session.generation);
        let mut forgotten = None;
        loop {
            let page = self.look(session, known.last_change).await?;
            if *forgotten.get_or_insert(page.forgotten) != page.forgotten {
                return Ok(None);
            }
            for seen in page.records {
                let record = match seen {
                    Seen::Read(record) => Some(record),
                    // The last good values stay.
                    Seen::Unreadable(namespace, name) => {
                        self.known.read().record(&namespace, &name)
                    }
                };
                if let Some(record) = record {
                    known.note(record, self.max_gone());
                }
            }
            known.last_change = page.upto;
            if !page.more {
                return Ok(Some(known));
            }
        }
    }

    /// The guarantee that looks carry now. Never waits.
    pub(super) fn scope(&self) -> Scope {
        let generation = self.store.session().map(|session| session.generation);
        if generation.is_some() && *self.loaded.borrow() == generation {
            return Scope::Shared;
        }
        self.degraded()
    }

    /// What is told is what was last known.
    pub(super) fn degraded(&self) -> Scope {
        let health = self.store.health();
        let health = health.borrow();
        let reason = if health.reason.is_empty() {
            "the store's pipelines could not be read".into()
        } else {
            health.reason.clone()
        };
        Scope::Degraded {
            since: health.since.wall,
            reason,
        }
    }
}

fn away(reason: &str) -> Error {
    let message = format!("the shared store is away: {reason}; nothing was done");
    Error::new(ErrorCode::StoreUnavailable, message).retry_after(crate::failure::RETRY_AFTER)
}
