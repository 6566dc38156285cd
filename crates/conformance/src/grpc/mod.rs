//! The ports through contract and server, so that one suite tests all of them: limits through the typed
//! client, the others through the generated one.
//!
//! ```text
//! fn over_grpc(settings: Settings) -> Subject {
//!     let client = grpc::connect(routes_over(memory(settings)));
//!     grpc::subject([client], Pace::Virtual)
//! }
//! limits_conformance!(over_grpc);
//! ```
//!
//! The pipe is in this process, so that paused time works.

mod asking;
mod cache;
mod convert;
mod events;
mod jobs;
mod limits;
mod locks;
mod pages;
mod pipe;
mod pipelines;

pub use cache::GrpcCache;
pub use events::GrpcEvents;
pub use jobs::GrpcJobs;
pub use limits::GrpcLimits;
pub use locks::{GrpcLocks, locks_subject};
pub use pipe::{Cut, PipeServer, channel, connect, connect_to};
pub use pipelines::GrpcPipelines;

use crate::Pace;
use crate::limits::Subject;
use std::sync::Arc;
use trellis_client::Client;
use trellis_core::limits::Limits;

/// Daemons under test, each call an RPC of its own.
#[must_use]
pub fn subject(clients: impl IntoIterator<Item = Client>, pace: Pace) -> Subject {
    over(clients, GrpcLimits::unary, pace)
}

/// Daemons under test, acquires, settles and extensions over one stream for each namespace.
#[must_use]
pub fn pipelined_subject(clients: impl IntoIterator<Item = Client>, pace: Pace) -> Subject {
    over(clients, GrpcLimits::pipelined, pace)
}

fn over(
    clients: impl IntoIterator<Item = Client>,
    adapt: fn(Client) -> GrpcLimits,
    pace: Pace,
) -> Subject {
    let mut adapted: Vec<GrpcLimits> = Vec::new();
    for client in clients {
        let limits = adapt(client);
        adapted.push(match adapted.first() {
            Some(first) => limits.sharing(first),
            None => limits,
        });
    }
    let handles = adapted
        .into_iter()
        .map(|limits| Arc::new(limits) as Arc<dyn Limits>);
    Subject::new(handles.collect(), pace)
}
