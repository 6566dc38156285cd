//! Between the contract's messages of jobs and the port's types.

mod answers;
mod requests;
mod settings;

pub(crate) use answers::{
    assigned, cancel, counts, job, job_page, queue_page, queue_state, room, submitted,
};
pub(crate) use requests::{
    attempt, checkpoint, credit, end, job_id, max_wait, open, queue, reserve, submit,
};
pub(crate) use settings::{list, list_queues, queue_spec, request, span_of_lease};

use trellis_core::Namespace;
use trellis_core::jobs::QueueId;

/// What stands before the last id of a page in its token.
fn jobs_token(queue: &QueueId) -> String {
    format!("jobs/{}/{}/", queue.namespace, queue.name)
}

/// As [`jobs_token`], for the queues of a namespace; a name follows.
fn queues_token(namespace: &Namespace) -> String {
    format!("queues/{namespace}/")
}
