//! What goes to scripts and comes back as msgpack, whatever the primitive.

use crate::failure::unreadable;
use bytes::Bytes;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::sync::Arc;
use trellis_core::Micros;

/// The largest whole number that Lua counts to exactly.
pub(crate) const MAX_WHOLE: u64 = (1 << 53) - 1;

/// A bound as scripts take it.
pub(crate) fn bound(bound: usize) -> u64 {
    u64::try_from(bound).unwrap_or(u64::MAX).min(MAX_WHOLE)
}

/// A span as scripts take it; cut off at more than 70 years, so that times stay whole numbers in Lua.
pub(crate) fn span(span: Micros) -> u64 {
    span.0.min(1 << 51)
}

/// What a script is given.
pub(crate) fn pack(value: &impl Serialize) -> trellis_core::Result<Bytes> {
    let bytes = rmp_serde::to_vec(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| unreadable(error.to_string()))
}

/// The same, its fields by name.
pub(crate) fn pack_named(value: &impl Serialize) -> trellis_core::Result<Bytes> {
    let bytes = rmp_serde::to_vec_named(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| unreadable(error.to_string()))
}

/// The next item of an array that must have one.
pub(crate) fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    items: &mut A,
) -> Result<T, A::Error> {
    let item = items.next_element()?;
    item.ok_or_else(|| de::Error::custom("an array ends early"))
}

/// `None` goes as `false`: a Lua table with holes is no array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maybe<T>(pub Option<T>);

impl<T: Serialize> Serialize for Maybe<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_bool(false),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeVisitor(PhantomData))
    }
}

struct MaybeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MaybeVisitor<T> {
    type Value = Maybe<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        if value {
            return T::deserialize(de::value::BoolDeserializer::new(value))
                .map(|it| Maybe(Some(it)));
        }
        Ok(Maybe(None))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        T::deserialize(de::value::I64Deserializer::new(value)).map(|it| Maybe(Some(it)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        T::deserialize(de::value::U64Deserializer::new(value)).map(|it| Maybe(Some(it)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        T::deserialize(de::value::StrDeserializer::new(value)).map(|it| Maybe(Some(it)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(items)).map(|it| Maybe(Some(it)))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(|it| Maybe(Some(it)))
    }
}

/// Bytes. They go as hexadecimal digits: Redis' msgpack knows no type for bytes that are no text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub Arc<[u8]>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &*self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes().chunks(2);
        let bytes = digits.map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let bytes: Option<Arc<[u8]>> = bytes.collect();
        let bytes = bytes.ok_or_else(|| de::Error::custom("bytes are hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

/// 16 hexadecimal digits of the SHA-1 of a body: long enough, since ids and not digests tell requests apart.
pub(crate) fn digest(body: &impl Serialize) -> String {
    let bytes = rmp_serde::to_vec(body).unwrap_or_default();
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut digest = fred::util::sha1_hash(&text);
    digest.truncate(16);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_come_back_as_they_went() {
        let blob = Blob(vec![0, 0xff, 0x10, b'v'].into());
        let packed = rmp_serde::to_vec(&blob).unwrap();
        assert_eq!(rmp_serde::from_slice::<Blob>(&packed).unwrap(), blob);
        let damaged = rmp_serde::to_vec("0x").unwrap();
        assert!(rmp_serde::from_slice::<Blob>(&damaged).is_err());
    }

    #[test]
    fn a_digest_is_the_same_on_every_daemon_and_in_every_version() {
        assert_eq!(digest(&("limit", 3, false)), "2bdb692f4e6ab388");
        assert_ne!(digest(&("limit", 3)), digest(&("limit", 4)));
    }
}
