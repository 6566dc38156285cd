//! The control partition: what topics keep, and everything about groups. One task writes it and reads it back.
//!
//! A call proposes records; while one batch is on its way the next one gathers. What was read back is applied, and only then
//! answered. A batch of which the log does not know whether it stands is looked for, and sent again under new sequences: of
//! the two only one counts.

mod replay;
mod task;

pub(super) use replay::Replayed;
pub(super) use task::{ControlTask, to_log};

use super::groups::Groups;
use super::lane::{Lane, draining};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};
use trellis_core::events::control::ControlRecord;
use trellis_core::events::{Topic, partition_of};
use trellis_core::log::Partition;
use trellis_core::{Error, ErrorCode, Result};

/// The partition.
pub(super) const CONTROL: Partition = Partition(0);

/// Records that wait to be written.
const MOST_WAITING: usize = 100_000;

/// Records that stand together or not, and who wants to know: how many of them changed something.
struct Proposal {
    records: Vec<ControlRecord>,
    tell: oneshot::Sender<Result<usize>>,
}

#[derive(Default)]
struct Queue {
    proposals: Vec<Proposal>,
    records: usize,
    closed: bool,
}

/// See the module.
pub(super) struct Control {
    pub lanes: Vec<Arc<Lane>>,
    pub groups: Groups,
    queue: Mutex<Queue>,
    asked: Notify,
}

impl Control {
    pub fn new(lanes: Vec<Arc<Lane>>, groups: Groups) -> Self {
        Self {
            lanes,
            groups,
            queue: Mutex::default(),
            asked: Notify::new(),
        }
    }

    /// Where a topic stands.
    pub fn lane(&self, topic: &Topic) -> &Arc<Lane> {
        let count = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        let index = partition_of(topic, count);
        &self.lanes[usize::try_from(index).unwrap_or(0)]
    }

    /// Has records written; begins with the call. Tells how many changed something. Without records it tells when those that
    /// were proposed before are done. Errors: `TooManyBytes`, those of the log.
    pub fn propose(&self, records: Vec<ControlRecord>) -> oneshot::Receiver<Result<usize>> {
        let (tell, told) = oneshot::channel();
        let mut queue = self.queue.lock();
        let refused = if queue.closed {
            Some(draining())
        } else if queue.records + records.len() > MOST_WAITING {
            let message = format!("{MOST_WAITING} changes of groups wait to be written");
            Some(Error::new(ErrorCode::TooManyBytes, message))
        } else {
            None
        };
        if let Some(error) = refused {
            drop(queue);
            self.groups.failed(&records);
            // The receiver is in our hands.
            let _ = tell.send(Err(error));
            return told;
        }
        queue.records += records.len();
        queue.proposals.push(Proposal { records, tell });
        drop(queue);
        self.asked.notify_one();
        told
    }

    /// Has records written and waits for it. Dropping it changes nothing once it was polled.
    pub async fn write(&self, records: Vec<ControlRecord>) -> Result<usize> {
        let told = self.propose(records).await;
        told.unwrap_or_else(|_| Err(draining()))
    }

    /// What is proposed from here on is refused; the task ends behind what was.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.asked.notify_one();
    }
}
