//! The cache port on Redis.

use super::RedisCache;
use super::begin::Began;
use super::blob::{self, checksum};
use super::ledger::{counts, ledger, note_served};
use super::near::Near;
use super::reading::Seen;
use super::scripts::{APPEND, CLEAR, DELETE, FAIL, FILL, RENEW, SET, STATS};
use super::wire::{
    self, AppendTold, DeleteTold, FailTold, FillTold, RenewTold, SetTold, StatsTold,
};
use crate::failure::unreadable;
use crate::packed;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trellis_core::cache::{
    Appended, Begin, Begun, Cache, CacheStats, CacheStatus, ClearTarget, Content, Deleted, EndedBy,
    Filled, GetOptions, Hit, Lease, LeaseEnd, LeaseId, Ledger, Lookup, NewEntry, Policy,
    Precondition, ReadFrom, Source, Version, Written,
};
use trellis_core::{EntryKey, Error, Micros, Namespace, Result, Scope, Time};

type Held<T> = std::result::Result<T, LeaseEnd>;

/// How often a part is sent again while others send parts of the same value. Each time one of them was taken.
const MAX_PARTS_AT_ONCE: usize = 64;

#[async_trait]
impl Cache for RedisCache {
    async fn get(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        options: GetOptions,
    ) -> Result<(Vec<Lookup>, Scope)> {
        let near = match options.read {
            ReadFrom::Near => self.near_hits(namespace, keys, |_, _| true),
            ReadFrom::Store => vec![None; keys.len()],
        };
        let missing = keys.iter().zip(&near).filter(|(_, hit)| hit.is_none());
        let missing: Vec<&EntryKey> = missing.map(|(key, _)| key).collect();
        let found = self.get_shared(namespace, &missing, options);
        let mut found = found.await?.into_iter();
        let one = |hit: Option<Hit>| match hit {
            Some(hit) => Lookup::Hit(hit),
            None => found.next().unwrap_or(Lookup::Miss),
        };
        Ok((near.into_iter().map(one).collect(), Scope::Shared))
    }

    async fn set(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        entry: NewEntry,
        precondition: Precondition,
    ) -> Result<(Written, Scope)> {
        let (max, size) = (self.config.machine.max_value_bytes, entry.content.len());
        if size > max {
            let allowed = format!("a value must be at most {max} bytes, is {size}");
            return Err(Error::invalid("value", allowed));
        }
        let content = bytes_of(&entry.content);
        let entry_args = wire::entry_args(
            &entry,
            jittered(&entry.policy),
            (checksum(0, &content), size),
        );
        let args = (key.as_str(), wire::condition(precondition), entry_args);
        let told = self.call_with(&SET, namespace, &args, content).await?;
        self.changed(namespace, key);
        let written = match told.payload {
            SetTold::Stored(version) => {
                self.store.saw_token(version);
                self.largest.wrote(namespace, size);
                self.count(namespace, |ledger| ledger.sets += 1);
                Written::Stored(Version(version))
            }
            SetTold::Mismatch(actual) => Written::Mismatch(version(actual)),
        };
        Ok((written, Scope::Shared))
    }

