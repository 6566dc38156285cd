//! What time and other daemons bring: looks at lines, grants that nobody received, housekeeping.

use super::call::Failure;
use super::scripts::{GIVE_BACK, LEAVE, NAMESPACES, SERVE, SWEEP};
use super::seats::Abandoned;
use super::wire::{Data, Message, Reply, State};
use super::{RedisLimits, convert};
use crate::{Call, MailboxEvent};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trellis_core::limits::leases::Leases;
use trellis_core::limits::{AcquireRequest, LimitsStatus};
use trellis_core::{Micros, Time};

/// Buckets and records looked at in one sweep: a pause of the store of well under a millisecond.
const SWEEP_BUDGET: u64 = 256;

/// Sweeps of one namespace in one round, so that a large one does not keep the others waiting.
const SWEEPS_A_ROUND: usize = 64;

/// When a look that failed is tried again.
const RETRY: Micros = Micros::from_millis(100);

/// Ends that are told in one call.
const BATCH: usize = 256;

/// Serves the lines, takes back what nobody received, keeps house.
pub struct RedisLimitsTask {
    limits: Arc<RedisLimits>,
}

/// Something that was under way.
enum Finished {
    Served(String),
    Other,
}

impl RedisLimitsTask {
    pub(super) fn new(limits: Arc<RedisLimits>) -> Self {
        Self { limits }
    }

