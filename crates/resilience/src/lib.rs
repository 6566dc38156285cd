//! What a daemon does while the store that it shares is away.
//!
//! [`FallbackLimits`] stands before the shared limits and before limits of this daemon alone. While the store
//! answers, calls go to the shared ones and nothing is added to them but what is learned from their answers.
//! While it is away, an acquire goes to this daemon's own limits, under its *share* of each limit, and the
//! answer says so. When the store is back, what was spent meanwhile is merged into it once, then calls are
//! shared again.
//!
//! [`FallbackCache`] does the same for the cache, and [`FallbackLocks`] for locks where the operator wants it: see there.
//!
//! The order of the parts, outermost first: fallback ([`FallbackLimits`]), breaker ([`Breaker`]), deadline (the
//! store's own: every call of it ends within its timeout).

mod breaker;
mod cache;
mod fallback;
mod known;
mod locks;
mod outage;
mod port;
mod share;
mod switch;
mod task;

#[cfg(test)]
mod tests;

pub use breaker::{Breaker, BreakerConfig};
pub use cache::{CacheFallbackTask, FallbackCache};
pub use fallback::{FallbackLimits, FallbackPolicy, Level};
pub use locks::{FallbackLocks, LocksFallbackTask, LocksWhileAway};
pub use share::share_of;
pub use task::FallbackTask;
