//! The memory backend against the suite of the limits port.

mod support;

use trellis_conformance::Pace;
use trellis_conformance::limits::{Settings, Subject};

fn memory(settings: Settings) -> Subject {
    Subject::new(vec![support::memory_limits(settings)], Pace::Virtual)
}

trellis_conformance::limits_conformance!(memory);