    async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        precondition: Precondition,
    ) -> Result<(Deleted, Scope)> {
        let args = (key.as_str(), wire::condition(precondition));
        let told = self.call(&DELETE, namespace, &args).await?;
        self.changed(namespace, key);
        let deleted = match told.payload {
            DeleteTold::Gone => Deleted::Gone,
            DeleteTold::Absent => Deleted::Absent,
            DeleteTold::Mismatch(actual) => Deleted::Mismatch(version(actual)),
        };
        Ok((deleted, Scope::Shared))
    }

    async fn clear(&self, namespace: &Namespace, target: ClearTarget) -> Result<(u64, Scope)> {
        let told = match &target {
            ClearTarget::All => self.call::<u64>(&CLEAR, namespace, &(false,)).await?,
            ClearTarget::Tag(tag) => self.call(&CLEAR, namespace, &(tag.as_str(),)).await?,
        };
        self.store.saw_token(told.payload);
        if let Some(near) = &self.near {
            near.cleared(namespace);
        }
        Ok((told.payload, Scope::Shared))
    }

    async fn begin(self: Arc<Self>, begin: Begin) -> Result<(Vec<Result<Begun>>, Scope)> {
        let mut seen = HashSet::with_capacity(begin.keys.len());
        if let Some(twice) = begin.keys.iter().position(|key| !seen.insert(key)) {
            let field = format!("keys[{twice}]");
            return Err(Error::invalid(field, "must not be there twice"));
        }
        let wanted = (begin.options, begin.wait);
        let decided = self
            .begin_keys(&begin.namespace, &begin.keys, wanted)
            .await?;
        let all = decided.into_iter().map(|one| {
            Ok(match one? {
                Began::Hit(hit, refresh) => Begun::Hit { hit, refresh },
                Began::Lease(lease) => Begun::Lease(lease),
                Began::Waiting(waiting) => Begun::Waiting(Box::new(waiting)),
                Began::Busy => Begun::Busy,
                Began::Failed(failure) => Begun::Failed(failure),
                Began::Deferred => Begun::Deferred,
            })
        });
        Ok((all.collect(), Scope::Shared))
    }

    async fn append(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        offset: usize,
        part: Bytes,
    ) -> Result<(Held<Appended>, Scope)> {
        for attempt in 0..MAX_PARTS_AT_ONCE {
            let (have, crc) = self.come(lease);
            // What is known here may be behind the store, so that a gap is believed only when the store has told.
            if offset > have && attempt > 0 {
                let allowed = format!("must be at most the {have} bytes taken so far, is {offset}");
                return Err(Error::invalid("offset", allowed));
            }
            let new = if offset > have {
                Bytes::new()
            } else {
                part.slice(part.len().min(have - offset)..)
            };
            // Never what the store has: it tells.
            let known = i64::try_from(have)
                .ok()
                .filter(|_| offset <= have)
                .unwrap_or(-1);
            let args = (lease.0, known, checksum(crc, &new));
            let crc = args.2;
            let told = self.call_with(&APPEND, namespace, &args, new).await?;
            match told.payload {
                AppendTold::Added(size) => {
                    self.note_come(lease, size, crc);
                    return Ok((Ok(Appended { size }), Scope::Shared));
                }
                AppendTold::Have(size, crc) => self.note_come(lease, size, crc),
                AppendTold::Ended(code) => {
                    self.come.lock().remove(&lease);
                    return Ok((Err(wire::end(code)), Scope::Shared));
                }
            }
        }
        Err(unreadable("too many parts of one value come at once"))
    }

    async fn fill(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        entry: NewEntry,
        keep: bool,
    ) -> Result<(Held<Filled>, Scope)> {
        let content = bytes_of(&entry.content);
        let ttl = jittered(&entry.policy);
        for _ in 0..MAX_PARTS_AT_ONCE {
            let (have, crc) = self.come(lease);
            let whole = (checksum(crc, &content), have + content.len());
            let args = (
                lease.0,
                u8::from(keep),
                have,
                wire::entry_args(&entry, ttl, whole),
            );
            let told = self
                .call_with(&FILL, namespace, &args, content.clone())
                .await?;
            let filled = match told.payload {
                FillTold::Have(size, crc) => {
                    self.note_come(lease, size, crc);
                    continue;
                }
                FillTold::Filled(version, waiters, key) => {
                    self.store.saw_token(version);
                    self.largest.wrote(namespace, whole.1);
                    if let Ok(key) = EntryKey::new(key, "key") {
                        self.changed(namespace, &key);
                    }
                    self.count(namespace, |ledger| ledger.fills += u64::from(keep));
                    Ok(Filled {
                        version: Version(version),
                        waiters,
                    })
                }
                FillTold::Ended(code) => {
                    self.count(namespace, |ledger| ledger.fills_refused += 1);
                    Err(wire::end(code))
                }
            };
            self.come.lock().remove(&lease);
            return Ok((filled, Scope::Shared));
        }
        Err(unreadable("too many parts of one value come at once"))
    }

    async fn fail(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        by: EndedBy,
    ) -> Result<(Held<Option<Hit>>, Scope)> {
        let args = match &by {
            EndedBy::GivingUp => (lease.0, 0, 0, "", 0),
            EndedBy::Failing(failure) => {
                let span = packed::span(failure.remembered_for);
                (lease.0, 1, failure.code, &*failure.message, span)
            }
        };
        let told = self.call(&FAIL, namespace, &args).await?;
        self.come.lock().remove(&lease);
        if let FailTold::Ended(code) = told.payload {
            return Ok((Err(wire::end(code)), Scope::Shared));
        }
        let instead = told.values.first().and_then(|value| {
            let entry = blob::entry(value);
            entry.map_err(|what| self.report_damage(what)).ok()
        });
        let instead = instead.map(|entry| entry.told(Source::Shared, Time(told.now)));
        if let Some(hit) = &instead {
            self.count_served(namespace, hit);
        }
        Ok((Ok(instead), Scope::Shared))
    }

    async fn renew(&self, namespace: &Namespace, lease: LeaseId) -> Result<(Held<Lease>, Scope)> {
        let told = self.call(&RENEW, namespace, &(lease.0,)).await?;
        let held = match told.payload {
            RenewTold::Held(id, ttl, deadline) => Ok(wire::lease((id, ttl, deadline))),
            RenewTold::Ended(code) => Err(wire::end(code)),
        };
        Ok((held, Scope::Shared))
    }

    fn abandon(&self, namespace: &Namespace, leases: &[LeaseId]) {
        for lease in leases {
            self.let_lease_go(namespace, *lease);
        }
    }

    async fn stats(&self, namespace: &Namespace) -> Result<(CacheStats, Scope)> {
        let own = self.ledgers.take(namespace);
        let told = self
            .call::<StatsTold>(&STATS, namespace, &(counts(&own),))
            .await;
        let told = told.inspect_err(|_| self.ledgers.put_back(namespace, &own))?;
        let (entries, bytes, leases, waiters, counted) = told.payload;
        let stats = CacheStats {
            entries,
            bytes,
            leases,
            waiters,
            ledger: ledger(&counted),
        };
        Ok((stats, Scope::Shared))
    }

    fn status(&self) -> CacheStatus {
        let counted = self.counted.lock();
        let mut status = CacheStatus {
            namespaces: counted.len(),
            damaged: self.damaged.load(Ordering::Relaxed),
            ..CacheStatus::default()
        };
        for stats in counted.values() {
            status.stats.entries += stats.entries;
            status.stats.bytes += stats.bytes;
            status.stats.leases += stats.leases;
        }
        status.stats.waiters = self.lines.waiters();
        status.stats.ledger = self.ledgers.total();
        status.near = self.near.as_ref().map(Near::status).unwrap_or_default();
        status
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }
}

