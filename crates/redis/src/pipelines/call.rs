//! The scripts of pipelines, and one call of each.

use super::RedisPipelines;
use super::known::Record;
use super::record;
use crate::cache::{Told, unpack, without_answer};
use crate::failure::unreadable;
use crate::packed::pack;
use crate::{Call, Script, Session};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use trellis_core::pipelines::{PipelineName, Settings};
use trellis_core::{Error, ErrorCode, Namespace, Result};

macro_rules! operation {
    ($constant:ident, $name:literal) => {
        static $constant: LazyLock<Script> = LazyLock::new(|| {
            Script::guarded(concat!(
                include_str!("../../scripts/pipelines/call.lua"),
                include_str!(concat!("../../scripts/pipelines/", $name, ".lua")),
                include_str!("../../scripts/cache/main.lua"),
            ))
        });
    };
}

operation!(LOOK, "look");
operation!(PUT, "put");
operation!(RESTORE, "restore");

/// Records, and about so many bytes, told or put back by one call: a pause of the store of about a millisecond.
const MOST: usize = 256;
const MOST_BYTES: usize = 256 * 1024;

/// Up to which change it tells, the last change forgotten, whether there is more, and the records: name, version, is gone.
type LookTold = (u64, u64, u8, Vec<(String, u64, u8)>);

/// What has changed.
pub(super) struct Page {
    /// The number of the last change that it tells.
    pub upto: u64,
    /// The last change that the store remembers no more.
    pub forgotten: u64,
    pub more: bool,
    pub records: Vec<Seen>,
}

/// A record of the store.
pub(super) enum Seen {
    Read(Record),
    /// The place of one that this daemon cannot read.
    Unreadable(Namespace, PipelineName),
}

/// What became of a change.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PutTold {
    /// It stands under this version.
    Stored(u64),
    /// The pipeline has another version by now.
    Changed,
}

impl RedisPipelines {
    fn prepared(&self, script: &'static Script, args: &impl Serialize) -> Result<Call> {
        let env = (
            self.config.max_namespaces,
            self.bounds.max_pipelines,
            self.max_gone(),
            &self.mailbox,
        );
        Ok(Call::new(script)
            .key(self.store.keys().of("pipelines", &[]))
            .bytes(pack(&env)?)
            .bytes(pack(args)?))
    }

    async fn carry_out<P: for<'de> Deserialize<'de>>(&self, call: Call) -> Result<Told<P>> {
        let answer = self.store.call(call).await;
        unpack(&answer.map_err(|error| without_answer(&error))?, failed)
    }

    /// Asks what has changed since a change.
    pub(super) async fn look(&self, session: Session, since: u64) -> Result<Page> {
        let args = (since, MOST, MOST_BYTES);
        let call = self.prepared(&LOOK, &args)?.within(session);
        let told = self.carry_out::<LookTold>(call).await?;
        let (upto, forgotten, more, listed) = told.payload;
        let mut values = told.values.into_iter();
        let mut records = Vec::with_capacity(listed.len());
        for (place, version, gone) in listed {
            let updates = if gone == 0 { values.next() } else { None };
            if gone == 0 && updates.is_none() {
                return Err(unreadable("a pipeline comes without its values"));
            }
            self.store.saw_token(version);
            records.extend(self.seen(&place, version, updates.as_deref()));
        }
        Ok(Page {
            upto,
            forgotten,
            more: more != 0,
            records,
        })
    }

    /// The record under a name of the store; `None` for a name that is none of a pipeline.
    fn seen(&self, place: &str, version: u64, updates: Option<&[u8]>) -> Option<Seen> {
        let (namespace, name) = place.rsplit_once('/')?;
        let namespace = Namespace::new(namespace, "namespace").ok()?;
        let name = PipelineName::new(name, "name").ok()?;
        let updates = match updates.map(|bytes| record::read(bytes, &self.bounds)) {
            None => None,
            Some(Ok(updates)) => Some(updates),
            Some(Err(reason)) => {
                tracing::error!(
                    pipeline = place,
                    version,
                    reason,
                    "what was set in a pipeline cannot be obeyed here; what was known stays in force"
                );
                return Some(Seen::Unreadable(namespace, name));
            }
        };
        Some(Seen::Read(Record {
            namespace,
            name,
            version,
            updates,
        }))
    }

    /// Sets what updates have set, or that it is gone, if the version is still this one.
    pub(super) async fn put(
        &self,
        session: Session,
        (namespace, name): (&Namespace, &PipelineName),
        (version, known_gone): (u64, bool),
        updates: Option<&Settings>,
    ) -> Result<PutTold> {
        let args = (
            namespace.as_str(),
            name.as_str(),
            version,
            u8::from(known_gone),
            u8::from(updates.is_none()),
        );
        let mut call = self.prepared(&PUT, &args)?.within(session);
        if let Some(updates) = updates {
            call = call.bytes(record::write(updates)?);
        }
        Ok(self.carry_out(call).await?.payload)
    }

    /// Puts back what is known here; tells how many were put back, and for how many there was no room.
    pub(super) async fn restore(
        &self,
        session: Session,
        records: &[Record],
    ) -> Result<(usize, usize)> {
        let (mut put_back, mut refused) = (0, 0);
        let mut rest = records;
        while !rest.is_empty() {
            let (mut args, mut values, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((record, others)) = rest.split_first() {
                if args.len() >= MOST || bytes >= MOST_BYTES {
                    break;
                }
                let gone = u8::from(record.updates.is_none());
                let (namespace, name) = (record.namespace.as_str(), record.name.as_str());
                args.push((namespace, name, record.version, gone));
                if let Some(updates) = &record.updates {
                    let value = record::write(updates)?;
                    bytes += value.len();
                    values.push(value);
                }
                rest = others;
            }
            let call = self.prepared(&RESTORE, &args)?.within(session);
            let call = values.into_iter().fold(call, Call::bytes);
            let (here, without_room) = self.carry_out::<(usize, usize)>(call).await?.payload;
            put_back += here;
            refused += without_room;
        }
        Ok((put_back, refused))
    }
}

/// The error that a script has told: the same code and words as from memory.
fn failed(code: &str, number: u64) -> Error {
    match code {
        "TOO_MANY_PIPELINES" => Error::new(
            ErrorCode::TooManyPipelines,
            format!("updates have made or changed {number} pipelines of this namespace"),
        ),
        "TOO_MANY_NAMESPACES" => Error::new(
            ErrorCode::TooManyNamespaces,
            format!("{number} namespaces have pipelines that updates have changed"),
        ),
        other => unreadable(format!("it fails with {other}")),
    }
}
