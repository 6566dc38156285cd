//! Calls of other ports on their way, which the task of a partition carries on beside everything else.

use bytes::Bytes;
use std::pin::Pin;
use trellis_core::jobs::{JobId, LeaseId};
use trellis_core::limits::{Acquired, Settled};
use trellis_core::{Namespace, Result};

/// A call on its way.
pub(super) type Call = Pin<Box<dyn Future<Output = Called> + Send>>;

/// What a call has come to.
pub(super) enum Called {
    Acquired(JobId, Result<Acquired>),
    /// Of a job that stood in the limits' line.
    Stood(JobId, Result<Acquired>),
    /// Of an attempt; or of what no lease was logged for.
    Settled(Option<LeaseId>, Namespace, Result<Settled>),
    /// What nobody is to be told.
    Nothing,
    /// The result of a job was looked for in the cache.
    Looked(JobId, Option<Bytes>),
    /// A result was kept there, or not.
    Kept,
}
