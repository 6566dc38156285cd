//! A store that tests cut off.

use trellis_core::{StoreState, Time};

/// The state of a store that is up, or cut off.
#[must_use]
pub fn store_that_is(up: bool) -> StoreState {
    StoreState {
        kind: "test",
        address: String::new(),
        up,
        condition: String::new(),
        since: Time(0),
        reason: "cut off".into(),
        generation: 1,
        incarnation: 1,
        calls_in_flight: 0,
    }
}
