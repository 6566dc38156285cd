//! The settings that the suite expects a backend under test to obey.

use trellis_core::cache::MachineConfig;

/// Bounds, small enough for cases to reach them. A backend under test must obey them; it gets them from the
/// suite, so that it cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces in use at a time.
    pub max_namespaces: usize,
    /// Bounds within each namespace.
    pub machine: MachineConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_namespaces: 4,
            machine: MachineConfig {
                max_value_bytes: 4 * 1024 * 1024,
                max_leases: 32,
                max_waiters: 64,
                max_fill_bytes: 5 * 1024 * 1024,
                max_failures: 4,
                max_tags: 4,
                max_fences: 4,
                ..MachineConfig::default()
            },
        }
    }
}
