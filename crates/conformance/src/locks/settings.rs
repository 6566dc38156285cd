//! The settings that the suite expects a backend under test to obey.

use trellis_core::Micros;
use trellis_core::locks::MachineConfig;

/// Bounds and periods, small enough for cases to reach them. A backend under test must obey them; it
/// gets them from the suite, so that it cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces in use at a time.
    pub max_namespaces: usize,
    /// Watches in each namespace.
    pub max_watchers: usize,
    /// Bounds and periods within each namespace.
    pub machine: MachineConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_namespaces: 4,
            max_watchers: 3,
            machine: MachineConfig {
                max_locks: 24,
                max_leases: 90,
                max_waiters: 64,
                max_request_ids: 16,
                request_window: Micros::from_secs(2),
                position_every: Micros::from_millis(200),
            },
        }
    }
}
