//! Entries as they stand in the store: written by `entry.lua`, read here.
//!
//! A format byte, the header's length, the header, eight digits of its SHA-1, the content, of which the header
//! holds the CRC-32. What is not whole, or of another format, is damage: never an entry, never a panic.

use bytes::Bytes;
use std::sync::Arc;
use trellis_core::cache::{Content, Cost, Entry, Version};
use trellis_core::{Tag, Time};

const ENTRY: u8 = 1;
const FAILURE: u8 = 2;
/// Format and length.
const START: usize = 3;
/// Digits of the header's checksum.
const DIGITS: usize = 8;

/// What is wrong with a value, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damage(&'static str);

type HeaderTold<'a> = (
    u64,
    u64,
    u64,
    u64,
    u64,
    i64,
    u8,
    u32,
    usize,
    &'a str,
    (i64, i64, i64),
    Vec<&'a str>,
);

/// How a flight ended.
#[derive(Debug)]
pub(super) enum Landed {
    Value(Box<Entry>),
    /// Code, message, until when it is remembered.
    Failure(i32, String, u64),
}

/// The checksum of bytes that follow others with this one.
pub(super) fn checksum(of_before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(of_before);
    hasher.update(bytes);
    hasher.finalize()
}

/// The entry in a value; its times are the store's.
pub(super) fn entry(blob: &Bytes) -> Result<Entry, Damage> {
    match read(blob)? {
        Landed::Value(entry) => Ok(*entry),
        Landed::Failure(..) => Err(Damage("it is of another kind")),
    }
}

/// What a flight ended with.
pub(super) fn read(blob: &Bytes) -> Result<Landed, Damage> {
    let [format, high, low, ..] = blob[..] else {
        return Err(Damage("it is too short"));
    };
    let end = START + usize::from(u16::from_be_bytes([high, low]));
    let header = blob
        .get(START..end)
        .ok_or(Damage("its header is cut off"))?;
    let digits = blob.get(end..end + DIGITS);
    if digits != Some(&header_digits(header)) {
        return Err(Damage("its header is damaged or foreign"));
    }
    let content = blob.slice(end + DIGITS..);
    match format {
        ENTRY => whole(header, content).map(|entry| Landed::Value(Box::new(entry))),
        FAILURE => {
            let told = rmp_serde::from_slice(header);
            let (code, message, until) = told.map_err(|_| Damage("its header is foreign"))?;
            Ok(Landed::Failure(code, message, until))
        }
        _ => Err(Damage("it has an unknown format")),
    }
}

/// The first digits of the header's SHA-1, as the script writes them.
fn header_digits(header: &[u8]) -> [u8; DIGITS] {
    use sha1::Digest;
    let sum = sha1::Sha1::digest(header);
    std::array::from_fn(|place| {
        let byte = sum[place / 2];
        let half = if place % 2 == 0 { byte >> 4 } else { byte & 15 };
        b"0123456789abcdef"[usize::from(half)]
    })
}

fn whole(header: &[u8], content: Bytes) -> Result<Entry, Damage> {
    let told: HeaderTold<'_> =
        rmp_serde::from_slice(header).map_err(|_| Damage("its header is foreign"))?;
    let (version, as_of, written, fresh, stale, refresh, kind, crc, size, of, cost, tags) = told;
    if content.len() != size || checksum(0, &content) != crc {
        return Err(Damage("its content is damaged"));
    }
    let content = match kind {
        0 => Content::Value(content),
        _ => Content::Negative,
    };
    let tags: Result<Arc<[Tag]>, _> = tags.into_iter().map(|tag| Tag::new(tag, "tag")).collect();
    Ok(Entry {
        content,
        content_type: of.into(),
        cost: Cost {
            calls: cost.0,
            tokens: cost.1,
            money_micros: cost.2,
        },
        version: Version(version),
        as_of: Version(as_of),
        written: Time(written),
        fresh_until: Time(fresh),
        stale_until: Time(stale),
        refresh_at: u64::try_from(refresh).map_or(Time::NEVER, Time),
        tags: tags.map_err(|_| Damage("a tag is none"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(content: &[u8]) -> Vec<u8> {
        let header = (
            7_u64,
            6_u64,
            1_u64,
            2_u64,
            3_u64,
            -1_i64,
            0_u8,
            checksum(0, content),
            content.len(),
            "text/plain",
            (1_i64, 2_i64, 3_i64),
            vec!["tag"],
        );
        let header = rmp_serde::to_vec(&header).unwrap();
        let mut blob = vec![ENTRY];
        blob.extend(u16::try_from(header.len()).unwrap().to_be_bytes());
        blob.extend(&header);
        blob.extend(header_digits(&header));
        blob.extend(content);
        blob
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = entry(&blob(b"value").into()).unwrap();
        assert_eq!(entry.content, Content::Value("value".into()));
        assert_eq!((entry.version, entry.as_of), (Version(7), Version(6)));
        assert_eq!(entry.refresh_at, Time::NEVER);
        assert_eq!(entry.tags.len(), 1);
    }

    #[test]
    fn every_damaged_bit_and_every_cut_is_noticed() {
        let whole = blob(b"some value");
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(entry(&damaged.into()).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            let cut = Bytes::from(whole[..length].to_vec());
            assert!(entry(&cut).is_err(), "cut to {length}");
        }
        assert!(entry(&Bytes::from_static(b"something foreign")).is_err());
    }

    #[test]
    fn a_checksum_goes_on_after_another() {
        assert_eq!(
            checksum(checksum(0, b"so "), b"far"),
            checksum(0, b"so far")
        );
    }
}
