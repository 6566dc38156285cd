//! Looks that change nothing but what time has brought, and watches.

use super::super::ids::Token;
use super::super::types::{ListLocks, LockHolder, LockState, LockWaiter, MAX_SHOWN};
use super::Machine;
use super::table::Entry;
use crate::{Micros, Name, Now};

impl Machine {
    /// Who holds a lock and who waits for it. See [`super::super::Locks::inspect`].
    pub fn inspect(&mut self, name: &Name, now: Now) -> LockState {
        self.advance(now);
        let Some(entry) = self.table.get(name) else {
            return state(name);
        };
        let mut state = self.held(name, entry, now);
        let waiters = entry.line.iter().filter_map(|(ticket, mode)| {
            let waiter = self.waiters.get(ticket)?;
            Some(LockWaiter {
                mode: *mode,
                owner: self.owner(&waiter.claim.life),
                waiting_for: now.mono - waiter.since,
            })
        });
        state.waiters = waiters.take(MAX_SHOWN).collect();
        state
    }

    /// The state of a lock as lists and watches show it.
    pub fn holders(&mut self, name: &Name, now: Now) -> LockState {
        self.advance(now);
        let entry = self.table.get(name);
        entry.map_or_else(|| state(name), |entry| self.held(name, entry, now))
    }

    /// A page of locks in use, and whether there are more. See [`super::super::Locks::list`].
    pub fn list(&mut self, list: &ListLocks, now: Now) -> (Vec<LockState>, bool) {
        self.advance(now);
        let mut locks = self.table.after(list.after.as_ref());
        let shown = locks.by_ref().take(list.page_size);
        let shown = shown.map(|(name, entry)| self.held(name, entry, now));
        let shown: Vec<LockState> = shown.collect();
        (shown, locks.next().is_some())
    }

    /// The token under which a lock is held, and how long the longest lease under `token` lasts.
    pub fn check_token(&mut self, name: &Name, token: Token, now: Now) -> (Token, Option<Micros>) {
        self.advance(now);
        let entry = self.table.get(name).filter(|it| !it.holders.is_empty());
        let Some(entry) = entry else {
            return (Token::NONE, None);
        };
        let leases = entry.holders.iter().map(|lease| self.ends(*lease));
        let last = leases.max().filter(|_| entry.token == token);
        (entry.token, last.map(|end| end - now.mono))
    }

    /// Begins to tell of changes of a lock's holders.
    pub fn watch(&mut self, name: &Name) {
        *self.watched.entry(name.clone()).or_default() += 1;
    }

    /// Takes one [`Machine::watch`] back.
    pub fn unwatch(&mut self, name: &Name) {
        if let Some(watches) = self.watched.get_mut(name) {
            *watches -= 1;
            if *watches == 0 {
                self.watched.remove(name);
            }
        }
    }

    fn held(&self, name: &Name, entry: &Entry, now: Now) -> LockState {
        let holders = entry.holders.iter().filter_map(|number| {
            let lease = self.leases.get(number)?;
            Some(LockHolder {
                token: entry.token,
                mode: entry.mode,
                owner: self.owner(&lease.life),
                value: lease.value.clone(),
                held_for: now.mono - lease.since,
                remaining: self.ends(*number) - now.mono,
            })
        });
        LockState {
            holders: holders.take(MAX_SHOWN).collect(),
            holder_count: entry.holders.len(),
            waiter_count: entry.line.len(),
            ..state(name)
        }
    }
}

/// A lock that nobody uses.
fn state(name: &Name) -> LockState {
    LockState {
        name: name.clone(),
        holders: Vec::new(),
        holder_count: 0,
        waiters: Vec::new(),
        waiter_count: 0,
    }
}
