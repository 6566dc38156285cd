//! The log on disk: all partitions in one sequence of files, one committer, one fdatasync for all who wait.
//!
//! Files: `format` what stands in a file, `files` the operations on files, `frames` walking over them, `scan`, `load` and
//! `salvage` opening a log, `begin` and `writer` writing it, `keep` dropping what is old, `reader` reading, `index`
//! and `recent` what is kept in memory, `queue` what waits, `shared` what committer and readers share.
//!
//! Files grow with what is appended; they are not allocated before. On ext4 that made one small group 25 µs
//! faster of 75, and a group of 64 KiB not at all; only files written with zeros before were a third faster, which writes everything
//! twice. In return the end of a file tells where a crash cut it off.
//!
//! The checksum is CRC32C by the crate `crc32c`: processors compute it, and the crate does that and nothing else.

mod begin;
mod error;
mod files;
mod find;
mod format;
mod frames;
mod index;
mod keep;
mod load;
mod options;
mod queue;
mod reader;
mod recent;
mod salvage;
mod scan;
mod shared;
mod writer;

pub use error::OpenError;
pub use options::{DiskLogOptions, OnDamage};
pub use salvage::Lost;

use super::tell::End;
use async_trait::async_trait;
use begin::begin;
use bytes::Bytes;
use files::{Files, Folder};
use find::{Source, from_memory};
use format::{SegmentHeader, encode_records, segment_name};
use load::{Loaded, OnMissing, load};
use parking_lot::Mutex;
use queue::{Queue, Request};
use reader::{ReadFault, Reading};
use recent::Recent;
use salvage::salvage;
use shared::{Active, Shared, State};
use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use trellis_core::log::{
    Appended, Appending, Batch, Bounds, Durability, History, Log, LogError, LogLimits, LogResult,
    Offset, Partition, Read,
};
use trellis_core::{Clock, Time};
use writer::Writer;

/// The log of a folder that this process alone has open.
///
/// Dropping it ends it: what was accepted is written, and the folder is given free.
pub struct DiskLog {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    readers: Arc<Semaphore>,
    committer: Option<JoinHandle<()>>,
    ended: watch::Receiver<bool>,
    lost: Vec<Lost>,
    /// Given free when the committer has ended.
    _lock: Box<dyn Any + Send + Sync>,
}

/// How much a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskLogStatus {
    /// Files with records, the one that is written included.
    pub segments: usize,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Why nothing can be appended before a restart, if so.
    pub failed: Option<String>,
}

impl DiskLog {
    /// Opens the log of a folder, made if need be, and repairs a torn tail. Blocks while it reads the disk.
    pub fn open(
        folder: &Path,
        options: DiskLogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let name = folder.display().to_string();
        let files = Folder::new(folder).map_err(OpenError::io("make", name))?;
        Self::open_on(Arc::new(files), options, clock)
    }

    /// Opens the log of these files.
    fn open_on(
        files: Arc<dyn Files>,
        options: DiskLogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        options.check().map_err(OpenError::Options)?;
        let lock = files.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::io("lock", "LOCK")(error),
        })?;
        let (loaded, lost) = match options.on_damage {
            OnDamage::Refuse => (load(&*files, OnMissing::Refuse)?, Vec::new()),
            OnDamage::Salvage => {
                let lost = salvage(&*files)?;
                (load(&*files, OnMissing::GiveUp)?, lost)
            }
        };
        let writer = opened(files, options, clock.clone(), loaded)?;
        let shared = writer.shared.clone();
        let (tell, ended) = watch::channel(false);
        let committer = std::thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn(move || run(writer, &tell))
            .map_err(OpenError::io("start", "the committer's thread"))?;
        Ok(Self {
            readers: Arc::new(Semaphore::new(shared.options.readers)),
            shared,
            clock,
            committer: Some(committer),
            ended,
            lost,
            _lock: lock,
        })
    }

    /// Ends it: further appends fail with `Closed`, what was accepted is written, waits end. Idempotent, never waits.
    pub fn close(&self) {
        self.shared.queue.close();
        for end in &self.shared.ends {
            end.close();
        }
    }

    /// Waits until everything that was accepted before [`DiskLog::close`] is written. Safe to cancel.
    pub async fn closed(&self) {
        let mut ended = self.ended.clone();
        // The committer that is gone has ended.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// What was given up when it was opened with [`OnDamage::Salvage`].
    #[must_use]
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// How much it holds. Never waits for the disk.
    #[must_use]
    pub fn status(&self) -> DiskLogStatus {
        let state = self.shared.state.lock();
        DiskLogStatus {
            segments: state.segments().count(),
            bytes: state.segments().map(|(_, _, length)| length).sum(),
            failed: state.failed.clone(),
        }
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.close();
        if let Some(committer) = self.committer.take() {
            // One that panicked has written what it has written.
            let _ = committer.join();
        }
    }
}

