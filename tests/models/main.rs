//! Protocols as models, of which every interleaving within some bounds is looked at.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "tests: a failure is a failed test, and how much was looked at is printed"
)]

mod locks;

use locks::{Broken, Locks};
use stateright::{Checker as _, HasDiscoveries, Model as _};

const SOUND: Locks = Locks {
    ticks: 4,
    losses: 1,
    grants: 2,
    broken: Broken::Nothing,
};

#[test]
fn no_lock_is_held_twice_and_tokens_rise_whatever_the_store_and_the_daemons_do() {
    let checker = SOUND.checker().spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn a_rule_that_is_broken_is_found() {
    for (broken, property) in [
        (Broken::LastReassertWins, "one holder"),
        (Broken::NoGrace, "one holder"),
        (Broken::ValidFromAcknowledgement, "one holder"),
        (Broken::DeadMayBeat, "one holder"),
        (Broken::TokensBeginAnew, "tokens rise"),
    ] {
        let checker = Locks { broken, ..SOUND }.checker();
        let checker = checker.finish_when(HasDiscoveries::AnyOf([property].into()));
        let checker = checker.spawn_bfs().join();
        assert!(checker.discovery(property).is_some(), "{broken:?}");
    }
}
