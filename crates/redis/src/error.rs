//! How a call may end other than well.
//!
//! The three kinds differ in what is known: [`CallError::Refused`] and [`CallError::Away`] mean that
//! nothing was done, [`CallError::Unknown`] that the call may have been carried out, or still be while its
//! connection lives; it is resolved by asking the store about its request id.

use fred::error::{Error as FredError, ErrorKind};

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Refused; nothing was done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It was sent, or may have been, and no answer came.
    #[error("the store did not answer: {0}")]
    Unknown(&'static str),
    /// There is no attached connection; nothing was sent.
    #[error("the store is away: {0}")]
    Away(&'static str),
}

/// A definite no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of no.
    pub kind: RefusalKind,
    /// The words of Redis or of the script, for operators.
    pub message: String,
}

/// Why the store, or the bound before it, said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The bound on calls in flight held for too long; not sent.
    TooManyInFlight,
    /// The store is in another generation than the call.
    StaleGeneration,
    /// The incarnation was declared dead, has left, or the connection was replaced.
    StaleIncarnation,
    /// A younger process holds this daemon id.
    Superseded,
    /// The server is a replica.
    ReadOnly,
    /// The server is loading its data.
    Loading,
    /// The server is out of memory.
    OutOfMemory,
    /// The server has fewer good replicas than `min-replicas-to-write`.
    NoReplicas,
    /// The server cannot persist and therefore refuses writes.
    NotPersisting,
    /// The server is busy with a script that does not end.
    ScriptBusy,
    /// The credentials are missing or wrong.
    Credentials,
    /// The user may not run the command or touch the key.
    NoPermission,
    /// The server does not know the script; resolved inside the call.
    NoScript,
    /// A script's own refusal, or a defect: the first word of the message tells.
    Script,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The refusal that an error reply of Redis is.
    pub(crate) fn from_reply(message: String) -> Self {
        let word = message.split(' ').next().unwrap_or_default();
        let kind = match word {
            "STALE_GENERATION" => RefusalKind::StaleGeneration,
            "STALE_INCARNATION" | "STALE_LINK" => RefusalKind::StaleIncarnation,
            "SUPERSEDED" => RefusalKind::Superseded,
            "READONLY" => RefusalKind::ReadOnly,
            "LOADING" | "MASTERDOWN" => RefusalKind::Loading,
            "OOM" => RefusalKind::OutOfMemory,
            "NOREPLICAS" => RefusalKind::NoReplicas,
            "MISCONF" => RefusalKind::NotPersisting,
            "BUSY" => RefusalKind::ScriptBusy,
            "NOAUTH" | "WRONGPASS" => RefusalKind::Credentials,
            "NOPERM" => RefusalKind::NoPermission,
            "NOSCRIPT" => RefusalKind::NoScript,
            _ => RefusalKind::Script,
        };
        Self { kind, message }
    }
}

impl CallError {
    /// What an error of the driver means for a call that was handed to it. Error replies are no such errors.
    pub(crate) fn from_driver(error: &FredError) -> Self {
        match error.kind() {
            ErrorKind::Timeout => Self::Unknown(NO_ANSWER),
            // The driver cancels only what it has not written.
            ErrorKind::Canceled => Self::Away("the connection was closed"),
            _ => Self::Unknown("the connection was lost"),
        }
    }

    /// The kind of the refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind),
            _ => None,
        }
    }
}

/// The time for the answer is over.
pub(crate) const NO_ANSWER: &str = "no answer within the store timeout";
