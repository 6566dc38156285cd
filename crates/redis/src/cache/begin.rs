//! Keys that are to be got or computed: values by plain reads, then leases and places in line by script.

use super::RedisCache;
use super::call::{Told, failed, unpack};
use super::lines::{Joining, Place};
use super::near::Mark;
use super::reading::Seen;
use super::scripts::BEGIN;
use super::waiting::{RedisWaiting, Seated};
use super::wire::{self, Answer};
use super::{blob, lines};
use crate::Heir;
use crate::failure::unreadable;
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trellis_core::cache::{
    Entry, Failure, FetchOptions, Hit, Lease, LeaseId, ReadFrom, Source, Wait,
};
use trellis_core::{EntryKey, Error, ErrorCode, Micros, Namespace, Result, Time};

/// Keys in one script: a pause of the store of a few milliseconds at most. A larger batch is several scripts, sent
/// together.
const TOGETHER: usize = 128;

/// What became of one key.
pub(super) enum Began {
    Hit(Hit, Option<Lease>),
    Lease(Lease),
    Waiting(RedisWaiting),
    Busy,
    Failed(Failure),
    Deferred,
}

/// A key that only a script can decide.
struct Open<'a> {
    index: usize,
    key: &'a EntryKey,
    known: Option<Arc<Entry>>,
    /// As the script is told: 0 nothing, -1 damage.
    version: i64,
    /// Of the read that found what is known.
    read: (Option<Mark>, Time),
}

impl RedisCache {
    /// What becomes of each key, in the order asked for.
    pub(super) async fn begin_keys(
        self: &Arc<Self>,
        namespace: &Namespace,
        keys: &[EntryKey],
        wanted: (FetchOptions, Wait),
    ) -> Result<Vec<Result<Began>>> {
        let near = match wanted.0.read {
            ReadFrom::Near => self.near_hits(namespace, keys, |entry, now| {
                is_served(entry, &wanted.0, now)
            }),
            ReadFrom::Store => vec![None; keys.len()],
        };
        let near = near.into_iter();
        let mut began: Vec<Option<Result<Began>>> = near
            .map(|hit| hit.map(|hit| Ok(Began::Hit(hit, None))))
            .collect();
        let missing: Vec<usize> = (0..keys.len())
            .filter(|index| began[*index].is_none())
            .collect();
        let mut open = Vec::new();
        if !missing.is_empty() {
            let sought: Vec<&EntryKey> = missing.iter().map(|index| &keys[*index]).collect();
            let read = self.read(namespace, &sought, wanted.0.read).await?;
            let read_at = (read.mark, read.now);
            for ((index, key), seen) in missing.into_iter().zip(sought).zip(read.seen) {
                match self.first_look(namespace, key, (seen, read_at), &wanted.0) {
                    Ok(decided) => began[index] = Some(Ok(decided)),
                    Err((known, version)) => open.push(Open {
                        index,
                        key,
                        known,
                        version,
                        read: read_at,
                    }),
                }
            }
        }
        let chunks = open.chunks_mut(TOGETHER);
        let chunks = chunks.map(|chunk| self.begin_chunk(namespace, chunk, wanted));
        for (index, one) in join_all(chunks).await.into_iter().flatten() {
            began[index] = Some(one);
        }
        let missing = || Err(unreadable("a key has no answer"));
        Ok(began
            .into_iter()
            .map(|one| one.unwrap_or_else(missing))
            .collect())
    }

    /// What a look at the values alone decides; else what is known of the entry, as `Open` holds it.
    fn first_look(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        (seen, read): (Seen, (Option<Mark>, Time)),
        options: &FetchOptions,
    ) -> std::result::Result<Began, (Option<Arc<Entry>>, i64)> {
        match seen {
            Seen::Deferred => Ok(Began::Deferred),
            Seen::Entry(entry) if is_served(&entry, options, read.1) => {
                self.copy((namespace, key), &entry, read);
                let hit = entry.told(Source::Shared, read.1);
                self.count_served(namespace, &hit);
                Ok(Began::Hit(hit, None))
            }
            // The script looks at tags itself.
            Seen::Entry(entry) | Seen::Doubtful(entry) => {
                let version = i64::try_from(entry.version.0).unwrap_or(0);
                Err((Some(entry), version))
            }
            Seen::Nothing => Err((None, 0)),
            Seen::Damaged => Err((None, -1)),
        }
    }

