//! What time and other daemons bring: looks at flights, things given back, counts told to the store.

use super::RedisCache;
use super::blob::{self, Landed};
use super::call::Told;
use super::ledger::counts;
use super::lines::{Hint, Look, Seen, coalesced};
use super::reading;
use super::scripts::{LOOK, STATS};
use super::wire::{self, LookTold, Message, StatsTold};
use crate::MailboxEvent;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trellis_core::cache::{Failure, Hit, ReadFrom, Source};
use trellis_core::{EntryKey, Micros, Namespace, Result, Time};

/// Counts are told to the store so long after the first.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// Serves the calls that wait here, gives back what nobody received, keeps house.
pub struct RedisCacheTask {
    cache: Arc<RedisCache>,
}

/// Something that was under way.
enum Finished {
    Looked,
    LetGo,
    Counted,
}

impl RedisCacheTask {
    pub(super) fn new(cache: Arc<RedisCache>) -> Self {
        Self { cache }
    }

    /// Works until it is told to stop, then gives back what is abandoned by then.
    pub async fn run(self, stop: CancellationToken) {
        let cache = &self.cache;
        let mut mailbox = cache.store.mailbox();
        let mut sessions = cache.store.sessions();
        let mut members = cache.membership.watch();
        let mut known = names(&members.borrow_and_update());
        let mut under_way: FuturesUnordered<BoxFuture<'_, Finished>> = FuturesUnordered::new();
        let (mut letting, mut counting) = (false, false);
        let mut house = cache.keep_house().boxed();
        let mut tracking = match &cache.near {
            Some(near) => near.keep_tracked(&cache.store).boxed(),
            None => std::future::pending().boxed(),
        };
        loop {
            let next = cache.lines.next_due();
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut house => {}
                () = &mut tracking => {}
                Some(finished) = under_way.next() => match finished {
                    Finished::Looked => {}
                    Finished::LetGo => letting = false,
                    Finished::Counted => counting = false,
                },
                event = mailbox.next() => match event {
                    Some(event) => cache.receive(event),
                    None => return,
                },
                _ = sessions.changed() => {
                    sessions.borrow_and_update();
                    cache.lines.hint(Hint::All, cache.clock.mono());
                }
                _ = members.changed() => {
                    let now = names(&members.borrow_and_update());
                    // Who is gone leaves leases and lines.
                    if now != std::mem::replace(&mut known, now.clone()) {
                        cache.lines.hint(Hint::All, cache.clock.mono());
                    }
                }
                () = cache.sooner.notified() => {}
                () = cache.sleep_until(next) => {}
            }
            for look in cache.lines.due(cache.clock.mono()) {
                under_way.push(cache.look(look).map(|()| Finished::Looked).boxed());
            }
            if !letting && cache.has_to_let_go() {
                letting = true;
                under_way.push(cache.let_go().map(|()| Finished::LetGo).boxed());
            }
            if !counting && cache.ledgers.has_pending() {
                counting = true;
                under_way.push(cache.tell_counts().map(|()| Finished::Counted).boxed());
            }
        }
        drop(under_way);
        let _ = timeout(cache.store.timeout(), cache.let_go()).await;
        let _ = timeout(cache.store.timeout(), cache.flush_counts()).await;
    }
}

/// The members, each in its life.
fn names(members: &[crate::Member]) -> Vec<(String, u64)> {
    let name = |member: &crate::Member| (member.daemon.clone(), member.incarnation);
    members.iter().map(name).collect()
}

impl RedisCache {
    async fn sleep_until(&self, at: Option<Time>) {
        match at.filter(|at| *at != Time::NEVER) {
            Some(at) => sleep((at - self.clock.mono()).into()).await,
            None => std::future::pending().await,
        }
    }

    fn receive(&self, event: MailboxEvent) {
        let now = self.clock.mono();
        let MailboxEvent::Message(bytes) = event else {
            // Messages may have been lost: everything is looked at, once.
            return self.lines.hint(Hint::All, now);
        };
        let hint = match Message::read(&bytes) {
            Some(Message::Flight(namespace, key, flight)) => {
                let namespace = Namespace::new(namespace, "namespace");
                let key = EntryKey::new(key, "key");
                let (Ok(namespace), Ok(key)) = (namespace, key) else {
                    return;
                };
                Hint::Flight((namespace, key, flight))
            }
            Some(Message::Cleared(namespace)) => match Namespace::new(namespace, "namespace") {
                Ok(namespace) => Hint::Namespace(namespace),
                Err(_) => return,
            },
            None => return,
        };
        self.lines.hint(hint, now);
    }

