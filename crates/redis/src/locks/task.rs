//! What time and other daemons bring: ends of leases and waits, news, other sessions, deaths.

use super::RedisLocks;
use crate::MailboxEvent;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trellis_core::{Namespace, Time};

/// Times leases and sessions, tells calls that wait, keeps house.
pub struct RedisLocksTask {
    locks: Arc<RedisLocks>,
}

/// Something that was under way.
enum Finished {
    TookBack,
    Rejoined,
    Resynced(Namespace),
    Other,
}

/// What must not be under way twice.
#[derive(Default)]
struct UnderWay {
    taking_back: bool,
    rejoining: bool,
    resyncing: HashSet<Namespace>,
}

impl RedisLocksTask {
    pub(super) fn new(locks: Arc<RedisLocks>) -> Self {
        Self { locks }
    }

    /// Works until it is told to stop, then takes back what is abandoned by then. What it times is inherited by the
    /// others once the store is left.
    pub async fn run(self, stop: CancellationToken) {
        let locks = &self.locks;
        let mut mailbox = locks.store.locks_mailbox();
        let mut sessions = locks.store.sessions();
        sessions.mark_changed();
        let mut members = locks.membership.watch();
        let mut known = names(&members.borrow_and_update());
        let mut work: FuturesUnordered<BoxFuture<'_, Finished>> = FuturesUnordered::new();
        let mut under_way = UnderWay::default();
        let mut changed = false;
        work.push(locks.keep_all().map(|()| Finished::Other).boxed());
        loop {
            let next = locks.next_due();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(finished) = work.next() => match finished {
                    Finished::TookBack => under_way.taking_back = false,
                    Finished::Rejoined => under_way.rejoining = false,
                    Finished::Resynced(namespace) => {
                        under_way.resyncing.remove(&namespace);
                    }
                    Finished::Other => {}
                },
                event = mailbox.next() => match event {
                    Some(MailboxEvent::Message(bytes)) => locks.receive(&bytes),
                    // Messages may have been lost: everything is looked at, once.
                    Some(MailboxEvent::Gap) => locks.doubt_all(),
                    None => return,
                },
                _ = sessions.changed() => {
                    sessions.borrow_and_update();
                    changed = true;
                }
                _ = members.changed() => {
                    let now = names(&members.borrow_and_update());
                    let is_gone = |member| !now.contains(member);
                    if known.iter().any(is_gone) {
                        work.push(locks.inherit().map(|()| Finished::Other).boxed());
                    }
                    known = now;
                }
                () = locks.begun.notified() => {
                    work.push(locks.serve().map(|()| Finished::Other).boxed());
                }
                () = locks.sooner.notified() => {}
                () = locks.sleep_until(next) => {}
            }
            if changed
                && !under_way.rejoining
                && let Some(session) = locks.store.session()
            {
                (changed, under_way.rejoining) = (false, true);
                work.push(locks.rejoin(session).map(|()| Finished::Rejoined).boxed());
            }
            locks.begin_work(&mut work, &mut under_way);
        }
        drop(work);
        locks.stop_waiting();
        let last = async {
            locks.tell_broken().await;
            locks.take_back().await;
        };
        let _ = timeout(locks.store.timeout(), last).await;
    }
}

/// The members, each in its life.
fn names(members: &[crate::Member]) -> Vec<(String, u64)> {
    let name = |member: &crate::Member| (member.daemon.clone(), member.incarnation);
    members.iter().map(name).collect()
}

impl RedisLocks {
    fn next_due(&self) -> Option<Time> {
        let grace = self.grace_ends.lock().map(|(end, _)| end);
        let due = self.state.lock().next_due();
        [grace, due].into_iter().flatten().min()
    }

    async fn sleep_until(&self, at: Option<Time>) {
        match at {
            Some(at) => sleep((at - self.clock.mono()).into()).await,
            None => std::future::pending().await,
        }
    }

    fn doubt_all(&self) {
        for namespace in self.namespaces_here() {
            self.doubt(&namespace);
        }
        let state = self.state.lock();
        for watched in state.spaces.values().flat_map(|it| it.watches.values()) {
            watched.changes.send_replace(());
        }
    }

    /// Begins whatever there is to do.
    fn begin_work<'a>(
        &'a self,
        work: &mut FuturesUnordered<BoxFuture<'a, Finished>>,
        under_way: &mut UnderWay,
    ) {
        let now = self.clock.mono();
        for (namespace, over) in self.take_over(now) {
            work.push(self.end(namespace, over).map(|()| Finished::Other).boxed());
        }
        let grace = self.grace_ends.lock().take_if(|(end, _)| *end <= now);
        if let Some((_, session)) = grace {
            work.push(self.end_grace(session).map(|()| Finished::Other).boxed());
        }
        let abandoned = !self.letting.lock().is_empty()
            || !self.breaking.lock().is_empty()
            || !self.unwatched.lock().is_empty();
        if abandoned && !under_way.taking_back {
            under_way.taking_back = true;
            let taking_back = async {
                self.tell_broken().await;
                self.take_back().await;
                self.tell_unwatched().await;
                Finished::TookBack
            };
            work.push(taking_back.boxed());
        }
        if self.store.session().is_none() {
            return;
        }
        let doubted: Vec<Namespace> = {
            let mut doubted = self.doubted.lock();
            let ready = |namespace: &Namespace| !under_way.resyncing.contains(namespace);
            doubted.extract_if(ready).collect()
        };
        for namespace in doubted {
            under_way.resyncing.insert(namespace.clone());
            let resync = self.resync(namespace.clone());
            work.push(resync.map(|()| Finished::Resynced(namespace)).boxed());
        }
        let astray = self.state.lock().take_astray();
        for (namespace, claim, ticket) in astray {
            let Some(locks) = self.me.upgrade() else {
                continue;
            };
            let ask = locks.ask(namespace, claim, ticket);
            work.push(ask.map(|()| Finished::Other).boxed());
        }
    }
}
