//! What time and other daemons bring: looks at lines, ends that were told elsewhere, sessions that are over.

use super::RedisLimits;
use super::call::Failure;
use super::scripts::SERVE;
use super::wire::{Message, Reply};
use crate::{MailboxEvent, Session};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trellis_core::limits::leases::Leases;
use trellis_core::{Micros, Time};

/// When something that failed is tried again.
pub(super) const RETRY: Micros = Micros::from_millis(100);

/// Lines that are looked at in one call: a pause of the store of a few milliseconds at most.
const BATCH: usize = 64;

/// Serves the lines, takes back what nobody received, keeps house.
pub struct RedisLimitsTask {
    limits: Arc<RedisLimits>,
}

/// Something that was under way.
pub(super) enum Finished {
    /// The lines of a namespace were looked at, in a session; these calls were not in line.
    Served(String, Option<(Session, Vec<String>)>),
    MadeAgain,
    Other,
}

impl RedisLimitsTask {
    pub(super) fn new(limits: Arc<RedisLimits>) -> Self {
        Self { limits }
    }

    /// Works until it is told to stop, then takes back what is abandoned by then.
    pub async fn run(self, stop: CancellationToken) {
        let limits = &self.limits;
        let mut mailbox = limits.store.mailbox();
        let mut sessions = limits.store.sessions();
        let mut withheld = limits.membership.watch_withheld();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Finished>> = FuturesUnordered::new();
        let mut serving: HashSet<String> = HashSet::new();
        let mut making_again = false;
        under_way.push(limits.keep_house().boxed());
        under_way.push(limits.keep_taking_back().boxed());
        loop {
            let due = limits.leasing.tick();
            let looks = limits.looks.lock().next();
            let next = [looks, due].into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => break,
                () = limits.leasing.work.notified() => {
                    let work = limits.leasing.take_work();
                    for ask in work.asks {
                        under_way.push(limits.ask_slice(ask).map(|()| Finished::Other).boxed());
                    }
                    if !work.returns.is_empty() {
                        let returns = limits.return_slices(work.returns);
                        under_way.push(returns.map(|()| Finished::Other).boxed());
                    }
                }
                Some(finished) = under_way.next() => match finished {
                    Finished::Served(namespace, not_in_line) => {
                        serving.remove(&namespace);
                        if let Some((session, tickets)) = not_in_line {
                            under_way.push(limits.end_untold(session, tickets).boxed());
                        }
                    }
                    Finished::MadeAgain => making_again = false,
                    Finished::Other => {}
                },
                event = mailbox.next() => match event {
                    Some(event) => limits.receive(event),
                    None => return,
                },
                () = limits.sooner.notified() => {}
                () = limits.sleep_until(next) => {}
                _ = sessions.changed() => {
                    let now = *sessions.borrow_and_update();
                    limits.leasing.attached(now);
                    under_way.push(limits.tell_at_once().boxed());
                    limits.forgotten.notify_one();
                }
                // What waits may be served earlier or later than it was told.
                Ok(()) = withheld.changed() => limits.doubt_all(),
                () = limits.forgotten.notified(), if !making_again => {
                    making_again = true;
                    under_way.push(limits.make_forgotten_again().boxed());
                }
            }
            limits.look_into_doubts();
            let due = limits.looks.lock().due(limits.clock.mono());
            for (namespace, buckets) in due {
                if serving.insert(namespace.clone()) {
                    under_way.push(limits.serve(namespace, buckets).boxed());
                } else {
                    // One look of a namespace at a time: what comes due meanwhile goes together.
                    limits.look_again(&namespace, buckets, Micros::from_millis(1));
                }
            }
        }
        drop(under_way);
        let last = async { tokio::join!(limits.take_back(), limits.return_all()) };
        let _ = timeout(limits.store.timeout(), last).await;
    }
}

impl RedisLimits {
    async fn sleep_until(&self, at: Option<Time>) {
        match at {
            Some(at) => tokio::time::sleep((at - self.clock.mono()).into()).await,
            None => std::future::pending().await,
        }
    }