impl RedisCache {
    /// What the store itself has under keys.
    async fn get_shared(
        &self,
        namespace: &Namespace,
        keys: &[&EntryKey],
        options: GetOptions,
    ) -> Result<Vec<Lookup>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = self.read(namespace, keys, options.read).await?;
        self.without_doubt(namespace, &mut read.seen).await?;
        let mut counts = Ledger::default();
        let one = |(key, seen): (&&EntryKey, Seen)| match seen {
            Seen::Deferred => Lookup::Deferred,
            Seen::Entry(entry) if options.allow_stale || read.now < entry.fresh_until => {
                self.copy((namespace, key), &entry, (read.mark, read.now));
                let hit = entry.told(Source::Shared, read.now);
                note_served(&mut counts, &hit);
                Lookup::Hit(hit)
            }
            Seen::Nothing | Seen::Damaged | Seen::Entry(_) | Seen::Doubtful(_) => {
                counts.misses += 1;
                Lookup::Miss
            }
        };
        let lookups = keys.iter().zip(read.seen).map(one).collect();
        self.count(namespace, |ledger| ledger.add(&counts));
        Ok(lookups)
    }

    /// Readers of this daemon see at once what this daemon has written.
    pub(super) fn changed(&self, namespace: &Namespace, key: &EntryKey) {
        if let Some(near) = &self.near {
            near.changed(namespace, key);
        }
    }
}

fn version(number: u64) -> Option<Version> {
    (number > 0).then_some(Version(number))
}

fn bytes_of(content: &Content) -> Bytes {
    content.value().cloned().unwrap_or_default()
}

/// A TTL less a random part of its jitter.
fn jittered(policy: &Policy) -> Micros {
    let less = rand::random_range(0..=policy.jitter.0);
    Micros(policy.ttl.0.saturating_sub(less))
}
