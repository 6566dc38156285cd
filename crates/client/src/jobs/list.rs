//! [`ListJobs`]: the jobs of a queue, page by page or as one stream.

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use trellis_proto::v1 as proto;

use super::info::{JobInfo, JobState};
use super::options::signed;
use super::queue::Queue;
use crate::convert;
use crate::error::Result;
use crate::list::{Page, pages, token};

/// A list of jobs being asked for, by when they were submitted. Made by [`Queue::list`].
#[derive(Clone, Debug)]
#[must_use = "a list does nothing until a page, the stream or all of it is asked for"]
pub struct ListJobs {
    queue: Queue,
    states: Vec<JobState>,
    page_size: u32,
}

impl ListJobs {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            queue,
            states: Vec::new(),
            page_size: 0,
        }
    }

    /// Those in this state; called again, also those in another one. Dead letters are those that are [`JobState::Dead`]. Default all.
    pub fn state(mut self, state: JobState) -> Self {
        self.states.push(state);
        self
    }

    /// Items in a page, 1 to 1,000. Default: the daemon's, 100.
    pub fn page_size(mut self, size: u32) -> Self {
        self.page_size = size;
        self
    }

    /// The page that starts at `next` of the former page, or the first.
    pub async fn page(&self, next: Option<String>) -> Result<Page<JobInfo>> {
        let jobs = &self.queue.jobs;
        let states = self.states.iter().copied();
        let request = jobs.request(proto::JobServiceListRequest {
            namespace: jobs.namespace_name(),
            queue: self.queue.name.clone(),
            states: states.map(|it| proto::JobState::from(it).into()).collect(),
            page_size: signed(self.page_size),
            page_token: next.unwrap_or_default(),
        });
        let answer = jobs.shared.jobs().list(request).await?.into_inner();
        Ok(Page {
            items: convert::all(answer.jobs)?,
            next: token(answer.next_page_token),
            scope: answer.scope.try_into()?,
        })
    }

    /// Every job. Ends after the first error.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<JobInfo>> {
        let fetch = move |next| {
            let list = self.clone();
            async move { list.page(next).await }
        };
        pages(fetch).boxed()
    }

    /// Every job, at once. There may be very many: [`ListJobs::stream`] holds one page.
    pub async fn all(self) -> Result<Vec<JobInfo>> {
        self.stream().try_collect().await
    }
}
