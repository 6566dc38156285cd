//! Who this daemon is to the store.

use crate::ConfigError;

/// How this daemon presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the daemon: 1 to 128 letters, digits, `_`, `-` or `.`; no two running daemons share one.
    pub daemon: String,
    /// Version of the program.
    pub version: String,
    /// Version of the protocol between daemons.
    pub protocol: u32,
    /// Address under which the other daemons reach it.
    pub address: String,
}

impl Identity {
    /// Checks the daemon's id.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if (1..=128).contains(&self.daemon.len()) && self.daemon.bytes().all(plain) {
            return Ok(());
        }
        Err(ConfigError {
            setting: "daemon_id",
            value: self.daemon.clone(),
            allowed: "must be 1 to 128 letters, digits, '_', '-' or '.'",
        })
    }
}

/// What an attach has settled. Every script that changes state carries it and is refused once it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// The store's history. Another one: nothing that the store granted before stands.
    pub generation: u64,
    /// This daemon's life in the store. Another one: the earlier was declared dead.
    pub incarnation: u64,
    /// Number of the connection within this process.
    pub link: u64,
}

impl Session {
    /// Whether what was held in `self` is still held in `other`: the connection alone may differ.
    #[must_use]
    pub fn continues_in(&self, other: &Self) -> bool {
        (self.generation, self.incarnation) == (other.generation, other.incarnation)
    }
}
