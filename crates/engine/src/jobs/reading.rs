//! Readers of jobs and of batches. Each looks for itself at what is valid, from where it stands, and holds nothing but its place: so a slow one holds nobody up.

use super::shard::{Shard, State};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::Notify;
use trellis_core::jobs::{
    Job, JobEvent, JobId, JobMap, JobNews, JobState, JobView, JobWatch, LeaseId, Part, Place,
    Report, Said,
};
use trellis_core::{Namespace, Result};

/// Readers that are there, by what they read: a job, or a batch, by the id in its own.
#[derive(Default)]
pub(super) struct Readers {
    by_job: JobMap<Vec<Arc<Notify>>>,
    count: usize,
}

impl Readers {
    pub fn count(&self) -> usize {
        self.count
    }

    fn join(&mut self, job: JobId) -> Arc<Notify> {
        let news = Arc::new(Notify::new());
        self.by_job.entry(job).or_default().push(Arc::clone(&news));
        self.count += 1;
        news
    }

    fn leave(&mut self, job: JobId, news: &Arc<Notify>) {
        self.count -= 1;
        if let Some(those) = self.by_job.get_mut(&job) {
            those.retain(|other| !Arc::ptr_eq(other, news));
            if those.is_empty() {
                self.by_job.remove(&job);
            }
        }
    }

    /// There is something new of a job.
    pub fn wake(&self, job: JobId) {
        for news in self.by_job.get(&job).into_iter().flatten() {
            news.notify_one();
        }
    }

    pub fn wake_all(&self) {
        for news in self.by_job.values().flatten() {
            news.notify_one();
        }
    }
}

/// The place of a reader, which is left with this.
pub(super) struct Seat {
    pub shard: Arc<Shard>,
    /// What is read: a job, or a batch by the id in its own.
    what: JobId,
    news: Arc<Notify>,
}

impl Seat {
    /// Waits for something new.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shard.state.lock().readers.leave(self.what, &self.news);
    }
}

/// A reader of a job.
struct Reader {
    seat: Seat,
    namespace: Namespace,
    job: JobId,
    /// Everything with a lower number was told.
    next: u64,
    /// The outcome was told.
    over: bool,
}

/// What a reader finds, without the bytes.
enum Found {
    Nothing,
    Reset,
    Chunk,
    Report(Report, Option<Place>),
    Ended(Box<JobView>),
}

impl State {
    /// What comes next of a job from a number on: its number, and whose it is.
    fn news(&self, (id, job): (JobId, &Job), from: u64) -> (u64, Option<LeaseId>, Found) {
        let said = job.stream().and_then(|stream| {
            let (number, said) = stream.from(from)?;
            let found = match said {
                Said::Reset => Found::Reset,
                Said::Chunk(_) => Found::Chunk,
                Said::Report(report) => {
                    let left = job.left.filter(|_| !job.state().is_ended());
                    Found::Report(report.clone(), left)
                }
            };
            Some((number, Some(stream.lease), found))
        });
        said.unwrap_or_else(|| match job.ending() {
            Some(ending) => {
                let view = Box::new(self.view(id, job));
                (job.next_number(), ending.lease, Found::Ended(view))
            }
            None => (from, None, Found::Nothing),
        })
    }
}

impl Shard {
    /// Begins to read a job. Errors: `JobNotFound`, `TooManyWaiters`.
    pub fn watch(
        self: &Arc<Self>,
        namespace: &Namespace,
        job: JobId,
        from: u64,
    ) -> Result<Box<dyn JobWatch>> {
        self.state.lock().find(namespace, job)?;
        Ok(Box::new(Reader {
            seat: self.sit(job)?,
            namespace: namespace.clone(),
            job,
            next: from,
            over: false,
        }))
    }
}

impl Shard {
    /// A reader comes. Errors: `TooManyWaiters`.
    pub fn sit(self: &Arc<Self>, what: JobId) -> Result<Seat> {
        let mut state = self.state.lock();
        state.check_open()?;
        state.check_waiters(&self.config)?;
        let news = state.readers.join(what);
        Ok(Seat {
            shard: Arc::clone(self),
            what,
            news,
        })
    }
}

impl Reader {
    fn look(&self) -> Result<(u64, Option<LeaseId>, Found)> {
        let state = self.seat.shard.state.lock();
        let job = state.find(&self.namespace, self.job)?;
        let news = state.news((self.job, job), self.next);
        if matches!(news.2, Found::Nothing) {
            state.check_open()?;
        }
        Ok(news)
    }

    /// What the next attempt would go on from, if that is still what stands there.
    async fn checkpoint(&self, left: Place) -> Result<Option<bytes::Bytes>> {
        let data = self.seat.shard.bytes(self.job, Part::Left).await?;
        let state = self.seat.shard.state.lock();
        let job = state.find(&self.namespace, self.job)?;
        let same = job.left == Some(left) && !job.state().is_ended();
        Ok(same.then_some(data))
    }
}

#[async_trait]
impl JobWatch for Reader {
    async fn next(&mut self) -> Result<Option<JobEvent>> {
        while !self.over {
            let (number, lease, found) = self.look()?;
            let news = match found {
                Found::Nothing => {
                    self.seat.news().await;
                    continue;
                }
                Found::Reset => JobNews::Reset,
                Found::Chunk => {
                    let chunk = Part::Chunk(number);
                    let data = self.seat.shard.bytes(self.job, chunk).await?;
                    if data.is_empty() {
                        // It was voided meanwhile.
                        continue;
                    }
                    JobNews::Chunk(data)
                }
                Found::Report(report, None) => JobNews::Progress {
                    report,
                    checkpoint: None,
                },
                Found::Report(report, Some(left)) => match self.checkpoint(left).await? {
                    // There is something newer.
                    None => continue,
                    checkpoint => JobNews::Progress { report, checkpoint },
                },
                Found::Ended(view) => {
                    let result = match view.state {
                        JobState::Succeeded => {
                            Some(self.seat.shard.bytes(self.job, Part::Left).await?)
                        }
                        _ => None,
                    };
                    self.over = true;
                    JobNews::Ended { view, result }
                }
            };
            self.next = number + 1;
            return Ok(Some(JobEvent {
                number,
                lease,
                news,
            }));
        }
        Ok(None)
    }
}
