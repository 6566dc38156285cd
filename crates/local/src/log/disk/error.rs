//! Why a log cannot be opened, for an operator: each text says what to do.

use std::io;

/// Why [`super::DiskLog::open`] failed. Nothing was changed, except that files were made or removed that hold
/// no record.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is out of its bounds.
    #[error("the log's options: {0}")]
    Options(trellis_core::Error),
    /// Another process has it open.
    #[error(
        "the log is open in another process: end that one, or give this one a folder of its own"
    )]
    Locked,
    /// The operating system refused.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file's name, or the folder.
        file: String,
        /// What it said.
        source: io::Error,
    },
    /// A file was written by another version.
    #[error(
        "{file} has version {found} of the log's format, and this daemon knows version {known}: start the daemon that wrote it"
    )]
    Version {
        /// The file's name.
        file: String,
        /// What it has.
        found: u32,
        /// What can be read.
        known: u32,
    },
    /// What is stored is not what was written, and it is not a torn tail.
    #[error(
        "{file} is damaged at byte {position}: {reason}; restore it from a backup, or open the log with damage \
         salvaged, which gives up what cannot be read"
    )]
    Damaged {
        /// The file's name.
        file: String,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A file that belongs to the log is not there.
    #[error(
        "{file} is missing; restore it from a backup, or open the log with damage salvaged, which gives up its records"
    )]
    Missing {
        /// The file's name.
        file: String,
    },
    /// A file belongs to another log.
    #[error(
        "{file} belongs to another log than the newest file: move it away, or into its own folder"
    )]
    Foreign {
        /// The file's name.
        file: String,
    },
    /// There are records in a partition beyond the configured number.
    #[error(
        "partition {partition} has records, and only {configured} partitions are configured: configure more"
    )]
    Partitions {
        /// The highest one with records.
        partition: u32,
        /// How many are configured.
        configured: u32,
    },
}

impl OpenError {
    /// An error of the operating system's.
    pub(super) fn io(
        action: &'static str,
        file: impl Into<String>,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.into();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }
}
