//! [`Consumer`]: a member of a group.

mod delivery;
mod keeper;
mod link;
mod mail;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::event::Start;
use super::group::Group;
use crate::background::spawn;
use crate::error::{Error, Result};

pub use delivery::Delivery;

use keeper::Keeper;
use mail::{Command, Mail, Owner};

/// Events in hand at a time, unless set otherwise.
const DEFAULT_PREFETCH: u32 = 16;
/// The most: what a daemon lets a member have by default.
const LARGEST_PREFETCH: u32 = 100_000;

/// A member being made. Made by [`Group::consumer`].
#[derive(Clone, Debug)]
#[must_use = "a consumer does nothing until it is opened"]
pub struct Consume {
    group: Group,
    start: Start,
    prefetch: u32,
}

impl Consume {
    pub(super) fn new(group: Group) -> Self {
        Self {
            group,
            start: Start::default(),
            prefetch: DEFAULT_PREFETCH,
        }
    }

    /// Where the group begins if there is none yet. Default [`Start::Latest`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How many events this member may have at a time, those that wait here among them: 1 to 100,000. Default 16.
    pub fn prefetch(mut self, events: u32) -> Self {
        self.prefetch = events.clamp(1, LARGEST_PREFETCH);
        self
    }

    /// Begins. What goes wrong is told by [`Consumer::next`].
    #[must_use]
    pub fn open(self) -> Consumer {
        let mail = Arc::new(Mail::default());
        let shared = &self.group.topic.events.shared;
        let owner = Arc::new(Owner {
            mail: mail.clone(),
            timeout: shared.timeout(std::time::Duration::ZERO),
        });
        // The credit is never more than this.
        let (sender, deliveries) = mpsc::channel(self.prefetch as usize + 1);
        spawn(Keeper::new(self, mail, Arc::downgrade(&owner), sender).run());
        Consumer { deliveries, owner }
    }
}

/// A member of a group, over one stream that is opened again by itself.
///
/// Dropped, it takes no further events; what waits in it goes back to the group at once, and what was handed out can be answered
/// still.
#[derive(Debug)]
pub struct Consumer {
    deliveries: mpsc::Receiver<Result<Delivery>>,
    owner: Arc<Owner>,
}

impl Consumer {
    /// The next event; waits for it. Dropping the future loses nothing.
    ///
    /// Fails only where trying again does not help, for example with
    /// [`ErrorReason::GroupNotFound`](crate::ErrorReason::GroupNotFound) when the group was deleted; nothing comes after that.
    pub async fn next(&mut self) -> Result<Delivery> {
        let over = || Err(Error::unreachable("the consumer has ended"));
        let mut delivery = self.deliveries.recv().await.unwrap_or_else(over)?;
        delivery.seen = true;
        Ok(delivery)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.owner.mail.send(Command::Leave);
    }
}
