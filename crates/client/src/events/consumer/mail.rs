//! What a consumer and its deliveries ask of their keeper.
//!
//! Commands wait in a list that is bounded by their senders: each delivery sends one, the consumer one, their owner one.

use tokio::sync::oneshot;
use trellis_proto::v1::event_settlement::Settlement;

use crate::error::Result;
use crate::mail::{self, Last};

/// Where the end of a settlement is told.
pub(super) type Reply = oneshot::Sender<Result<()>>;

#[derive(Debug)]
pub(super) enum Command {
    Settle {
        lease: String,
        settlement: Settlement,
        reply: Option<Reply>,
    },
    /// The consumer is gone: no further events.
    Leave,
    /// So is the last delivery.
    Close,
}

impl Last for Command {
    fn last() -> Self {
        Self::Close
    }
}

pub(super) type Mail = mail::Mail<Command>;

/// Held by the consumer and its deliveries; the keeper ends with the last.
pub(super) type Owner = mail::Owner<Command>;
