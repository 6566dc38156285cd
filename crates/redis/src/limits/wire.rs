//! What goes to the scripts and comes back: msgpack arrays, integers below 2^53, `false` for nothing.
//!
//! The shapes are told in the head of each script.

pub(super) use crate::packed::Maybe;
use crate::packed::next;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// A limit's spec: its kind, then its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    Rate {
        amount: i64,
        period: u64,
        burst: i64,
    },
    Window {
        amount: i64,
        period: u64,
    },
    Calendar {
        amount: i64,
        unit: u8,
        zone: String,
    },
    Slots {
        slots: i64,
    },
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Rate {
                amount,
                period,
                burst,
            } => (1, amount, period, burst).serialize(serializer),
            Self::Window { amount, period } => (2, amount, period).serialize(serializer),
            Self::Calendar { amount, unit, zone } => (3, amount, unit, zone).serialize(serializer),
            Self::Slots { slots } => (4, slots).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> Visitor<'de> for SpecVisitor {
    type Value = Spec;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a spec")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let kind: u8 = next(&mut items)?;
        let amount = next(&mut items)?;
        Ok(match kind {
            1 => Spec::Rate {
                amount,
                period: next(&mut items)?,
                burst: next(&mut items)?,
            },
            2 => Spec::Window {
                amount,
                period: next(&mut items)?,
            },
            3 => Spec::Calendar {
                amount,
                unit: next(&mut items)?,
                zone: next(&mut items)?,
            },
            4 => Spec::Slots { slots: amount },
            _ => return Err(de::Error::custom("an unknown kind of spec")),
        })
    }
}

/// What every script is given first: bounds and spans in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Env<'a> {
    pub max_limits: u64,
    pub max_buckets: u64,
    pub max_waiters: u64,
    pub max_reservations: u64,
    pub max_request_ids: u64,
    pub hold_after: u64,
    pub request_window: u64,
    pub settle_window: u64,
    pub default_ttl: u64,
    pub mailbox: &'a str,
    /// Shares of silent members; see `withheld.lua`.
    pub withheld: Maybe<Vec<Vec<u64>>>,
    /// Unit, zone, start, end.
    pub periods: &'a [(u8, String, u64, u64)],
    pub max_namespaces: u64,
    pub namespace: &'a str,
    /// When the generation began, if data may have been lost then.
    pub lost: Maybe<u64>,
    /// What buckets count as that nobody knows since.
    pub after_loss: u8,
    /// For how long daemons are waited for that may know them.
    pub settle: u64,
}

/// Limit, key, amount, spec, whether that spec is required.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Charge<'a>(pub &'a str, pub &'a str, pub i64, pub Maybe<Spec>, pub bool);

/// Method, id, digest of the body.
pub(super) type Request<'a> = Maybe<(&'static str, &'a str, String)>;

/// Remaining, time to retry (-1: none), spec, source, whether an inline spec was replaced.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct State(pub i64, pub i64, pub Spec, pub u8, pub bool);

