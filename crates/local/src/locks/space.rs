//! A namespace: its machine, and who is to be told what it decides.

use super::mailbox::Mailbox;
use crate::shards;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::locks::{
    AcquiredLocks, LeaseId, LocksStatus, Machine, MachineConfig, SessionKey, SessionNews, Start,
    Ticket, Token,
};
use trellis_core::{Error, ErrorCode, Micros, Name, Now, Result, Time};

/// The end of a waiting call on its way to a caller.
pub(super) struct Delivery {
    result: Result<AcquiredLocks>,
    /// The lease of a grant, until one of its callers has received it.
    lease: Arc<Mutex<Option<LeaseId>>>,
}

impl Delivery {
    /// Hands the result over; from then on a grant stands.
    pub fn receive(self) -> Result<AcquiredLocks> {
        self.lease.lock().take();
        self.result
    }

    /// What is to be given back, once no caller is left and none has received it.
    pub fn refuse(self) -> Option<LeaseId> {
        Arc::into_inner(self.lease)?.into_inner()
    }
}

/// What a waiting caller is told.
pub(super) enum Mail {
    Queued(u32),
    Ended(Delivery),
}

/// A caller that waits; known by its number.
pub(super) struct Caller {
    pub number: u64,
    pub mail: Arc<Mailbox<Mail>>,
}

/// A namespace and who waits in it.
pub(super) struct Space {
    pub machine: Machine,
    callers: HashMap<Ticket, Vec<Caller>>,
    feeds: HashMap<SessionKey, Arc<Mailbox<SessionNews>>>,
    watches: HashMap<Name, (usize, watch::Sender<()>)>,
    watchers: usize,
    numbers: u64,
}

impl Space {
    /// A namespace in which nothing is held.
    pub fn new(config: MachineConfig, start: Start) -> Self {
        Self {
            machine: Machine::new(config, start),
            callers: HashMap::new(),
            feeds: HashMap::new(),
            watches: HashMap::new(),
            watchers: 0,
            numbers: 0,
        }
    }

    /// Adds a caller to a waiting call.
    pub fn join(&mut self, ticket: Ticket, place: u32) -> Caller {
        self.numbers += 1;
        let caller = Caller {
            number: self.numbers,
            mail: Arc::new(Mailbox::new([Mail::Queued(place)])),
        };
        self.callers.entry(ticket).or_default().push(Caller {
            number: caller.number,
            mail: Arc::clone(&caller.mail),
        });
        caller
    }

    /// Takes a caller out of a waiting call, and ends the call with its last caller.
    pub fn leave(&mut self, ticket: Ticket, number: u64, now: Now) {
        if let Some(callers) = self.callers.get_mut(&ticket) {
            callers.retain(|other| other.number != number);
            if callers.is_empty() {
                self.callers.remove(&ticket);
                self.machine.cancel(ticket, now);
            }
        }
    }

    /// The feed of an attachment that has just been made.
    pub fn feed(&mut self, key: SessionKey) -> Arc<Mailbox<SessionNews>> {
        let feed = Arc::new(Mailbox::new([]));
        self.feeds.insert(key, Arc::clone(&feed));
        feed
    }

    /// Ends a feed whose attachment is over.
    pub fn end_feed(&mut self, key: SessionKey) {
        self.feeds.remove(&key);
    }

    /// Begins to watch a lock.
    pub fn watch(&mut self, name: &Name, max_watchers: usize) -> Result<watch::Receiver<()>> {
        if self.watchers >= max_watchers {
            let message = format!("{max_watchers} locks are watched in this namespace");
            let error = Error::new(ErrorCode::TooManyStreams, message);
            return Err(error.retry_after(Micros::from_secs(1)));
        }
        self.watchers += 1;
        self.machine.watch(name);
        let watch = self.watches.entry(name.clone());
        let (count, sender) = watch.or_insert_with(|| (0, watch::Sender::new(())));
        *count += 1;
        Ok(sender.subscribe())
    }

    pub fn unwatch(&mut self, name: &Name) {
        self.machine.unwatch(name);
        self.watchers -= 1;
        if let Some((count, _)) = self.watches.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.watches.remove(name);
            }
        }
    }
}

/// What dropped namespaces have left behind.
#[derive(Default)]
pub(super) struct Past {
    /// What they had decided.
    pub decided: LocksStatus,
    /// The highest token of any of them: a new namespace goes on above it.
    pub floor: Token,
}

impl shards::Space for Space {
    type Past = Past;

    fn deliver(&mut self) {
        let Some(effects) = self.machine.take_effects() else {
            return;
        };
        for (ticket, place) in effects.positions {
            for caller in self.callers.get(&ticket).into_iter().flatten() {
                let former = |mail: &Mail| matches!(mail, Mail::Queued(_));
                caller.mail.send(Mail::Queued(place), former);
            }
        }
        for answer in effects.answers {
            let lease = Arc::new(Mutex::new(answer.lease));
            for caller in self.callers.remove(&answer.ticket).into_iter().flatten() {
                let delivery = Delivery {
                    result: answer.result.clone(),
                    lease: Arc::clone(&lease),
                };
                caller.mail.send(Mail::Ended(delivery), |_| false);
            }
        }
        for (key, news) in effects.news {
            let Some(feed) = self.feeds.get(&key) else {
                continue;
            };
            let over = matches!(news, SessionNews::Ended(_));
            feed.send(news, |_| false);
            if over {
                self.feeds.remove(&key);
            }
        }
        for name in effects.changed {
            if let Some((_, sender)) = self.watches.get(&name) {
                sender.send_replace(());
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.machine.is_empty()
    }

    fn next_due(&self) -> Option<Time> {
        self.machine.next_due()
    }

    fn advance(&mut self, now: Now) {
        self.machine.advance(now);
    }

    fn leave_behind(&self, past: &mut Past) {
        past.decided.add_decisions(&self.machine.status());
        past.floor = self.machine.last_token().max(past.floor);
    }
}

/// Adds what a namespace holds and has decided.
pub(super) fn add_status(total: &mut LocksStatus, space: &Space) {
    let status = space.machine.status();
    total.namespaces += 1;
    total.locks += status.locks;
    total.leases += status.leases;
    total.sessions += status.sessions;
    total.waiters += status.waiters;
    total.request_ids += status.request_ids;
    total.add_decisions(&status);
}
