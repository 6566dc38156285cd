//! Where things stand in Redis: format version 1.
//!
//! ```text
//! <prefix>:1:{0}:guard                    hash: generation, minted, run_id, repl_id, m:<daemon> = <incarnation>.<link>
//! <prefix>:1:{0}:members                  hash: daemon -> session record (JSON of strings)
//! <prefix>:1:{0}:dead                     hash: daemon -> the record of one declared dead, or that left, for a while
//! <prefix>:1:{0}:probe                    string: what the watchdog writes to see whether writing works
//! <prefix>:1:{0}:mailbox:<daemon>         channel (no key): hints for one daemon
//! <prefix>:1:{0}:<kind>:<name>:<name>...  what the primitives keep
//! ```
//!
//! `{0}` is the hash tag: the shard. Every key of a call, the guard included, shares it, because a script
//! must read the guard in the same step in which it changes anything. There is one shard today; on a
//! cluster each shard would have its own guard, generation and members. Only cache values carry a TTL.

use std::fmt::Write;

/// The version of the layout and of the scripts that read it.
const FORMAT: u8 = 1;

/// Makes the names of keys.
#[derive(Clone, Debug)]
pub struct Keys {
    root: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            root: format!("{prefix}:{FORMAT}:{{0}}"),
        }
    }

    /// The guard: see `scripts/guard.lua`.
    #[must_use]
    pub fn guard(&self) -> String {
        self.of("guard", &[])
    }

    /// The session records of all daemons.
    #[must_use]
    pub fn members(&self) -> String {
        self.of("members", &[])
    }

    /// The session records of daemons that were declared dead, while their shares are withheld, and of those that
    /// left, for as long as a lost one would count.
    #[must_use]
    pub fn dead(&self) -> String {
        self.of("dead", &[])
    }

    /// What the watchdog writes.
    #[must_use]
    pub fn probe(&self) -> String {
        self.of("probe", &[])
    }

    /// The channel on which one daemon is told things.
    #[must_use]
    pub fn mailbox(&self, daemon: &str) -> String {
        self.of("mailbox", &[daemon])
    }

    /// The key of a thing of some kind; two lists of names never make one key.
    #[must_use]
    pub fn of(&self, kind: &str, names: &[&str]) -> String {
        let mut key = format!("{}:{kind}", self.root);
        for name in names {
            key.push(':');
            for char in name.chars() {
                match char {
                    ':' | '%' => {
                        let _ = write!(key, "%{:02X}", u32::from(char));
                    }
                    _ => key.push(char),
                }
            }
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_reach_into_another_key_or_another_slot() {
        let keys = Keys::new("trellis");
        assert_eq!(keys.guard(), "trellis:1:{0}:guard");
        assert_eq!(
            keys.of("bucket", &["a:b", "{x}%"]),
            "trellis:1:{0}:bucket:a%3Ab:{x}%25"
        );
        assert_ne!(keys.of("bucket", &["a", "b"]), keys.of("bucket", &["a:b"]));
        assert_ne!(keys.of("bucket", &["a", ""]), keys.of("bucket", &["a"]));
    }
}