    /// Works until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let limits = &self.limits;
        let mut mailbox = limits.store.mailbox();
        let mut sessions = limits.store.sessions();
        let mut session = *sessions.borrow_and_update();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Finished>> = FuturesUnordered::new();
        let mut serving: HashSet<String> = HashSet::new();
        under_way.push(limits.keep_house().boxed());
        loop {
            let due = limits.leasing.tick();
            let looks = limits.looks.lock().next();
            let next = [looks, due].into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => return limits.return_all().await,
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
                Some(finished) = under_way.next() => if let Finished::Served(namespace) = finished {
                    serving.remove(&namespace);
                },
                event = mailbox.next() => match event {
                    Some(event) => limits.receive(event),
                    None => return,
                },
                () = limits.sooner.notified() => {}
                () = limits.sleep_until(next) => {}
                () = limits.seats.news.notified() => {
                    under_way.push(limits.take_back_all().map(|()| Finished::Other).boxed());
                }
                _ = sessions.changed() => {
                    let now = *sessions.borrow_and_update();
                    if let (Some(former), Some(now)) = (session, now)
                        && !former.continues_in(&now)
                    {
                        limits.looks.lock().clear();
                        limits.leasing.all(|leases, _| leases.void());
                    }
                    session = now.or(session);
                }
            }
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
            for namespace in self.seats.namespaces() {
                let mut buckets = self.looks.lock().take(&namespace);
                buckets.push(ENDS.to_owned());
                self.look_again(&namespace, buckets, Micros::ZERO);
            }
            return;
        };
        match rmp_serde::from_slice(&bytes) {
            Ok(Message::Look(namespace, told)) => {
                // Without a reading of the store's clock the time is taken from the last one.
                let now = self.store_now();
                self.note_looks(&namespace, told, now);
            }
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

    /// Gives back every slice before this daemon stops.
    async fn return_all(&self) {
        self.leasing.all(Leases::recall_all);
        let work = self.leasing.take_work();
        let _ = tokio::time::timeout(self.store.timeout(), self.return_slices(work.returns)).await;
    }

    fn look_again(&self, namespace: &str, buckets: Vec<String>, after: Micros) {
        let at = self.clock.mono() + after;
        let mut looks = self.looks.lock();
        for bucket in buckets {
            looks.set(namespace, bucket, at);
        }
        drop(looks);
        self.sooner.notify_one();
    }

    /// Looks at lines of a namespace in which calls of this daemon wait.
    async fn serve(&self, namespace: String, buckets: Vec<String>) -> Finished {
        if self.seats.namespaces().contains(&namespace) {
            let ids: Vec<&String> = buckets.iter().filter(|id| *id != ENDS).collect();
            let reply = self.ask::<bool>(&SERVE, &namespace, &(ids,), None).await;
            if let Err(Failure::Call(error)) = reply {
                tracing::debug!(%error, namespace, "a line could not be looked at");
                self.look_again(&namespace, buckets, RETRY);
            }
        }
        Finished::Served(namespace)
    }

    /// Takes out of the lines, and back, what nobody waits for any more.
    async fn take_back_all(&self) {
        let mut waiting: Vec<(String, String)> = Vec::new();
        for abandoned in self.seats.abandoned() {
            match abandoned {
                Abandoned::Waiting { namespace, ticket } => waiting.push((namespace, ticket)),
                Abandoned::Granted {
                    request,
                    reservation,
                    at,
                } => {
                    self.give_back(request, reservation, at).await;
                }
            }
        }
        waiting.sort_unstable();
        for group in waiting.chunk_by(|one, other| one.0 == other.0) {
            for batch in group.chunks(BATCH) {
                self.leave(batch).await;
            }
        }
    }

    async fn leave(&self, batch: &[(String, String)]) {
        const CANCELLED: u8 = 0;
        type Left = Vec<(String, bool, u8, Data, Vec<State>)>;
        let namespace = &batch[0].0;
        let tickets: Vec<(&str, u8)> = batch
            .iter()
            .map(|(_, ticket)| (ticket.as_str(), CANCELLED))
            .collect();
        match self.ask::<Left>(&LEAVE, namespace, &(tickets,), None).await {
            Ok(Reply::Done { payload, .. }) => {
                for (ticket, gone, ..) in payload {
                    if !gone {
                        self.seats.forget(&ticket);
                    }
                }
            }
            // Whoever has no session has no calls in line either; in the next one they are forgotten.
            _ => {
                for (_, ticket) in batch {
                    self.seats.forget(ticket);
                }
            }
        }
    }

    async fn give_back(&self, request: Arc<AcquireRequest>, reservation: Option<String>, at: u64) {
        let taken: Vec<(&str, &str, i64)> = request
            .charges
            .iter()
            .map(|charge| (charge.limit.as_str(), charge.key.as_str(), charge.amount()))
            .collect();
        let named = convert::request("acquire", request.request_id.as_ref(), &());
        let args = (super::wire::Maybe(reservation.as_deref()), taken, at, named);
        let reply = self
            .ask::<bool>(&GIVE_BACK, request.namespace.as_str(), &args, None)
            .await;
        if let Err(error) = reply {
            tracing::warn!(
                ?error,
                "a grant that nobody received could not be given back"
            );
        }
    }

    /// Forgets what is over, in every namespace, and counts what there is.
    async fn keep_house(&self) -> Finished {
        loop {
            let members = self.membership.snapshot().len().max(1);
            let every = Duration::from(self.config.machine.sweep_every);
            // The daemons take turns: together they sweep about once in that time.
            let turns = every * u32::try_from(members).unwrap_or(u32::MAX);
            tokio::time::sleep(turns.mul_f64(rand::random_range(0.5..1.5))).await;
            for namespace in self.namespaces().await {
                self.sweep(&namespace).await;
            }
        }
    }

    async fn namespaces(&self) -> Vec<String> {
        let call = Call::new(&NAMESPACES).key(self.store.keys().of("limits-namespaces", &[]));
        let names: Vec<String> = match self.store.call(call).await {
            Ok(reply) => {
                let names = reply.items().iter();
                names
                    .filter_map(|name| name.text().map(str::to_owned))
                    .collect()
            }
            Err(_) => return Vec::new(),
        };
        self.counted.lock().retain(|name, _| names.contains(name));
        names
    }

    async fn sweep(&self, namespace: &str) {
        type Counts = (usize, usize, usize, usize, usize, bool);
        for _ in 0..SWEEPS_A_ROUND {
            let reply = self
                .ask::<Counts>(&SWEEP, namespace, &(SWEEP_BUDGET,), None)
                .await;
            let Ok(Reply::Done { payload, .. }) = reply else {
                return;
            };
            let (limits, buckets, waiters, reservations, request_ids, more) = payload;
            let status = LimitsStatus {
                limits,
                buckets,
                waiters,
                reservations,
                request_ids,
                ..LimitsStatus::default()
            };
            self.counted.lock().insert(namespace.to_owned(), status);
            if !more {
                return;
            }
        }
    }
}

/// In place of a bucket: only fetch the ends that are told.
const ENDS: &str = "ends";
