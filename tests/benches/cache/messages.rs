//! What is sent and what is answered. The echo's answers are as long as those of the daemon, which is checked.

use crate::load::Connections;
use prost::Message as _;
use prost::bytes::Bytes;
use std::fmt;
use std::ops::Range;
use trellis_proto::v1::{self, batch_set_result};
use trellis_tests::bench::Result;

/// The namespace of all entries.
pub const NAMESPACE: &str = "bench";

/// Keys that are asked for by turns.
pub const KEYS: Range<usize> = 0..1_000;

/// Keys of a batch.
pub const BATCH: usize = 100;

/// The bytes of the items of one message while the cache is filled.
const FILLED_AT_ONCE: usize = 1_000_000;

/// How long a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 100 bytes.
    Small,
    /// 6 KiB: an embedding of 1,536 numbers.
    Large,
}

impl Size {
    pub const BOTH: [Self; 2] = [Self::Small, Self::Large];

    pub fn bytes(self) -> usize {
        match self {
            Self::Small => 100,
            Self::Large => 6 * 1_024,
        }
    }

    /// The name of a key, which tells the size of its value.
    pub fn key(self, number: usize) -> String {
        match self {
            Self::Small => format!("small.{number:06}"),
            Self::Large => format!("large.{number:06}"),
        }
    }

    /// The size that a key tells.
    pub fn of(key: &str) -> Self {
        if key.starts_with("large") {
            Self::Large
        } else {
            Self::Small
        }
    }

    /// A value; not all of one byte, so that nothing could shorten it.
    pub fn value(self) -> Bytes {
        let bytes = (0..=u8::MAX).cycle().take(self.bytes());
        bytes.collect::<Vec<_>>().into()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Small => "100 B",
            Self::Large => "6 KiB",
        })
    }
}

pub fn get(key: String, read: v1::Read) -> v1::GetRequest {
    v1::GetRequest {
        namespace: NAMESPACE.into(),
        key,
        read: read.into(),
        ..Default::default()
    }
}

pub fn batch_get(keys: impl IntoIterator<Item = String>, read: v1::Read) -> v1::BatchGetRequest {
    v1::BatchGetRequest {
        namespace: NAMESPACE.into(),
        keys: keys.into_iter().collect(),
        read: read.into(),
        ..Default::default()
    }
}

/// Keeps values under keys of these numbers.
pub async fn fill(connections: &Connections, size: Size, numbers: Range<usize>) -> Result<()> {
    let value = size.value();
    let mut client = connections.client(0);
    let numbers: Vec<_> = numbers.collect();
    for numbers in numbers.chunks((FILLED_AT_ONCE / size.bytes()).min(1_000)) {
        let item = |number: &usize| v1::SetItem {
            key: size.key(*number),
            value: value.clone(),
            ..Default::default()
        };
        let request = v1::BatchSetRequest {
            namespace: NAMESPACE.into(),
            items: numbers.iter().map(item).collect(),
            fence: None,
        };
        let answer = client.batch_set(request).await?.into_inner();
        for result in answer.results {
            match result.result {
                Some(batch_set_result::Result::Response(set)) if set.stored => {}
                other => return Err(format!("a set is answered {other:?}").into()),
            }
        }
    }
    Ok(())
}

/// The value's bytes in an answer; an error for a miss or part of a value.
pub fn checked(entry: Option<&v1::Entry>, size: Size) -> Result<()> {
    let entry = entry.ok_or("a miss")?;
    if entry.value.len() == size.bytes() {
        return Ok(());
    }
    Err(format!("a value of {} bytes, not {size}", entry.value.len()).into())
}

/// An answer of the echo.
pub fn entry(value: Bytes) -> v1::Entry {
    let duration = |seconds| prost_types::Duration {
        seconds,
        nanos: 999_999_000,
    };
    v1::Entry {
        size: i64::try_from(value.len()).unwrap_or(0),
        value,
        version: 1_790_000_000_000_000,
        source: v1::Source::Local.into(),
        age: Some(duration(0)),
        ttl: Some(duration(3_599)),
        ..Default::default()
    }
}

/// The scope of the echo's answers.
pub fn scope() -> v1::Scope {
    v1::Scope {
        kind: v1::ScopeKind::Local.into(),
        ..Default::default()
    }
}

/// The encoded sizes, in words; an error when the two servers' answers differ in length by more than what
/// the digits of times make.
pub async fn compare_sizes(
    echo: &Connections,
    trellis: &Connections,
    size: Size,
) -> Result<String> {
    let request = get(size.key(0), v1::Read::Unspecified);
    let mut sizes = Vec::new();
    for side in [echo, trellis] {
        let answer = side.client(0).get(request.clone()).await?.into_inner();
        checked(answer.entry.as_ref(), size)?;
        sizes.push(answer.encoded_len());
    }
    if sizes[0].abs_diff(sizes[1]) > 6 {
        return Err(format!("the echo answers {} bytes, trellisd {}", sizes[0], sizes[1]).into());
    }
    Ok(format!(
        "encoded bytes of a hit of {size}: request {}, answer {} on the echo and {} on trellisd",
        request.encoded_len(),
        sizes[0],
        sizes[1]
    ))
}