/// Begins the segment that this life writes, and gives the committer everything.
fn opened(
    files: Arc<dyn Files>,
    options: DiskLogOptions,
    clock: Arc<dyn Clock>,
    loaded: Loaded,
) -> Result<Writer, OpenError> {
    let configured = options.limits.partitions;
    let used = loaded.places.iter().filter(|(_, it)| it.start < it.end);
    let highest = used.map(|(partition, _)| *partition).max();
    if let Some(partition) = highest.filter(|it| *it >= configured) {
        return Err(OpenError::Partitions {
            partition,
            configured,
        });
    }
    let history = loaded.history.unwrap_or_else(|| History(rand::random()));
    let place = |partition| loaded.places.get(&partition).copied().unwrap_or_default();
    let places: Vec<_> = (0..configured).map(place).collect();
    let ends = places.iter().map(|place| End::new(Offset(place.end)));
    let ends = ends.collect();
    let segments = loaded.segments.into_iter();
    let state = State {
        sealed: segments
            .map(|(number, it)| (number, Arc::new(it)))
            .collect(),
        active: Active::default(),
        places,
        recent: Recent::new(configured, options.tail_bytes),
        failed: None,
    };
    let header = SegmentHeader {
        number: loaded.next,
        history,
        begun: clock.now().wall,
        length: 0,
    };
    let name = segment_name(header.number);
    let (file, position) = begin(&*files, &header, &state.manifest())
        .map_err(|not_begun| OpenError::io("begin", name)(not_begun.error))?;
    for name in loaded.leftovers {
        // Not listed in the manifest, so one that cannot be removed is left over at the next start again.
        let _ = files.remove(&name);
    }
    let shared = Shared {
        queue: Queue::new(options.queue_bytes),
        files,
        history,
        ends,
        state: Mutex::new(State {
            active: Active {
                number: header.number,
                length: position,
                ..Active::default()
            },
            ..state
        }),
        options,
    };
    Ok(Writer {
        roll_at: shared.options.segment_bytes,
        shared: Arc::new(shared),
        clock,
        file,
        number: header.number,
        position,
        buffer: Vec::new(),
    })
}

/// What the committer does when it ends, by whatever: nobody waits for it any longer.
struct Ending<'a> {
    shared: Arc<Shared>,
    tell: &'a watch::Sender<bool>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        for end in &self.shared.ends {
            end.close();
        }
        self.tell.send_replace(true);
    }
}

/// The committer's life.
fn run(mut writer: Writer, tell: &watch::Sender<bool>) {
    let ending = Ending {
        shared: writer.shared.clone(),
        tell,
    };
    let every = Duration::from(writer.shared.options.retention_every);
    let mut retained = Time(0);
    while let Some(requests) = writer.shared.queue.take(every) {
        let trims = requests.iter().any(|it| matches!(it, Request::Trim { .. }));
        writer.commit(requests);
        let now = writer.clock.now();
        if now.mono >= retained + every.into() || retained > now.mono {
            retained = now.mono;
            writer.retain(now.wall);
        } else if trims {
            writer.sweep();
        }
    }
    writer.end();
    drop(ending);
}

