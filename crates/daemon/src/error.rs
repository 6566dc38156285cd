//! Why a daemon ended badly.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use trellis_core::Error;

/// Why a daemon did not start, or did not end cleanly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port could not be bound.
    #[error("{setting} = \"{address}\" cannot be bound: {source}")]
    Bind {
        /// The setting's key.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A declared limit was refused.
    #[error("limits.declared[{index}]: {error}")]
    Declared {
        /// Its place in the list.
        index: usize,
        /// Why.
        error: Error,
    },
    /// The shared store cannot be used as it is; the words name the setting.
    #[error("{0}")]
    Store(String),
    /// What is kept in `data_dir` cannot be used as it is; the words say what to do.
    #[error("{0}")]
    Data(String),
    /// The services could not be made from the contract: a defect.
    #[error("{0}")]
    Contract(Error),
    /// A task that the daemon cannot do without ended.
    #[error("the {0} ended unasked; the log has the details")]
    Task(&'static str),
    /// Calls or connections were still open at the deadline.
    #[error("what was still in flight after {0:?} was cut")]
    Cut(Duration),
}

impl RunError {
    /// Whether other settings would have prevented it.
    #[must_use]
    pub fn is_bad_setting(&self) -> bool {
        matches!(self, Self::Declared { .. } | Self::Store(_) | Self::Data(_))
    }
}
