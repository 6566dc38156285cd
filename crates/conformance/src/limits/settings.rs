//! The settings that the suite expects of a backend.

use trellis_core::Micros;
use trellis_core::limits::MachineConfig;

/// Bounds and periods, small enough for cases to reach them. A backend under test must obey them; it
/// gets them from the suite, so that it cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces in use at a time.
    pub max_namespaces: usize,
    /// Bounds and periods within each namespace.
    pub machine: MachineConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_namespaces: 4,
            machine: MachineConfig {
                max_limits: 24,
                max_buckets: 60,
                max_waiters: 64,
                max_reservations: 40,
                max_request_ids: 16,
                hold_after: Micros::from_millis(200),
                request_window: Micros::from_secs(2),
                settle_window: Micros::from_secs(2),
                default_reservation_ttl: Micros::from_secs(1),
                sweep_every: Micros::from_secs(1),
            },
        }
    }
}
