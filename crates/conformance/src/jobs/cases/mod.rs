//! The cases, by theme. A case takes a [`Bench`](super::Bench) over a fresh backend and panics when a
//! promise of the port is broken.
//!
//! Only what the list in `suite` names is exported, so that a case left out of it is dead code, which
//! no build accepts.

mod batches;
mod bounds;
mod charges;
mod endings;
mod joins;
mod order;
mod queues;
mod retries;
mod streams;
mod submitting;
mod working;

macro_rules! export {
    (() $($theme:ident { $($case:ident),+ $(,)? })+) => {
        $(pub use $theme::{$($case),+};)+

        /// Every case of the suite, as `theme::case`.
        pub const NAMES: &[&str] = &[
            $($(concat!(stringify!($theme), "::", stringify!($case)),)+)+
        ];
    };
}
crate::__jobs_cases!(export, ());
