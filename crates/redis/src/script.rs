//! Lua scripts: their text, their digest, and how one is run.
//!
//! A script is called by its digest; a server that does not know it (a restart, SCRIPT FLUSH) is given the
//! text and asked once more, inside the same call and on the same connection.

use crate::connection::Connection;
use crate::{CallError, RefusalKind, Reply};
use fred::types::Value;
use std::time::Duration;
use trellis_core::Clock;

const COMMON: &str = include_str!("../scripts/common.lua");
const GUARD: &str = include_str!("../scripts/guard.lua");

/// A Lua script with its digest. Make each once, in a `LazyLock`.
#[derive(Debug)]
pub struct Script {
    text: String,
    digest: String,
}

impl Script {
    /// A script that changes state. `common.lua` and `guard.lua` stand before it: its `KEYS[1]` is the
    /// guard and its `ARGV[1]` to `ARGV[3]` belong to it, all of them supplied by the call.
    #[must_use]
    pub fn guarded(body: &str) -> Self {
        Self::new([COMMON, GUARD, body].concat())
    }

    /// A script without the guard: only attaching needs one.
    pub(crate) fn unguarded(body: &str) -> Self {
        Self::new([COMMON, body].concat())
    }

    fn new(text: String) -> Self {
        let digest = fred::util::sha1_hash(&text);
        Self { text, digest }
    }

    /// Runs the script on a connection, within a time. `keys` and `args` are complete.
    pub(crate) async fn run(
        &self,
        connection: &Connection,
        clock: &dyn Clock,
        (keys, args): (Vec<Value>, Vec<Value>),
        within: Duration,
    ) -> Result<Reply, CallError> {
        let deadline = clock.now().mono + within.into();
        let mut call = Vec::with_capacity(2 + keys.len() + args.len());
        call.push(Value::from(self.digest.as_str()));
        call.push(Value::Integer(
            i64::try_from(keys.len()).unwrap_or(i64::MAX),
        ));
        call.extend(keys);
        call.extend(args);
        let first = connection.ask("EVALSHA", call.clone(), within).await;
        if !matches!(&first, Err(error) if error.refusal() == Some(RefusalKind::NoScript)) {
            return first;
        }
        let left = || Duration::from(deadline - clock.now().mono).max(Duration::from_millis(1));
        let load = vec![Value::from("LOAD"), Value::from(self.text.as_str())];
        // Loading changes nothing, so whatever hinders it leaves the call undone.
        match connection.ask("SCRIPT", load, left()).await {
            Ok(_) => connection.ask("EVALSHA", call, left()).await,
            Err(CallError::Unknown(_)) => Err(CallError::Away("the script could not be loaded")),
            Err(error) => Err(error),
        }
    }
}