/// What belongs to an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Nothing,
    /// A reservation and how long it lasts.
    Reservation(String, u64),
    /// Time to retry.
    Wait(u64),
    /// Time to retry, and the place in line.
    TimedOut(u64, u32),
    /// The limit that was deleted.
    Limit(String),
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("what belongs to an outcome")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Data, E> {
        Ok(Data::Nothing)
    }

    fn visit_u64<E: de::Error>(self, wait: u64) -> Result<Data, E> {
        Ok(Data::Wait(wait))
    }

    fn visit_i64<E: de::Error>(self, wait: i64) -> Result<Data, E> {
        u64::try_from(wait)
            .map(Data::Wait)
            .map_err(de::Error::custom)
    }

    fn visit_str<E: de::Error>(self, limit: &str) -> Result<Data, E> {
        Ok(Data::Limit(limit.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
        match next(&mut items)? {
            Item::Text(id) => Ok(Data::Reservation(id, next(&mut items)?)),
            Item::Number(wait) => Ok(Data::TimedOut(wait, next(&mut items)?)),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Number(u64),
    Text(String),
}

/// Outcome, what belongs to it, what each charge met.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Decision(pub u8, pub Data, pub Vec<State>);

pub(super) const GRANTED: u8 = 1;
pub(super) const DENIED: u8 = 2;
pub(super) const NEVER: u8 = 3;
pub(super) const TIMED_OUT: u8 = 4;
pub(super) const QUEUED: u8 = 6;
pub(super) const DELETED: u8 = 7;

/// The end of a waiting call: its ticket, then as a decision.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ended(pub String, pub u8, pub Data, pub Vec<State>);

/// Which bucket is to be looked at, and when, in the store's time.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Look(pub String, pub u64);

/// A script's reply.
#[derive(Debug)]
pub(super) enum Reply<P> {
    Done {
        now: u64,
        payload: P,
        ended: Vec<Ended>,
        looks: Vec<Look>,
    },
    /// The first answer of a request id, when it was given, and until when its reservation stands (-1).
    Replay {
        now: u64,
        at: u64,
        payload: P,
        until: i64,
    },
    /// The request id's first call still waits.
    Running,
    Failed {
        code: String,
        index: i64,
        detail: Detail,
    },
    /// Slices are recalled, until then at the latest; the call is to be made again.
    Recalling { now: u64, until: u64 },
    /// The calendar period of this unit and zone that holds `now` is missing.
    Period { now: u64, unit: u8, zone: String },
}

/// What an error tells besides its code.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Detail {
    Nothing(bool),
    Number(u64),
    Pair(u64, u64),
}

impl<'de, P: Deserialize<'de>> Deserialize<'de> for Reply<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReplyVisitor(PhantomData))
    }
}

struct ReplyVisitor<P>(PhantomData<P>);

impl<'de, P: Deserialize<'de>> Visitor<'de> for ReplyVisitor<P> {
    type Value = Reply<P>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a script's reply")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let kind: String = next(&mut items)?;
        let now = next(&mut items)?;
        let reply = match kind.as_str() {
            "ok" => Reply::Done {
                now,
                payload: next(&mut items)?,
                ended: next(&mut items)?,
                looks: next(&mut items)?,
            },
            "replay" => Reply::Replay {
                now,
                at: next(&mut items)?,
                payload: next(&mut items)?,
                until: next(&mut items)?,
            },
            "running" => Reply::Running,
            "recalling" => Reply::Recalling {
                now,
                until: next(&mut items)?,
            },
            "error" => Reply::Failed {
                code: next(&mut items)?,
                index: next(&mut items)?,
                detail: next(&mut items)?,
            },
            "period" => Reply::Period {
                now,
                unit: next(&mut items)?,
                zone: next(&mut items)?,
            },
            _ => return Err(de::Error::custom("an unknown reply")),
        };
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(reply)
    }
}

/// A message in a daemon's mailbox.
#[derive(Debug)]
pub(super) enum Message {
    /// Namespace, looks, and the time of the store at which they were told.
    Look(String, Vec<Look>, u64),
    Ended(String),
    Done,
    /// Namespace, limit, key of a bucket whose slices are wanted back.
    Recall(String, String, String),
    /// Of one in which there is something again.
    Refill(String, String, String),
    /// Slices that a call waits for have come back.
    Returned,
    /// Of another primitive or a later version.
    Other,
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MessageVisitor)
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Message, A::Error> {
        let kind: String = next(&mut items)?;
        let message = match kind.as_str() {
            "look" => Message::Look(next(&mut items)?, next(&mut items)?, next(&mut items)?),
            "ended" => Message::Ended(next(&mut items)?),
            "done" => Message::Done,
            "recall" => Message::Recall(next(&mut items)?, next(&mut items)?, next(&mut items)?),
            "refill" => Message::Refill(next(&mut items)?, next(&mut items)?, next(&mut items)?),
            "returned" => Message::Returned,
            _ => Message::Other,
        };
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(message)
    }
}