impl DiskLog {
    fn request(
        &self,
        partition: Partition,
        batch: &Batch,
    ) -> LogResult<oneshot::Receiver<LogResult<Appended>>> {
        let limits = self.shared.options.limits;
        limits.check(partition, batch)?;
        let (answer, answered) = oneshot::channel();
        self.shared.queue.put(Request::Append {
            partition,
            body: Bytes::from(encode_records(batch.records())),
            count: u32::try_from(batch.records().len()).unwrap_or(u32::MAX),
            bytes: u32::try_from(batch.bytes()).unwrap_or(u32::MAX),
            time: self.clock.now().wall,
            answer,
        })?;
        Ok(answered)
    }

    /// Runs `read` where it may wait for the disk. Dropping the call leaves it to end by itself.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Files) -> Result<T, ReadFault> + Send + 'static,
    ) -> Result<T, ReadFault> {
        let closed = || ReadFault::Failed(LogError::Closed);
        let permit = self.readers.clone().acquire_owned().await;
        let permit = permit.map_err(|_| closed())?;
        let files = self.shared.files.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = read(&*files);
            drop(permit);
            result
        });
        done.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl Log for DiskLog {
    fn limits(&self) -> LogLimits {
        self.shared.options.limits
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn failure(&self) -> Option<String> {
        self.shared.state.lock().failed.clone()
    }

    fn append(&self, partition: Partition, batch: Batch) -> Appending {
        match self.request(partition, &batch) {
            Ok(answered) => Appending::Waiting(Box::pin(async {
                answered.await.unwrap_or_else(|_| {
                    Err(LogError::Unknown {
                        reason: "the committer has ended".to_owned(),
                    })
                })
            })),
            Err(error) => Appending::Done(Err(error)),
        }
    }

    async fn read(&self, partition: Partition, from: Offset, max_bytes: usize) -> LogResult<Read> {
        loop {
            let plan = match self.shared.find(partition, from, max_bytes)? {
                Source::Nothing => return Ok(Reading::new(from, 0).read),
                Source::Memory(batches) => {
                    return from_memory(batches, partition, from, max_bytes);
                }
                Source::Disk(plan) => plan,
            };
            let read = self.blocking(move |files| plan.read(files, from, max_bytes));
            match read.await {
                // What the segment has no more of lies in a gap, which the segment ends.
                Ok(read) if read.records.is_empty() => {
                    let next = Offset(plan.end);
                    return Ok(Read { next, ..read });
                }
                Ok(read) => return Ok(read),
                Err(ReadFault::Failed(error)) => return Err(error),
                // Trimmed meanwhile, or about to be told so.
                Err(ReadFault::Gone) => tokio::task::yield_now().await,
            }
        }
    }

    async fn wait(&self, partition: Partition, from: Offset) -> LogResult<Bounds> {
        self.shared.end(partition)?.above(from).await?;
        self.shared.bounds(partition)
    }

    async fn trim(&self, partition: Partition, before: Offset) -> LogResult<()> {
        self.shared.options.limits.check_partition(partition)?;
        let (answer, answered) = oneshot::channel();
        self.shared.queue.put(Request::Trim {
            partition,
            before,
            answer,
        })?;
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    async fn bounds(&self, partition: Partition) -> LogResult<Bounds> {
        self.shared.bounds(partition)
    }

    async fn seek(&self, partition: Partition, time: Time) -> LogResult<Offset> {
        self.shared.options.limits.check_partition(partition)?;
        loop {
            let plan = match self.shared.find_time(partition, time) {
                Ok(plan) => plan,
                Err(end) => return Ok(end),
            };
            match self.blocking(move |files| plan.seek(files, time)).await {
                Ok(offset) => {
                    let start = self.shared.bounds(partition)?.start;
                    return Ok(offset.max(start));
                }
                Err(ReadFault::Failed(error)) => return Err(error),
                Err(ReadFault::Gone) => tokio::task::yield_now().await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