    /// Looks at a flight, and tells the calls that wait for it.
    async fn look(&self, look: Look) {
        let seen = self.see(&look).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a flight could not be looked at");
            Seen::Nothing
        });
        let effects = self.lines.looked(&look, seen, self.clock.mono());
        let namespace = &look.place.0;
        self.count_effects(namespace, &effects);
        if let Some(lease) = effects.orphan {
            self.let_lease_go(namespace, lease);
        }
    }

    async fn see(&self, look: &Look) -> Result<Seen> {
        let (namespace, key, flight) = &look.place;
        let offset = look.offset.and_then(|offset| i64::try_from(offset).ok());
        let args = (
            key.as_str(),
            flight,
            look.ticket,
            wire::options(&look.options),
            offset.unwrap_or(-1),
        );
        let Told {
            payload,
            mut values,
            ..
        } = self.call(&LOOK, namespace, &args).await?;
        Ok(match payload {
            LookTold::Gone => Seen::Gone,
            LookTold::Landed => return self.see_landed(look).await,
            LookTold::Open(round, reason, turn_in) => Seen::Open {
                round,
                reason: wire::end(reason),
                turn_in: Micros(turn_in),
            },
            LookTold::Taken(round, reason, lease) => {
                self.store.saw_token(lease.0);
                Seen::Taken {
                    round,
                    reason: wire::end(reason),
                    lease: wire::lease(lease),
                }
            }
            LookTold::Flying(round, reason, ends_in, size) => Seen::Flying {
                round,
                reason: wire::end(reason),
                ends_in: Micros(ends_in),
                size,
                bytes: values.pop().unwrap_or_default(),
            },
        })
    }

    /// How a flight ended. Its end may be gone again, and is damaged perhaps: then its calls begin again.
    async fn see_landed(&self, look: &Look) -> Result<Seen> {
        let (namespace, key, flight) = &look.place;
        let root = self.root(namespace.as_str());
        let Some(value) = self.read_one(format!("{root}:d:{flight}")).await? else {
            return Ok(Seen::Gone);
        };
        match blob::read(&value) {
            Err(what) => {
                self.report_damage(what);
                Ok(Seen::Gone)
            }
            Ok(Landed::Value(entry)) => {
                // Who was told this value is not told an older one next.
                self.changed(namespace, key);
                // Told as of its writing, give or take the way to here: it is not older to those who wait.
                let hit = entry.told(Source::Coalesced, entry.written);
                Ok(Seen::Value(Box::new(coalesced(hit))))
            }
            Ok(Landed::Failure(code, message, until)) => {
                let mut read = self.read(namespace, &[key], ReadFrom::Store).await?;
                self.without_doubt(namespace, &mut read.seen).await?;
                let failure = Failure {
                    code,
                    message: message.into(),
                    remembered_for: Time(until) - read.now,
                };
                let instead = if look.takes_stale { stale(read) } else { None };
                Ok(Seen::Failure(failure, instead))
            }
        }
    }

    /// Tells the store what was counted, a little later, so that more goes together.
    async fn tell_counts(&self) {
        sleep(COUNT_EVERY).await;
        self.flush_counts().await;
    }

    async fn flush_counts(&self) {
        for namespace in self.ledgers.pending() {
            let own = self.ledgers.take(&namespace);
            let args = (counts(&own),);
            match self.call::<StatsTold>(&STATS, &namespace, &args).await {
                Ok(_) => {}
                // Perhaps counted: a count too few is better than one too many.
                Err(error) if error.code == trellis_core::ErrorCode::OutcomeUnknown => {}
                Err(error) if error.code == trellis_core::ErrorCode::StoreUnavailable => {
                    self.ledgers.put_back(&namespace, &own);
                }
                // There is no room for the namespace: nor for its ledger.
                Err(error) => tracing::debug!(%error, "counts could not be kept"),
            }
        }
    }
}

/// The entry that is served in place of a failure.
fn stale(read: reading::Read) -> Option<Box<Hit>> {
    let seen = read.seen.into_iter().next()?;
    match seen {
        reading::Seen::Entry(entry) => Some(Box::new(entry.told(Source::Shared, read.now))),
        _ => None,
    }
}
