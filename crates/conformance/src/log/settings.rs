//! The settings that the suite expects a backend under test to obey.

use trellis_core::log::LogLimits;

/// Bounds, small enough for cases to reach them. A backend under test gets them from the suite, so that it cannot
/// forget one. A store with bounds of its own may set lower ones for sizes: cases look at what the port says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bounds on what is appended.
    pub limits: LogLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: LogLimits {
                partitions: 3,
                batch_bytes: 256 * 1024,
                batch_records: 200,
            },
        }
    }
}
