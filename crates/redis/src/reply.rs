//! What a script answers with.

use bytes::Bytes;
use fred::types::Resp3Frame;

/// An answer of Redis, errors apart. What scripts cannot return is flattened into these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nil,
    /// An integer.
    Int(i64),
    /// Bytes or text.
    Bytes(Bytes),
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// The list's items; an empty slice when this is no list.
    #[must_use]
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The text, when this is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, when this is one that is not negative, as an integer or as decimal text.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            other => other.text()?.parse().ok(),
        }
    }

    /// The reply of a frame; `Err` holds the text of an error frame.
    pub(crate) fn from_frame(frame: Resp3Frame) -> Result<Self, String> {
        Ok(match frame {
            Resp3Frame::SimpleError { data, .. } => return Err(data.to_string()),
            Resp3Frame::BlobError { data, .. } => {
                return Err(String::from_utf8_lossy(&data).into_owned());
            }
            Resp3Frame::Number { data, .. } => Self::Int(data),
            Resp3Frame::Boolean { data, .. } => Self::Int(data.into()),
            Resp3Frame::BlobString { data, .. }
            | Resp3Frame::SimpleString { data, .. }
            | Resp3Frame::VerbatimString { data, .. }
            | Resp3Frame::BigNumber { data, .. } => Self::Bytes(data),
            Resp3Frame::Double { data, .. } => Self::Bytes(data.to_string().into()),
            Resp3Frame::Array { data, .. } | Resp3Frame::Push { data, .. } => Self::list(data),
            Resp3Frame::Set { data, .. } => Self::list(data),
            Resp3Frame::Map { data, .. } => {
                Self::list(data.into_iter().flat_map(|(key, value)| [key, value]))
            }
            _ => Self::Nil,
        })
    }

    fn list(frames: impl IntoIterator<Item = Resp3Frame>) -> Self {
        let items = frames.into_iter();
        // An error inside a list cannot come from our scripts; it is kept as its text.
        Self::List(
            items
                .map(|frame| {
                    Self::from_frame(frame).unwrap_or_else(|text| Self::Bytes(text.into()))
                })
                .collect(),
        )
    }
}
