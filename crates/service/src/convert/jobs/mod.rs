//! Between the contract's messages of jobs and the port's types.

mod answers;
mod batches;
mod requests;
mod settings;
mod watching;

pub(crate) use answers::{
    assigned, cancel, counts, job, job_page, queue_page, queue_state, room, submitted,
};
pub(crate) use batches::{batch, batch_id, create_batch, watched_batch};
pub(crate) use requests::{
    attempt, chunk, credit, end, job_id, max_wait, open, progress, queue, reserve, submit,
};
pub(crate) use settings::{list, list_queues, purge, queue_spec, request, requeue, span_of_lease};
pub(crate) use watching::{from_sequence, watched};

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

#[cfg(test)]
mod tests;
