//! Jobs: what is to be done later, once, by whoever has time.
//!
//! ```no_run
//! # use trellis_client::{Client, jobs::{Attempt, Failure}};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Page { url: String }
//! # async fn read(_: &Page) -> std::io::Result<String> { Ok(String::new()) }
//! # async fn submit(client: Client, page: Page) -> Result<(), Box<dyn std::error::Error>> {
//! // Who wants it done, and waits for the result through broken connections and daemons that are started anew:
//! let job = client.queue("ocr.tasks").submit(&page).max_attempts(5).await?;
//! let text: String = job.result().await?;
//! # Ok(())
//! # }
//! # async fn work(client: Client) -> trellis_client::Result<()> {
//! // Who does it, eight at a time, until SIGTERM or Ctrl-C:
//! let worker = client.queue("ocr.tasks").worker().concurrency(8);
//! let shutdown = async { drop(tokio::signal::ctrl_c().await) };
//! worker.shutdown(shutdown).run(|attempt: Attempt<Page>| async move {
//!     let text = read(attempt.payload()).await?; // An error is a vain attempt: the job runs again later.
//!     Ok::<_, Failure>(text)
//! }).await
//! # }
//! ```
//!
//! - [`Queue`]: submitting one ([`Submit`]) or many, looking, and how it runs its jobs. [`Job`]: its result, its state, and its end.
//! - [`JobStream`]: pieces of a job's result and how far it is, as its worker tells them.
//! - [`Worker`]: does jobs; [`Attempt`] is what its handler gets, [`Failure`] how it says that it was in vain.
//! - [`BatchProcessor`]: many jobs, a few at a time, and their results as they come.
//!
//! Payloads, results and checkpoints are JSON of any type that has it; bytes and references to what is stored elsewhere go by
//! [`Queue::submit_payload`] and [`Worker::run_raw`].

mod batch;
mod failed;
mod info;
mod job;
mod list;
mod options;
mod payload;
mod queue;
mod stream;
mod submit;
mod worker;

pub use batch::{Batch, BatchItem, BatchProcessor, BatchProgress};
pub use failed::JobError;
pub use info::{JobInfo, JobLease, JobState, QueueSpec, QueueState};
pub use job::Job;
pub use list::ListJobs;
pub use options::{Conflict, JobOptions, RetryPolicy, Unique};
pub use payload::Payload;
pub use queue::Queue;
pub use stream::{JobEvent, JobProgress, JobStream};
pub use submit::{Decision, Submit, Submitted};
pub use worker::{Attempt, CancelReason, Failure, Worker};

pub use crate::events::Durability;

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use trellis_proto::v1 as proto;

use crate::client::Shared;
use crate::convert;
use crate::error::Result;
use crate::list::{Page, pages, token};

/// The jobs of one namespace. Clones share the client's connection.
#[derive(Clone, Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
    namespace: Arc<str>,
}

impl Jobs {
    pub(crate) fn new(shared: Arc<Shared>, namespace: Arc<str>) -> Self {
        Self { shared, namespace }
    }

    /// The jobs of another namespace, over the same connection.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        Self::new(self.shared.clone(), namespace.into())
    }

    /// A queue of it. It needs no set-up.
    #[must_use]
    pub fn queue(&self, name: impl Into<String>) -> Queue {
        Queue::new(self.clone(), name.into())
    }

    /// A job by its id, for example one that another process submitted. Nothing is asked yet.
    #[must_use]
    pub fn job(&self, id: impl Into<String>) -> Job {
        Job::new(self.clone(), id.into())
    }

    /// Queues that have jobs or were set, by name; asked for page by page.
    pub async fn queues(&self) -> Result<Vec<QueueState>> {
        let fetch = |next: Option<String>| async move {
            let request = self.request(proto::JobServiceListQueuesRequest {
                namespace: self.namespace_name(),
                page_size: 0,
                page_token: next.unwrap_or_default(),
            });
            let answer = self.shared.jobs().list_queues(request).await?.into_inner();
            Ok(Page {
                items: convert::all(answer.queues)?,
                next: token(answer.next_page_token),
                scope: answer.scope.try_into()?,
            })
        };
        pages(fetch).try_collect().await
    }

    fn namespace_name(&self) -> String {
        self.namespace.to_string()
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        self.shared.request(message, Duration::ZERO)
    }
}
