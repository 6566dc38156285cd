//! Namespaces spread over shards, each shard behind one lock, and the timer that serves them all.
//!
//! A call locks the shard of its namespace, decides, and unlocks; nothing is awaited under a lock. The
//! timer sleeps until the earliest time at which a namespace has something to do. A namespace that holds
//! nothing any more is dropped.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;
use trellis_core::{Clock, Error, ErrorCode, Namespace, Now, Result, Time};

/// Enough that namespaces seldom share a lock; a power of two is not needed.
const SHARDS: usize = 64;

/// A namespace: its machine, and who waits in it.
pub(crate) trait Space {
    /// What dropped namespaces of a shard have left behind.
    type Past: Default;

    /// Hands out what the machine has decided.
    fn deliver(&mut self);
    /// Whether nothing would be lost with it but what it leaves behind.
    fn is_empty(&self) -> bool;
    /// When it has something to do next.
    fn next_due(&self) -> Option<Time>;
    /// Carries out what is due.
    fn advance(&mut self, now: Now);
    /// Adds what it leaves behind.
    fn leave_behind(&self, past: &mut Self::Past);
}

/// All namespaces of a backend.
pub(crate) struct Shards<S: Space> {
    all: Box<[Shard<S>]>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    /// Namespaces kept.
    namespaces: AtomicUsize,
    max_namespaces: usize,
    /// What is wrong when there are so many, and what to do about it.
    full: &'static str,
    /// When the timer wakes up, in µs of the clock; `u64::MAX` while it has nothing to wait for.
    armed: AtomicU64,
    /// Tells the timer that something is due before it wakes up.
    earlier: Notify,
}

struct Shard<S: Space> {
    spaces: Mutex<Spaces<S>>,
    /// Not after the time at which one of the spaces has something to do, in µs.
    due: AtomicU64,
}

struct Spaces<S: Space> {
    spaces: HashMap<Namespace, S>,
    past: S::Past,
}

impl<S: Space> Shards<S> {
    /// No namespaces yet. Above `max_namespaces` a new one is refused; `full` ends the message.
    pub fn new(max_namespaces: usize, full: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self {
            all: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            clock,
            namespaces: AtomicUsize::new(0),
            max_namespaces,
            full,
            armed: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
        }
    }

    /// Carries out what time brings. Runs until it is dropped; dropping it loses nothing, and it may be
    /// run again.
    pub async fn run(&self) {
        loop {
            let now = self.clock.now();
            let mut next = Time::NEVER;
            for shard in &self.all {
                if shard.due() <= now.mono {
                    shard.advance(now, &self.namespaces);
                }
                next = next.min(shard.due());
            }
            self.armed.store(next.0, Ordering::SeqCst);
            if self.all.iter().any(|shard| shard.due() < next) {
                continue;
            }
            let wait = next - self.clock.now().mono;
            tokio::select! {
                () = tokio::time::sleep(wait.into()) => {}
                () = self.earlier.notified() => {}
            }
        }
    }

