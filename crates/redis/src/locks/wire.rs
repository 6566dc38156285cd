//! What scripts are given and answer, as msgpack. The shapes are told in the head of each script.

use crate::packed::{Blob, Maybe, next};
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The secret by which a daemon knows what it asked for: part of the id of what comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Claim(pub u128);

impl fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Claim(***)")
    }
}

impl Claim {
    /// As it stands in the store.
    pub fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    pub fn read(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| de::Error::custom("a claim is 32 hexadecimal digits"))
    }
}

/// Bounds and names, as `call.lua` has them.
#[derive(Serialize)]
pub(super) struct Env<'a> {
    pub max_locks: u64,
    pub max_leases: u64,
    pub max_waiters: u64,
    pub max_watchers: u64,
    pub max_request_ids: u64,
    pub window: u64,
    pub max_namespaces: u64,
    pub namespace: &'a str,
    /// Before an escaped namespace: its root.
    pub base: &'a str,
    /// Before the name of a daemon: its mailbox.
    pub mailbox: &'a str,
    /// The highest token seen.
    pub floor: u64,
    /// Whether data may have been lost before the generation.
    pub lost: u8,
}

/// Method, id, digest of the body.
pub(super) type Request = (String, String, String);

/// A lease, in the order of `lease.lua`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub claim: Claim,
    /// 0: it has a life of its own.
    pub session: u64,
    pub ttl: u64,
    pub owner: String,
    pub value: Blob,
    pub since: u64,
    pub request: Maybe<Request>,
    /// Who times it: `<daemon>|<incarnation>`.
    pub host: String,
    /// Renewals that its host has not made from memory.
    pub kept: u64,
    /// Name, mode, token.
    pub locks: Vec<(String, u8, u64)>,
}

/// A lease's number, itself, and the time left.
pub(super) type View = (u64, Record, u64);

/// A session, in the order of `attached.lua`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    pub claim: Claim,
    pub ttl: u64,
    pub owner: String,
    pub on_break: u8,
    pub attachment: u64,
    pub attached: u8,
    pub host: String,
    pub kept: u64,
}

/// A reply.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply<P> {
    /// What was asked for, and what this daemon is told besides.
    Ok(P, Vec<News>),
    /// A code, and a number and a text that it speaks of.
    Error(String, u64, String),
}

/// What became of an acquire.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Acquired {
    Granted(u64, Box<Record>, u64),
    /// Time until it is ready, place.
    Held(u64, u32),
    TimedOut(u64, u32),
    /// Place, ticket.
    Waiting(u32, u64),
    Lost,
}

/// What became of a renewal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kept {
    Kept(u64),
    Yours(u64, Box<Record>),
}

/// A session's number, itself, the time left, its leases.
pub(super) type Opened = (u64, SessionRecord, u64, Vec<View>);

/// A lock: name, mode, token, holders in all, {owner, value, time held, time left}, waiters in all, {mode, owner,
/// time waited}.
pub(super) type State = (
    String,
    u8,
    u64,
    usize,
    Vec<(String, Blob, u64, u64)>,
    usize,
    Vec<(u8, String, u64)>,
);

/// What a daemon is told.
#[derive(Debug)]
pub(super) enum News {
    Granted(Claim, View),
    Refused(Claim, u8),
    /// Time until it is ready, place.
    TimedOut(Claim, u64, u32),
    /// A call that waited is in no line any more.
    Gone(Claim),
    /// A lease has ended: how, why, by whom.
    Ended(u64, u8, String, String),
    /// A lease was renewed through another daemon: so often by now.
    Kept(u64, u64),
    /// An attachment to a session is over: which, why.
    SessionOver(u64, u64, u8),
    /// Another daemon times a lease now.
    Moved(u64),
    /// This daemon times a lease now.
    Yours(View),
    YourSession(u64, SessionRecord),
    /// The holders of a watched lock have changed.
    Changed(String),
    /// Grants have begun.
    Begun,
    /// Of a later version.
    Other,
}

impl<'de> Deserialize<'de> for News {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(NewsVisitor)
    }
}

struct NewsVisitor;

impl<'de> Visitor<'de> for NewsVisitor {
    type Value = News;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("news")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<News, A::Error> {
        let i = &mut items;
        let kind: String = next(i)?;
        let news = match kind.as_str() {
            "granted" => News::Granted(next(i)?, next(i)?),
            "refused" => News::Refused(next(i)?, next(i)?),
            "timed_out" => News::TimedOut(next(i)?, next(i)?, next(i)?),
            "gone" => News::Gone(next(i)?),
            "ended" => News::Ended(next(i)?, next(i)?, next(i)?, next(i)?),
            "kept" => News::Kept(next(i)?, next(i)?),
            "session_over" => News::SessionOver(next(i)?, next(i)?, next(i)?),
            "moved" => News::Moved(next(i)?),
            "yours" => News::Yours(next(i)?),
            "your_session" => News::YourSession(next(i)?, next(i)?),
            "changed" => News::Changed(next(i)?),
            "begun" => News::Begun,
            _ => News::Other,
        };
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(news)
    }
}

/// A message in a daemon's mailbox, if it is one of locks: a namespace, empty for all, and news.
pub(super) fn message(bytes: &[u8]) -> Option<(String, Vec<News>)> {
    let (kind, namespace, news) =
        rmp_serde::from_slice::<(String, String, Vec<News>)>(bytes).ok()?;
    (kind == "locks").then_some((namespace, news))
}

/// How a lease ended.
pub(super) const RELEASED: u8 = 0;
pub(super) const FORCED: u8 = 2;
pub(super) const NOT_RESTORED: u8 = 3;

/// Why a session is over, or a call of it turned away.
pub(super) const SUPERSEDED: u8 = 0;
pub(super) const BROKEN: u8 = 1;
pub(super) const CLOSED: u8 = 2;

/// Why a wait is ended: see `end_waits.lua`.
pub(super) const TIME_OVER: u8 = 0;
pub(super) const CALLER_GONE: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_a_later_version_are_passed_over() {
        let told = rmp_serde::to_vec(&("locks", "default", [("whatever", 1, "x")])).unwrap();
        let (namespace, news) = message(&told).unwrap();
        assert_eq!(namespace, "default");
        assert!(matches!(news[..], [News::Other]));
    }

    #[test]
    fn messages_of_other_primitives_are_none_of_locks() {
        for other in [
            rmp_serde::to_vec(&("flight", "default", "key", 7)).unwrap(),
            rmp_serde::to_vec(&("cleared", "default")).unwrap(),
            rmp_serde::to_vec(&("done", "default", "acquire", "id")).unwrap(),
        ] {
            assert!(message(&other).is_none());
        }
    }
}
