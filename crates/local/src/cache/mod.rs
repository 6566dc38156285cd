//! The cache in memory: one machine for each namespace, entries of all of them in one bounded store.
//!
//! A call locks its namespace, decides, and unlocks; nothing is awaited under a lock. One timer task ends
//! leases and failures when their time is over. A namespace that keeps nothing is dropped when the
//! bound on namespaces is reached and another needs its place.

mod entries;
mod place;
mod port;
mod waiting;

use entries::{AllEntries, OwnEntries};
use parking_lot::{Mutex, RwLock};
use place::{Place, Space};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use trellis_core::cache::{Ledger, Machine, MachineConfig};
use trellis_core::{Clock, Error, ErrorCode, Namespace, Now, Result, Time};

/// Bounds of [`MemoryCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCacheConfig {
    /// Bytes of all entries, with what keeping them takes.
    pub max_bytes: u64,
    /// Entries of all namespaces.
    pub max_entries: usize,
    /// Namespaces in use at a time.
    pub max_namespaces: usize,
    /// Bounds within each namespace.
    pub machine: MachineConfig,
}

impl Default for MemoryCacheConfig {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            max_entries: 1_000_000,
            max_namespaces: 1_024,
            machine: MachineConfig::default(),
        }
    }
}

/// What namespaces that were dropped have left behind.
#[derive(Default)]
struct Dropped {
    ledger: Ledger,
    /// The highest number that any of them gave out.
    last_number: u64,
}

/// A cache of this process alone.
pub struct MemoryCache {
    entries: AllEntries,
    places: RwLock<HashMap<Namespace, Arc<Place>>>,
    dropped: Mutex<Dropped>,
    numbers: AtomicU64,
    clock: Arc<dyn Clock>,
    config: MemoryCacheConfig,
    /// When the timer task wakes up, in µs of the clock; `u64::MAX` while it has nothing to wait for.
    armed: AtomicU64,
    /// Tells the timer task that something is due before it wakes up.
    earlier: Notify,
}

impl MemoryCache {
    /// An empty cache. Leases end in time only while [`MemoryCache::run`] is polled.
    pub fn new(config: MemoryCacheConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let largest = config.machine.max_value_bytes;
        Ok(Self {
            entries: AllEntries::new(config.max_bytes, config.max_entries, largest)?,
            places: RwLock::default(),
            dropped: Mutex::default(),
            numbers: AtomicU64::new(0),
            clock,
            config,
            armed: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
        })
    }

    /// Carries out what time brings. Runs until it is dropped; dropping it loses nothing, and it may be
    /// run again.
    pub async fn run(&self) {
        loop {
            let now = self.clock.now().mono;
            let due: Vec<_> = {
                let places = self.places.read();
                let is_due = |place: &&Arc<Place>| place.due() <= now;
                places.values().filter(is_due).cloned().collect()
            };
            for place in due {
                let now = || self.clock.now();
                place.change(&self.entries, now, |space, _, now| {
                    space.machine.advance(now);
                });
            }
            let next = self.next_due();
            self.armed.store(next.0, Ordering::SeqCst);
            if self.next_due() < next {
                continue;
            }
            let wait = next - self.clock.now().mono;
            tokio::select! {
                () = tokio::time::sleep(wait.into()) => {}
                () = self.earlier.notified() => {}
            }
        }
    }

    fn next_due(&self) -> Time {
        let places = self.places.read();
        let due = places.values().map(|place| place.due());
        due.min().unwrap_or(Time::NEVER)
    }

    /// Runs a change at a place. `None` when the place was dropped meanwhile.
    fn change_at<R>(
        &self,
        place: &Place,
        change: impl FnOnce(&mut Space, &OwnEntries<'_>, Now) -> R,
    ) -> Option<R> {
        let changed = place.change(&self.entries, || self.clock.now(), change);
        if place.due().0 < self.armed.load(Ordering::SeqCst) {
            self.earlier.notify_one();
        }
        changed
    }

    fn find(&self, namespace: &Namespace) -> Option<Arc<Place>> {
        self.places.read().get(namespace).cloned()
    }

    /// The place of a namespace, made when there is none.
    fn place(&self, namespace: &Namespace) -> Result<Arc<Place>> {
        if let Some(place) = self.find(namespace) {
            return Ok(place);
        }
        let mut places = self.places.write();
        if let Some(place) = places.get(namespace) {
            return Ok(Arc::clone(place));
        }
        let max = self.config.max_namespaces;
        if places.len() >= max && !self.make_room(&mut places) {
            return Err(Error::new(
                ErrorCode::TooManyNamespaces,
                format!("{max} namespaces are in use; raise cache.max_namespaces"),
            ));
        }
        let last = self.dropped.lock().last_number;
        let machine = Machine::new(self.config.machine, last, rand::random());
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(Place::new(number, machine));
        places.insert(namespace.clone(), Arc::clone(&place));
        Ok(place)
    }

    /// Drops one namespace that keeps nothing; tells whether there was one.
    fn make_room(&self, places: &mut HashMap<Namespace, Arc<Place>>) -> bool {
        let idle = places.iter().find_map(|(namespace, place)| {
            let left = place.drop_if_idle()?;
            Some((namespace.clone(), left))
        });
        let Some((namespace, (last_number, ledger))) = idle else {
            return false;
        };
        places.remove(&namespace);
        let mut dropped = self.dropped.lock();
        dropped.ledger.add(&ledger);
        dropped.last_number = dropped.last_number.max(last_number);
        true
    }

    /// Runs a change in a namespace, made when there is none.
    fn change<R>(
        &self,
        namespace: &Namespace,
        mut change: impl FnMut(&Arc<Place>, &mut Space, &OwnEntries<'_>, Now) -> R,
    ) -> Result<R> {
        loop {
            let place = self.place(namespace)?;
            let changed = self.change_at(&place, |space, entries, now| {
                change(&place, space, entries, now)
            });
            if let Some(changed) = changed {
                return Ok(changed);
            }
        }
    }

    /// Runs a change in a namespace, if it is in use.
    fn change_known<R>(
        &self,
        namespace: &Namespace,
        change: impl FnOnce(&mut Space, &OwnEntries<'_>, Now) -> R,
    ) -> Option<R> {
        let place = self.find(namespace)?;
        self.change_at(&place, change)
    }
}