    fn shard(&self, namespace: &Namespace) -> &Shard<S> {
        let hash = self.hasher.hash_one(namespace);
        // The remainder fits, whatever the width of usize.
        &self.all[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// Runs `change` on a namespace, made by `make` when there is none and dropped when nothing is left in
    /// it, and wakes the timer when something is due earlier than it knows. At the bound on namespaces
    /// only a change that leaves something behind fails.
    pub fn change<R>(
        &self,
        namespace: &Namespace,
        make: impl FnOnce(&S::Past) -> S,
        change: impl FnOnce(&mut S, Now) -> Result<R>,
    ) -> Result<R> {
        let shard = self.shard(namespace);
        let mut spaces = shard.spaces.lock();
        let now = self.clock.now();
        let change = |space: &mut S| change(space, now);
        let (result, due) = match spaces.change(namespace, &self.namespaces, change) {
            Ok(changed) => changed,
            Err(change) => {
                let mut space = make(&spaces.past);
                let admitted = self.admit_namespace();
                let result = change(&mut space);
                match admitted {
                    Ok(()) => (result, spaces.keep(namespace, space, &self.namespaces)),
                    Err(full) if !space.is_empty() => return Err(full),
                    // What leaves nothing behind needs no place: it is answered even at the bound.
                    Err(_) => {
                        space.leave_behind(&mut spaces.past);
                        (result, None)
                    }
                }
            }
        };
        drop(spaces);
        if let Some(due) = due
            && shard.lower_due(due)
            && due.0 < self.armed.load(Ordering::SeqCst)
        {
            self.earlier.notify_one();
        }
        result
    }

    fn admit_namespace(&self) -> Result<()> {
        let max = self.max_namespaces;
        let more = |count: usize| (count < max).then_some(count + 1);
        match self
            .namespaces
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                ErrorCode::TooManyNamespaces,
                format!("{max} namespaces {}", self.full),
            )),
        }
    }

    /// Runs `look` on a namespace, or on an empty one made by `make` when there is none. A look brings a
    /// machine to the present, which may end waiting calls.
    pub fn look<R>(
        &self,
        namespace: &Namespace,
        make: impl FnOnce(&S::Past) -> S,
        look: impl FnOnce(&mut S, Now) -> R,
    ) -> R {
        let mut spaces = self.shard(namespace).spaces.lock();
        let now = self.clock.now();
        let Some(space) = spaces.spaces.get_mut(namespace) else {
            return look(&mut make(&spaces.past), now);
        };
        let seen = look(space, now);
        space.deliver();
        seen
    }

    /// Sums up: `add_past` what was left behind, `add` what is kept.
    pub fn sum<T: Default>(
        &self,
        add_past: impl Fn(&mut T, &S::Past),
        add: impl Fn(&mut T, &S),
    ) -> T {
        let mut total = T::default();
        for shard in &self.all {
            let spaces = shard.spaces.lock();
            add_past(&mut total, &spaces.past);
            for space in spaces.spaces.values() {
                add(&mut total, space);
            }
        }
        total
    }
}

impl<S: Space> Default for Shard<S> {
    fn default() -> Self {
        Self {
            spaces: Mutex::new(Spaces {
                spaces: HashMap::new(),
                past: S::Past::default(),
            }),
            due: AtomicU64::new(u64::MAX),
        }
    }
}

impl<S: Space> Shard<S> {
    fn due(&self) -> Time {
        Time(self.due.load(Ordering::SeqCst))
    }

    /// Notes that something is due at `at`; tells whether nothing was due earlier.
    fn lower_due(&self, at: Time) -> bool {
        at.0 < self.due.load(Ordering::Relaxed) && at.0 < self.due.fetch_min(at.0, Ordering::SeqCst)
    }

    /// Carries out what is due in every space and notes what is due next.
    fn advance(&self, now: Now, namespaces: &AtomicUsize) {
        let mut spaces = self.spaces.lock();
        let due = spaces.advance(now, namespaces);
        // Under the lock, so that no change can fall between the look and the note.
        self.due.store(due.0, Ordering::SeqCst);
    }
}

impl<S: Space> Spaces<S> {
    /// Keeps a space just made, unless it is empty. Tells when it has something to do next.
    fn keep(
        &mut self,
        namespace: &Namespace,
        mut space: S,
        namespaces: &AtomicUsize,
    ) -> Option<Time> {
        space.deliver();
        if space.is_empty() {
            space.leave_behind(&mut self.past);
            namespaces.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let due = space.next_due();
        self.spaces.insert(namespace.clone(), space);
        due
    }

    /// Runs `change` on a space, then hands out what was decided and drops the space if it is empty. Also
    /// tells when the space has something to do next. Gives `change` back when there is no such space.
    fn change<R, F: FnOnce(&mut S) -> R>(
        &mut self,
        namespace: &Namespace,
        namespaces: &AtomicUsize,
        change: F,
    ) -> std::result::Result<(R, Option<Time>), F> {
        let Some(space) = self.spaces.get_mut(namespace) else {
            return Err(change);
        };
        let changed = change(space);
        space.deliver();
        let due = space.next_due();
        if space.is_empty()
            && let Some(space) = self.spaces.remove(namespace)
        {
            space.leave_behind(&mut self.past);
            namespaces.fetch_sub(1, Ordering::AcqRel);
        }
        Ok((changed, due))
    }

    fn advance(&mut self, now: Now, namespaces: &AtomicUsize) -> Time {
        let past = &mut self.past;
        self.spaces.retain(|_, space| {
            space.advance(now);
            space.deliver();
            let keep = !space.is_empty();
            if !keep {
                space.leave_behind(past);
                namespaces.fetch_sub(1, Ordering::AcqRel);
            }
            keep
        });
        let dues = self.spaces.values().filter_map(S::next_due);
        dues.min().unwrap_or(Time::NEVER)
    }
}
