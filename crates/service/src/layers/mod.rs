//! What surrounds every RPC: its latency, and the bound on calls in flight.

mod call_limit;
mod end_on_drain;
mod stats;
mod stats_layer;

pub use call_limit::CallLimitLayer;
pub(crate) use call_limit::{BoundElsewhere, elsewhere};
pub(crate) use end_on_drain::EndOnDrain;
pub use stats::{RpcSnapshot, RpcStats};
pub use stats_layer::StatsLayer;
