//! The cache port, in memory.

use super::MemoryCache;
use super::waiting::MemoryWaiting;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use trellis_core::cache::{
    Appended, Begin, Begun, Cache, CacheStats, CacheStatus, ClearTarget, Deleted, EndedBy, Filled,
    GetOptions, Hit, Lease, LeaseEnd, LeaseId, Lookup, NewEntry, Precondition, Step, Written,
};
use trellis_core::{EntryKey, Error, Namespace, Result, Scope};

type Held<T> = std::result::Result<T, LeaseEnd>;

#[async_trait]
impl Cache for MemoryCache {
    async fn get(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        options: GetOptions,
    ) -> Result<(Vec<Lookup>, Scope)> {
        let found = self.change(namespace, |_, space, entries, now| {
            let mut get = |key| {
                let found = space.machine.get(entries, key, options.allow_stale, now);
                found.into()
            };
            keys.iter().map(&mut get).collect()
        });
        // At the bound on namespaces a look at another is a miss, and noted nowhere.
        let found = found.unwrap_or_else(|_| vec![Lookup::Miss; keys.len()]);
        Ok((found, Scope::Local))
    }

    async fn set(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        entry: NewEntry,
        precondition: Precondition,
    ) -> Result<(Written, Scope)> {
        let written = self.change(namespace, |_, space, entries, now| {
            space.machine.set(entries, key, &entry, precondition, now)
        })??;
        Ok((written, Scope::Local))
    }

    async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        precondition: Precondition,
    ) -> Result<(Deleted, Scope)> {
        let deleted = self.change_known(namespace, |space, entries, now| {
            space.machine.delete(entries, key, precondition, now)
        });
        let absent = match precondition {
            Precondition::Is(_) => Deleted::Mismatch(None),
            Precondition::Always | Precondition::Absent => Deleted::Absent,
        };
        Ok((deleted.unwrap_or(absent), Scope::Local))
    }

    async fn clear(&self, namespace: &Namespace, target: ClearTarget) -> Result<(u64, Scope)> {
        let number = self.change(namespace, |_, space, _, now| {
            space.machine.clear(&target, now)
        })?;
        Ok((number, Scope::Local))
    }

    async fn begin(self: Arc<Self>, begin: Begin) -> Result<(Vec<Result<Begun>>, Scope)> {
        let mut seen = HashSet::with_capacity(begin.keys.len());
        if let Some(twice) = begin.keys.iter().position(|key| !seen.insert(key)) {
            let field = format!("keys[{twice}]");
            return Err(Error::invalid(field, "must not be there twice"));
        }
        let wanted = (begin.options, begin.wait);
        let answers = self.change(&begin.namespace, |place, space, entries, now| {
            let mut one = |key| {
                Ok(match space.machine.begin(entries, key, wanted, now)? {
                    Step::Hit(hit, refresh) => Begun::Hit { hit, refresh },
                    Step::Lease(lease) => Begun::Lease(lease),
                    Step::Busy => Begun::Busy,
                    Step::Failed(failure) => Begun::Failed(failure),
                    Step::Waiting(ticket) => Begun::Waiting(Box::new(MemoryWaiting {
                        cache: Arc::clone(&self),
                        place: Arc::clone(place),
                        ticket,
                        woken: space.join(ticket),
                        ended: false,
                    })),
                })
            };
            begin.keys.iter().map(&mut one).collect()
        })?;
        Ok((answers, Scope::Local))
    }

    async fn append(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        offset: usize,
        part: Bytes,
    ) -> Result<(Held<Appended>, Scope)> {
        let appended = self.change_known(namespace, |space, _, now| {
            space.machine.append(lease, offset, &part, now)
        });
        Ok((appended.unwrap_or(Ok(UNKNOWN))?, Scope::Local))
    }

    async fn fill(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        entry: NewEntry,
        keep: bool,
    ) -> Result<(Held<Filled>, Scope)> {
        let filled = self.change_known(namespace, |space, entries, now| {
            space.machine.fill(entries, lease, (&entry, keep), now)
        });
        let unknown = Ok(Err(LeaseEnd::Unknown));
        Ok((filled.unwrap_or(unknown)?, Scope::Local))
    }

    async fn fail(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        by: EndedBy,
    ) -> Result<(Held<Option<Hit>>, Scope)> {
        let failed = self.change_known(namespace, |space, entries, now| {
            space.machine.fail(entries, lease, &by, now)
        });
        Ok((failed.unwrap_or(Err(LeaseEnd::Unknown)), Scope::Local))
    }

    async fn renew(&self, namespace: &Namespace, lease: LeaseId) -> Result<(Held<Lease>, Scope)> {
        let renewed = self.change_known(namespace, |space, _, now| space.machine.renew(lease, now));
        Ok((renewed.unwrap_or(Err(LeaseEnd::Unknown)), Scope::Local))
    }

    fn abandon(&self, namespace: &Namespace, leases: &[LeaseId]) {
        self.change_known(namespace, |space, _, now| {
            for lease in leases {
                space.machine.give_up(*lease, now);
            }
        });
    }

    async fn stats(&self, namespace: &Namespace) -> Result<(CacheStats, Scope)> {
        let place = self.find(namespace);
        let stats = place.and_then(|place| {
            self.change_at(&place, |space, _, now| {
                space.machine.advance(now);
                let status = space.machine.status();
                CacheStats {
                    entries: place.usage().entries(),
                    bytes: place.usage().bytes(),
                    leases: status.leases,
                    waiters: status.waiters,
                    ledger: *space.machine.ledger(),
                }
            })
        });
        Ok((stats.unwrap_or_default(), Scope::Local))
    }

    fn status(&self) -> CacheStatus {
        let places: Vec<_> = self.places.read().values().cloned().collect();
        let mut total = CacheStatus {
            namespaces: places.len(),
            evictions: self.entries.evictions(),
            ..CacheStatus::default()
        };
        total.stats.ledger.add(&self.dropped.lock().ledger);
        for place in places {
            self.change_at(&place, |space, _, _| {
                let status = space.machine.status();
                total.stats.entries += place.usage().entries();
                total.stats.bytes += place.usage().bytes();
                total.stats.leases += status.leases;
                total.stats.waiters += status.waiters;
                total.stats.ledger.add(space.machine.ledger());
            });
        }
        total
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}

/// The answer to a part of a lease in a namespace that is not in use.
const UNKNOWN: Held<Appended> = Err(LeaseEnd::Unknown);