    async fn begin_chunk(
        self: &Arc<Self>,
        namespace: &Namespace,
        chunk: &mut [Open<'_>],
        (options, wait): (FetchOptions, Wait),
    ) -> Vec<(usize, Result<Began>)> {
        let count = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let ticket = self.tickets.fetch_add(count, Ordering::Relaxed);
        let keys: Vec<&str> = chunk.iter().map(|open| open.key.as_str()).collect();
        let versions: Vec<i64> = chunk.iter().map(|open| open.version).collect();
        let args = (
            keys,
            versions,
            wire::options(&options),
            u8::from(options.refresh),
            u8::from(wait != Wait::No),
            ticket,
        );
        let heir = self.begin_heir(namespace, chunk, ticket);
        let since = self.lines.mark();
        let told: Result<Told<Vec<Answer>>> =
            self.call_inherited(&BEGIN, namespace, &args, heir).await;
        let Told {
            now,
            payload,
            values,
        } = match told {
            Ok(told) => told,
            Err(error) => {
                let all = chunk.iter();
                return all.map(|open| (open.index, Err(error.clone()))).collect();
            }
        };
        let seat = |key: &EntryKey, number: usize, told: (u64, u64, u64)| {
            let joining = Joining {
                ticket: ticket + u64::try_from(number).unwrap_or(u64::MAX),
                options,
                parts: wait == Wait::Parts,
                round: told.1,
                look_in: Micros(told.2),
                since,
            };
            self.seat((namespace.clone(), key.clone(), told.0), joining)
        };
        let decided = chunk.iter_mut().zip(payload).enumerate();
        decided
            .map(|(number, (open, answer))| {
                let began = match answer {
                    Answer::Wait(flight, round, look_in) => Ok(Began::Waiting(seat(
                        open.key,
                        number,
                        (flight, round, look_in),
                    ))),
                    Answer::Hit(version, index) => {
                        let entry = self.entry_of(namespace, open, (version, index), &values);
                        entry.map(|entry| self.serve(namespace, &entry, (None, now)))
                    }
                    Answer::Refresh(version, index, lease) => {
                        self.store.saw_token(lease.0);
                        let lease = wire::lease(lease);
                        let entry = self.entry_of(namespace, open, (version, index), &values);
                        entry.map(|entry| self.serve(namespace, &entry, (Some(lease), now)))
                    }
                    other => self.decided(namespace, other),
                };
                (open.index, began)
            })
            .collect()
    }

    /// Seats a call that is in line.
    fn seat(self: &Arc<Self>, place: Place, joining: Joining) -> RedisWaiting {
        let woken = self.lines.join(&place, joining, self.clock.mono());
        self.sooner.notify_one();
        let wait = if joining.parts {
            Wait::Parts
        } else {
            Wait::Whole
        };
        RedisWaiting {
            cache: Arc::clone(self),
            place,
            ticket: joining.ticket,
            options: joining.options,
            wait,
            woken,
            told: false,
            state: Seated::InLine,
        }
    }

    /// What needs neither a value nor a seat.
    fn decided(&self, namespace: &Namespace, answer: Answer) -> Result<Began> {
        match answer {
            Answer::Lease(lease) => {
                self.store.saw_token(lease.0);
                self.count(namespace, |ledger| ledger.misses += 1);
                Ok(Began::Lease(wire::lease(lease)))
            }
            Answer::Deferred => Ok(Began::Deferred),
            Answer::Busy => {
                self.count(namespace, |ledger| ledger.misses += 1);
                Ok(Began::Busy)
            }
            Answer::Failed(code, message, left) => {
                self.count(namespace, |ledger| ledger.failed += 1);
                Ok(Began::Failed(Failure {
                    code,
                    message: message.into(),
                    remembered_for: Micros(left),
                }))
            }
            Answer::Error(code, bound) => Err(failed(&code, bound)),
            Answer::Hit(..) | Answer::Refresh(..) | Answer::Wait(..) => {
                Err(unreadable("an answer is out of place"))
            }
        }
    }

    /// The entry that an answer means: the known one, or one of the values sent.
    fn entry_of(
        &self,
        namespace: &Namespace,
        open: &mut Open<'_>,
        (version, index): (u64, usize),
        values: &[bytes::Bytes],
    ) -> Result<Arc<Entry>> {
        let known = open.known.take();
        if index == 0 {
            let known = known.filter(|entry| entry.version.0 == version);
            let known = known.ok_or_else(|| unreadable("an entry that is not known is meant"))?;
            self.copy((namespace, open.key), &known, open.read);
            return Ok(known);
        }
        let blob = values.get(index - 1);
        let blob = blob.ok_or_else(|| unreadable("a value is missing"))?;
        blob::entry(blob).map(Arc::new).map_err(|what| {
            self.report_damage(what);
            // Written and damaged between two looks: a repeat sees the damage first, and takes it for a miss. (The
            // store itself is there.)
            let message = "a value in the shared store is damaged: a repeat is safe";
            Error::new(ErrorCode::OutcomeUnknown, message).retry_after(Micros::from_millis(1))
        })
    }

    fn serve(
        &self,
        namespace: &Namespace,
        entry: &Entry,
        (refresh, now): (Option<Lease>, u64),
    ) -> Began {
        let hit = entry.told(Source::Shared, Time(now));
        self.count_served(namespace, &hit);
        Began::Hit(hit, refresh)
    }

    /// Gives back what a call was granted whose caller is gone.
    fn begin_heir(&self, namespace: &Namespace, chunk: &[Open<'_>], ticket: u64) -> Heir {
        let keys: Vec<EntryKey> = chunk.iter().map(|open| open.key.clone()).collect();
        let (me, namespace) = (self.me.clone(), namespace.clone());
        Heir::new(move |answer| {
            let (Some(cache), Ok(answer)) = (me.upgrade(), answer) else {
                return;
            };
            let Ok(told) = unpack::<Vec<Answer>>(&answer, super::call::failed) else {
                return;
            };
            for ((key, answer), ticket) in keys.iter().zip(told.payload).zip(ticket..) {
                match answer {
                    Answer::Refresh(_, _, lease) | Answer::Lease(lease) => {
                        cache.let_lease_go(&namespace, LeaseId(lease.0));
                    }
                    Answer::Wait(..) => cache.let_place_go(&namespace, key, ticket),
                    _ => {}
                }
            }
        })
    }

    pub(super) fn count_served(&self, namespace: &Namespace, hit: &Hit) {
        if self.ledgers.served(namespace, hit) {
            self.sooner.notify_one();
        }
    }

    pub(super) fn count_near(&self, namespace: &Namespace, hit: &Hit) {
        if self.ledgers.served_near(namespace, hit) {
            self.sooner.notify_one();
        }
    }

    pub(super) fn count(
        &self,
        namespace: &Namespace,
        count: impl Fn(&mut trellis_core::cache::Ledger),
    ) {
        if self.ledgers.count(namespace, count) {
            self.sooner.notify_one();
        }
    }

    /// Counts what a look has brought.
    pub(super) fn count_effects(&self, namespace: &Namespace, effects: &lines::Effects) {
        for hit in &effects.served {
            self.count_served(namespace, hit);
        }
        let (failed, misses) = (effects.failed, u64::from(effects.granted));
        if failed + misses > 0 {
            self.count(namespace, |ledger| {
                ledger.failed += failed;
                ledger.misses += misses;
            });
        }
    }
}

/// Whether an entry is served without a further look.
fn is_served(entry: &Entry, options: &FetchOptions, now: Time) -> bool {
    now < entry.fresh_until && now < entry.refresh_at && !options.refresh
}
