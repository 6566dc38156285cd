//! Looks at locks, and watches.

use super::RedisLocks;
use super::hear::mode_of;
use super::scripts::{LOOK, WATCH};
use super::state::Watched;
use super::wire;
use crate::failure::unreadable;
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::locks::{
    ListLocks, LockHolder, LockPage, LockState, LockWaiter, LockWatch, MAX_SHOWN, Token, TokenState,
};
use trellis_core::{Micros, Name, Namespace, Result, Scope};

/// Whether waiters are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiters {
    Shown,
    Counted,
}

impl RedisLocks {
    pub(super) async fn look(
        &self,
        namespace: &Namespace,
        name: &Name,
        waiters: Waiters,
    ) -> Result<LockState> {
        let shown = u8::from(waiters == Waiters::Shown);
        let args = ("lock", name.as_str(), MAX_SHOWN, shown);
        let mut states: Vec<wire::State> = self.call(&LOOK, namespace, &args).await?;
        let state = states.pop().ok_or_else(|| unreadable("it shows nothing"))?;
        lock_state(state)
    }

    pub(super) async fn page(&self, list: ListLocks) -> Result<LockPage> {
        let after = list.after.as_ref().map_or("", Name::as_str);
        let args = ("list", after, list.page_size, MAX_SHOWN);
        let states: Vec<wire::State> = self.call(&LOOK, &list.namespace, &args).await?;
        let more = states.len() > list.page_size;
        let locks = states.into_iter().take(list.page_size).map(lock_state);
        Ok(LockPage {
            locks: locks.collect::<Result<_>>()?,
            more,
            scope: Scope::Shared,
        })
    }

    pub(super) async fn token_state(
        &self,
        namespace: &Namespace,
        name: &Name,
        token: Token,
    ) -> Result<TokenState> {
        let args = ("token", name.as_str(), token.get());
        let (held, left): (u64, i64) = self.call(&LOOK, namespace, &args).await?;
        Ok(TokenState {
            held: token_of(held)?,
            remaining: u64::try_from(left).ok().map(Micros),
            scope: Scope::Shared,
        })
    }

    /// The places of calls in line, 0 for those that are in none.
    pub(super) async fn places(&self, namespace: &Namespace, tickets: &[u64]) -> Result<Vec<u32>> {
        self.call(&LOOK, namespace, &("places", tickets)).await
    }

    pub(super) async fn watch_lock(
        self: Arc<Self>,
        namespace: Namespace,
        name: Name,
    ) -> Result<RedisWatch> {
        let changes = {
            let mut state = self.state.lock();
            let all = &mut state.space(&namespace).watches;
            let watched = all.entry(name.clone()).or_insert_with(|| Watched {
                count: 0,
                changes: watch::Sender::new(()),
            });
            watched.count += 1;
            watched.changes.subscribe()
        };
        // Dropped when the store refuses it.
        let watch = RedisWatch {
            locks: self.clone(),
            namespace,
            name,
            changes,
            first: true,
        };
        self.tell_watches(&watch.namespace, std::slice::from_ref(&watch.name))
            .await?;
        Ok(watch)
    }

    /// Tells the store how many watches there are of these locks.
    pub(super) async fn tell_watches(&self, namespace: &Namespace, names: &[Name]) -> Result<()> {
        let _one_at_a_time = self.watching.lock().await;
        let (counts, all) = {
            let state = self.state.lock();
            let watches = state.spaces.get(namespace).map(|space| &space.watches);
            let count = |name| {
                watches
                    .and_then(|all| all.get(name))
                    .map_or(0, |it| it.count)
            };
            let counts: Vec<(&str, u64)> = names
                .iter()
                .map(|name| (name.as_str(), count(name)))
                .collect();
            let all: u64 = watches.map_or(0, |all| all.values().map(|it| it.count).sum());
            (counts, all)
        };
        self.call::<bool>(&WATCH, namespace, &(counts, all))
            .await
            .map(drop)
    }
}

/// A watch of one lock.
pub(super) struct RedisWatch {
    locks: Arc<RedisLocks>,
    namespace: Namespace,
    name: Name,
    changes: watch::Receiver<()>,
    first: bool,
}

#[async_trait]
impl LockWatch for RedisWatch {
    async fn next(&mut self) -> Result<(LockState, Scope)> {
        if !self.first && self.changes.changed().await.is_err() {
            // The sender lives as long as this watch.
            std::future::pending::<()>().await;
        }
        // What changes from here on is told again.
        self.changes.mark_unchanged();
        let state = self
            .locks
            .look(&self.namespace, &self.name, Waiters::Counted)
            .await?;
        self.first = false;
        Ok((state, Scope::Shared))
    }
}

impl Drop for RedisWatch {
    fn drop(&mut self) {
        let mut state = self.locks.state.lock();
        let space = state.space(&self.namespace);
        if let Some(watched) = space.watches.get_mut(&self.name) {
            watched.count -= 1;
            if watched.count == 0 {
                space.watches.remove(&self.name);
            }
        }
        state.tidy(&self.namespace);
        drop(state);
        let unwatched = (self.namespace.clone(), self.name.clone());
        self.locks.unwatched.lock().insert(unwatched);
        self.locks.sooner.notify_one();
    }
}

fn token_of(token: u64) -> Result<Token> {
    match i64::try_from(token) {
        Ok(0) => Ok(Token::NONE),
        Ok(token) => Token::new(token, "token"),
        Err(_) => Err(unreadable("a token above 2^53")),
    }
}

fn lock_state(state: wire::State) -> Result<LockState> {
    let (name, mode, token, holder_count, holders, waiter_count, waiters) = state;
    let (mode, token) = (mode_of(mode), token_of(token)?);
    let holders = holders.into_iter();
    let waiters = waiters.into_iter();
    Ok(LockState {
        name: Name::new(name, "name")?,
        holders: holders
            .map(|(owner, value, held_for, remaining)| LockHolder {
                token,
                mode,
                owner: owner.into(),
                value: value.0,
                held_for: Micros(held_for),
                remaining: Micros(remaining),
            })
            .collect(),
        holder_count,
        waiters: waiters
            .map(|(mode, owner, waiting_for)| LockWaiter {
                mode: mode_of(mode),
                owner: owner.into(),
                waiting_for: Micros(waiting_for),
            })
            .collect(),
        waiter_count,
    })
}
