//! Workers that wait for jobs of a queue, in the order of their coming.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;
use trellis_core::jobs::{Attempt, QueueId, Reserve};
use trellis_core::{Micros, Result};

/// Jobs that a worker got.
pub(super) type Got = Result<Vec<Attempt>>;

/// A worker that waits.
pub(super) struct Waiter {
    pub number: u64,
    /// What it asks for.
    pub reserve: Arc<Reserve>,
    pub lease: Micros,
    pub tell: oneshot::Sender<Got>,
}

impl Waiter {
    /// It takes what there is, and does not wait.
    pub fn is_at_once(&self) -> bool {
        self.reserve.max_wait == Micros::ZERO
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Lines {
    lines: HashMap<QueueId, VecDeque<Waiter>>,
    count: usize,
}

impl Lines {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Queues for whose jobs somebody waits.
    pub fn queues(&self) -> impl Iterator<Item = &QueueId> {
        self.lines.keys()
    }

    pub fn push(&mut self, waiter: Waiter) {
        self.put(waiter, VecDeque::push_back);
    }

    /// Puts one that got nothing back, to where it was: whoever came before it has gone.
    pub fn put_back(&mut self, waiter: Waiter) {
        self.put(waiter, VecDeque::push_front);
    }

    fn put(&mut self, waiter: Waiter, put: fn(&mut VecDeque<Waiter>, Waiter)) {
        self.count += 1;
        let queue = &waiter.reserve.queue;
        if let Some(line) = self.lines.get_mut(queue) {
            put(line, waiter);
        } else {
            self.lines.insert(queue.clone(), VecDeque::from([waiter]));
        }
    }

    /// The first of a queue whose caller is still there.
    pub fn pop(&mut self, queue: &QueueId) -> Option<Waiter> {
        let line = self.lines.get_mut(queue)?;
        let mut first = None;
        while let Some(waiter) = line.pop_front() {
            self.count -= 1;
            if !waiter.tell.is_closed() {
                first = Some(waiter);
                break;
            }
        }
        if line.is_empty() {
            self.lines.remove(queue);
        }
        first
    }

    /// Takes those out who do not wait, but for queues of which something is about to come.
    pub fn take_at_once(&mut self, comes: impl Fn(&QueueId) -> bool) -> Vec<Waiter> {
        let mut gone = Vec::new();
        for (queue, line) in &mut self.lines {
            if comes(queue) {
                continue;
            }
            if line.iter().any(Waiter::is_at_once) {
                let (at_once, stay): (VecDeque<_>, VecDeque<_>) =
                    line.drain(..).partition(Waiter::is_at_once);
                gone.extend(at_once);
                *line = stay;
            }
        }
        self.lines.retain(|_, line| !line.is_empty());
        self.count -= gone.len();
        gone
    }

    /// Takes one out that waits no longer; `None` when it is being served.
    pub fn leave(&mut self, queue: &QueueId, number: u64) -> Option<Waiter> {
        let line = self.lines.get_mut(queue)?;
        let at = line.iter().position(|waiter| waiter.number == number)?;
        let waiter = line.remove(at)?;
        self.count -= 1;
        if line.is_empty() {
            self.lines.remove(queue);
        }
        Some(waiter)
    }

    /// All of them.
    pub fn drain(&mut self) -> Vec<Waiter> {
        self.count = 0;
        self.lines.drain().flat_map(|(_, line)| line).collect()
    }
}
