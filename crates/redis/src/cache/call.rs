//! One call of a script, and what it is to its caller when it fails.

use super::RedisCache;
use super::wire::{Env, Reply};
use crate::failure::{self, RETRY_AFTER, Repeat, unreadable};
use crate::packed::{bound, pack};
use crate::{Call, CallError, Heir, Script};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use trellis_core::cache::Fence;
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result};

/// Bytes of values in an answer of a script, its first value apart.
const MAX_SENT: u64 = 2 * 1024 * 1024;

/// When a call that found no room in line may try again.
const ROOM_AFTER: Micros = Micros::from_millis(100);

/// What a script has told: the store's time, its payload, and values.
pub(crate) struct Told<P> {
    pub now: u64,
    pub payload: P,
    pub values: Vec<Bytes>,
}

impl RedisCache {
    /// Where a namespace stands in the store.
    pub(super) fn root(&self, namespace: &str) -> String {
        self.store.keys().of("cache", &[namespace])
    }

    /// Calls a script.
    pub(super) async fn call<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
    ) -> Result<Told<P>> {
        let call = self.prepared(script, namespace, args)?;
        self.carry_out(call).await
    }

    /// Calls a script with bytes of a value.
    pub(super) async fn call_with<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
        value: Bytes,
    ) -> Result<Told<P>> {
        let call = self.prepared(script, namespace, args)?.bytes(value);
        self.carry_out(call).await
    }

    /// Calls a script whose answer goes to an heir when the caller is gone.
    pub(super) async fn call_inherited<P: for<'de> Deserialize<'de>>(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
        heir: Heir,
    ) -> Result<Told<P>> {
        let call = self.prepared(script, namespace, args)?.inherited_by(heir);
        self.carry_out(call).await
    }

    async fn carry_out<P: for<'de> Deserialize<'de>>(&self, call: Call) -> Result<Told<P>> {
        let answer = self.store.call(call).await;
        unpack(&answer.map_err(|error| without_answer(&error))?, failed)
    }

    fn prepared(
        &self,
        script: &'static Script,
        namespace: &Namespace,
        args: &impl Serialize,
    ) -> Result<Call> {
        let root = self.root(namespace.as_str());
        Ok(Call::new(script)
            .key(root)
            .key(self.store.keys().of("cache-namespaces", &[]))
            .bytes(pack(&self.env(namespace.as_str()))?)
            .bytes(pack(args)?))
    }

    fn env<'a>(&'a self, namespace: &'a str) -> Env<'a> {
        let machine = &self.config.machine;
        (
            bound(machine.max_value_bytes),
            bound(machine.max_leases),
            bound(machine.max_waiters),
            bound(machine.max_fill_bytes),
            bound(machine.max_failures),
            bound(machine.max_tags),
            bound(self.config.max_namespaces),
            MAX_SENT,
            namespace,
            &self.mailbox,
            bound(machine.max_fences),
        )
    }
}

/// The reply in an answer of the store; `failed` puts an error that the script has told into words.
pub(crate) fn unpack<P: for<'de> Deserialize<'de>>(
    answer: &crate::Reply,
    failed: impl Fn(&str, u64) -> Error,
) -> Result<Told<P>> {
    let mut parts = answer.items().iter().map(|part| match part {
        crate::Reply::Bytes(bytes) => bytes.clone(),
        _ => Bytes::new(),
    });
    let first = parts.next().ok_or_else(|| unreadable("it is no list"))?;
    match rmp_serde::from_slice(&first).map_err(|error| unreadable(error.to_string()))? {
        Reply::Ok(now, payload) => Ok(Told {
            now,
            payload,
            values: parts.collect(),
        }),
        Reply::Error(code, number) => Err(failed(&code, number)),
    }
}

/// The error that a script has told: the same code and words as from the machine in memory.
pub(super) fn failed(code: &str, number: u64) -> Error {
    match code {
        "TOO_MANY_NAMESPACES" => Error::new(
            ErrorCode::TooManyNamespaces,
            format!("{number} namespaces are in use; raise cache.max_namespaces"),
        ),
        "TOO_MANY_LEASES" => {
            let message = format!("{number} leases of this namespace are held");
            Error::new(ErrorCode::TooManyLeases, message).retry_after(RETRY_AFTER)
        }
        "TOO_MANY_WAITERS" => {
            let message = format!("{number} calls of this namespace wait");
            Error::new(ErrorCode::TooManyWaiters, message).retry_after(ROOM_AFTER)
        }
        "TOO_MANY_BYTES" => {
            let message = format!("{number} bytes of unfinished values are held");
            Error::new(ErrorCode::TooManyBytes, message).retry_after(RETRY_AFTER)
        }
        "STALE_FENCE" => Fence::refused(number),
        "PART" => Error::invalid("part", format!("a value must be at most {number} bytes")),
        "VALUE" => Error::invalid("value", format!("of {number} bytes is above the bound")),
        "NEGATIVE" => Error::invalid("negative", "parts of a value were sent, so there is one"),
        other => unreadable(format!("it fails with {other}")),
    }
}

/// What a call without an answer is to its caller.
pub(crate) fn without_answer(error: &CallError) -> Error {
    failure::without_answer(error, RETRY_AFTER, Repeat::Any)
}