    fn receive(&self, event: MailboxEvent) {
        let MailboxEvent::Message(bytes) = event else {
            // Messages may have been lost: everything is looked at, once.
            self.joined.notify_waiters();
            self.returned.notify_waiters();
            self.leasing.all(Leases::refill_all);
            self.doubt_all();
            return;
        };
        match rmp_serde::from_slice(&bytes) {
            Ok(Message::Look(namespace, told, now)) => self.note_looks(&namespace, told, now),
            Ok(Message::Ended(namespace)) => {
                self.look_again(&namespace, vec![ENDS.to_owned()], Micros::ZERO);
            }
            Ok(Message::Done) => self.joined.notify_waiters(),
            Ok(Message::Recall(namespace, limit, key)) => {
                self.leasing.recall(&namespace, &limit, &key);
            }
            Ok(Message::Refill(namespace, limit, key)) => {
                self.leasing.refill(&namespace, &limit, &key);
            }
            Ok(Message::Returned) => self.returned.notify_waiters(),
            Ok(Message::Other) | Err(_) => {}
        }
    }

    /// Tells a new generation what is known, though nobody calls.
    async fn tell_at_once(&self) -> Finished {
        while self.told_again().await.is_err() {
            sleep(RETRY.into()).await;
        }
        Finished::Other
    }

    /// Every waiting call is looked at.
    fn doubt_all(&self) {
        let namespaces = self.seats.namespaces();
        self.doubted.lock().extend(namespaces);
    }

    /// Gives back every slice before this daemon stops.
    async fn return_all(&self) {
        self.leasing.all(Leases::recall_all);
        let work = self.leasing.take_work();
        self.return_slices(work.returns).await;
    }

    fn look_again(&self, namespace: &str, buckets: Vec<String>, after: Micros) {
        let at = self.clock.mono() + after;
        let mut looks = self.looks.lock();
        for bucket in buckets {
            looks.hasten(namespace, bucket, at);
        }
        drop(looks);
        self.sooner.notify_one();
    }

    /// Where ends may have been lost, every call in line is looked at.
    fn look_into_doubts(&self) {
        for namespace in self.doubted.lock().drain() {
            let mut looks: Vec<String> = self.seats.in_line(&namespace);
            for ticket in &mut looks {
                ticket.insert_str(0, CALL);
            }
            looks.push(ENDS.to_owned());
            self.look_again(&namespace, looks, Micros::ZERO);
        }
    }

    /// Looks at lines of a namespace in which calls of this daemon wait.
    async fn serve(&self, namespace: String, looks: Vec<String>) -> Finished {
        let Some(session) = self
            .store
            .session()
            .filter(|_| self.seats.holds(&namespace))
        else {
            if self.seats.holds(&namespace) {
                self.look_again(&namespace, looks, RETRY);
            }
            return Finished::Served(namespace, None);
        };
        let mut not_in_line = Vec::new();
        for batch in looks.chunks(BATCH) {
            let ids: Vec<&String> = batch.iter().filter(|id| *id != ENDS).collect();
            let args = (ids,);
            let served = self.ask_within(session, &SERVE, &namespace, &args);
            match served.await {
                Ok(Reply::Done { payload, .. }) => {
                    let tickets: Vec<String> = payload;
                    not_in_line.extend(tickets);
                }
                Ok(_) => {}
                Err(Failure::Call(error)) => {
                    tracing::debug!(%error, namespace, "a line could not be looked at");
                    self.look_again(&namespace, batch.to_vec(), RETRY);
                }
                Err(Failure::Unreadable(error)) => {
                    tracing::error!(error, namespace, "an answer cannot be read");
                }
            }
        }
        let not_in_line = (!not_in_line.is_empty()).then_some((session, not_in_line));
        Finished::Served(namespace, not_in_line)
    }

    /// Ends calls that are not in line any more. What told their ends before has been read by then, or is lost.
    async fn end_untold(&self, session: Session, tickets: Vec<String>) -> Finished {
        sleep(self.store.timeout()).await;
        self.seats.untold(&tickets, session);
        Finished::Other
    }
}

/// In place of a bucket: only fetch the ends that are told.
const ENDS: &str = "ends";

/// Before a ticket: look at that call, and tell what may have been missed of it.
const CALL: &str = "call|";
