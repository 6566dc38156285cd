//! The floor: group commit to the end of one file, nothing else. No order by partition, no offsets, no checksums, no index.

use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use trellis_tests::bench::Result;

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    answers: Vec<oneshot::Sender<()>>,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// See the module.
pub struct Bare {
    queue: Arc<Queue>,
    committer: Option<JoinHandle<std::io::Result<()>>>,
}

impl Bare {
    /// Appends to a new file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::create(path)?;
        let queue = Arc::new(Queue::default());
        let own = queue.clone();
        let committer = std::thread::spawn(move || commit(&own, file));
        Ok(Self {
            queue,
            committer: Some(committer),
        })
    }

    /// Appends bytes; returns when they are synced.
    pub async fn append(&self, bytes: &[u8]) -> Result<()> {
        Ok(self.put(bytes).await?)
    }

    fn put(&self, bytes: &[u8]) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.queue.waiting.lock();
        waiting.bytes.extend_from_slice(bytes);
        waiting.answers.push(answer);
        if waiting.answers.len() == 1 {
            self.queue.changed.notify_one();
        }
        answered
    }
}

fn commit(queue: &Queue, mut file: File) -> std::io::Result<()> {
    loop {
        let mut waiting = queue.waiting.lock();
        while waiting.answers.is_empty() && !waiting.closed {
            queue.changed.wait(&mut waiting);
        }
        if waiting.answers.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut *waiting);
        waiting.closed = group.closed;
        drop(waiting);
        file.write_all(&group.bytes)?;
        file.sync_data()?;
        for answer in group.answers {
            // A writer that is gone does not want to know.
            let _ = answer.send(());
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.changed.notify_one();
        if let Some(committer) = self.committer.take() {
            let _ = committer.join();
        }
    }
}
