//! Values, read with plain commands and judged by the clears read after them.

use super::RedisCache;
use super::blob;
use super::call::{unreadable, without_answer};
use crate::Reply;
use crate::call::Reads;
use bytes::Bytes;
use fred::types::Value;
use std::collections::{BTreeSet, HashMap};
use trellis_core::cache::Entry;
use trellis_core::{EntryKey, Namespace, Result, Time};

/// Values asked for in one command: the server serves others between two.
const TOGETHER: usize = 128;

/// What was found under a key.
pub(super) enum Seen {
    Nothing,
    Damaged,
    Entry(Box<Entry>),
}

/// What was found at a time of the store.
pub(super) struct Read {
    pub now: Time,
    pub seen: Vec<Seen>,
}

/// Which entries are hidden.
#[derive(Default)]
struct Clears {
    /// `None`: the namespace is not in use, so nothing in it can be seen.
    all: Option<u64>,
    forgotten: u64,
    tags: HashMap<String, u64>,
}

impl Clears {
    fn note(&mut self, meta: &Reply) {
        if let [all, forgotten] = meta.items() {
            self.all = all.number();
            self.forgotten = forgotten.number().unwrap_or(0);
        }
    }

    fn hide(&self, entry: &Entry) -> bool {
        let as_of = entry.as_of.0;
        let cleared = |number: &u64| as_of <= *number;
        let mut tags = entry.tags.iter();
        self.all.as_ref().is_none_or(cleared)
            || (!entry.tags.is_empty() && as_of <= self.forgotten)
            || tags.any(|tag| self.tags.get(tag.as_str()).is_some_and(cleared))
    }
}

impl RedisCache {
    /// What can be seen under keys, however stale: in one round trip, two where entries have tags.
    pub(super) async fn read(&self, namespace: &Namespace, keys: &[EntryKey]) -> Result<Read> {
        let root = self.root(namespace.as_str());
        let meta = || {
            (
                "HMGET",
                values([format!("{root}:m"), "all".into(), "forgotten".into()]),
            )
        };
        let mut commands: Reads = keys
            .chunks(TOGETHER)
            .map(|keys| {
                (
                    "MGET",
                    values(keys.iter().map(|key| format!("{root}:v:{key}"))),
                )
            })
            .collect();
        // After the values: a clear that they were read before is not missed.
        commands.extend([meta(), ("TIME", Vec::new())]);
        let mut replies = self.ask_plainly(commands).await?;
        let now = replies.pop().and_then(|reply| time(&reply));
        let now = now.ok_or_else(|| unreadable("TIME answers something else"))?;
        let mut clears = Clears::default();
        clears.note(&replies.pop().unwrap_or(Reply::Nil));
        let found = replies.iter().flat_map(Reply::items);
        let mut seen: Vec<Seen> = found.map(|reply| self.judge(reply, now)).collect();
        seen.resize_with(keys.len(), || Seen::Nothing);

        let tags: BTreeSet<&str> = seen.iter().flat_map(tags_of).collect();
        if !tags.is_empty() {
            let tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
            let mut asked = vec![format!("{root}:t")];
            asked.extend(tags.iter().cloned());
            // Again after the tags: a clear that is forgotten in between is found in one of the two.
            let replies = self
                .ask_plainly(vec![("HMGET", values(asked)), meta()])
                .await?;
            if let [numbers, again] = &replies[..] {
                let numbers = numbers.items().iter().map(Reply::number);
                let known = tags.into_iter().zip(numbers);
                clears.tags = known
                    .filter_map(|(tag, number)| Some((tag, number?)))
                    .collect();
                clears.note(again);
            }
        }
        for one in &mut seen {
            if matches!(one, Seen::Entry(entry) if clears.hide(entry)) {
                *one = Seen::Nothing;
            }
        }
        Ok(Read { now, seen })
    }

    /// The value under one key of the store, whatever it is.
    pub(super) async fn read_one(&self, key: String) -> Result<Option<Bytes>> {
        let replies = self.ask_plainly(vec![("GET", values([key]))]).await?;
        Ok(match replies.into_iter().next() {
            Some(Reply::Bytes(bytes)) => Some(bytes),
            _ => None,
        })
    }

    async fn ask_plainly(&self, commands: Reads) -> Result<Vec<Reply>> {
        let answers = self.store.read(commands).await;
        answers.map_err(|error| without_answer(&error))
    }

    fn judge(&self, reply: &Reply, now: Time) -> Seen {
        let Reply::Bytes(bytes) = reply else {
            return Seen::Nothing;
        };
        match blob::entry(bytes) {
            Ok(entry) if now < entry.stale_until => Seen::Entry(Box::new(entry)),
            Ok(_) => Seen::Nothing,
            Err(what) => {
                self.report_damage(what);
                Seen::Damaged
            }
        }
    }
}

fn tags_of(seen: &Seen) -> impl Iterator<Item = &str> {
    let tags = match seen {
        Seen::Entry(entry) => &entry.tags[..],
        Seen::Nothing | Seen::Damaged => &[],
    };
    tags.iter().map(trellis_core::Tag::as_str)
}

fn values(texts: impl IntoIterator<Item = String>) -> Vec<Value> {
    texts.into_iter().map(Value::from).collect()
}

/// The store's time.
fn time(reply: &Reply) -> Option<Time> {
    let [seconds, micros] = reply.items() else {
        return None;
    };
    Some(Time(seconds.number()? * 1_000_000 + micros.number()?))
}
