//! [`Payload`]: what a worker gets.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use trellis_proto::v1 as proto;
use trellis_proto::v1::job_payload::Content;

/// What a worker gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// It: at most 1 MiB.
    Data(Bytes),
    /// Where it is, for example a cache key or a URL. The daemon does not look at it.
    Reference(String),
}

impl Payload {
    pub(super) fn read(payload: Option<proto::JobPayload>) -> Self {
        match payload.and_then(|payload| payload.content) {
            Some(Content::Data(data)) => Self::Data(data),
            Some(Content::Reference(reference)) => Self::Reference(reference),
            None => Self::Data(Bytes::new()),
        }
    }

    /// The value that it is in JSON; a reference is a string.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match self {
            Self::Data(data) => decode(data),
            Self::Reference(reference) => T::deserialize(serde::de::value::StrDeserializer::<
                serde_json::Error,
            >::new(reference)),
        }
    }
}

impl From<Payload> for proto::JobPayload {
    fn from(payload: Payload) -> Self {
        let content = match payload {
            Payload::Data(data) => Content::Data(data),
            Payload::Reference(reference) => Content::Reference(reference),
        };
        Self {
            content: Some(content),
        }
    }
}

/// Reads JSON; no bytes at all are `null`, for those who have nothing to say.
pub(super) fn decode<T: DeserializeOwned>(data: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(if data.is_empty() { b"null" } else { data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_null_and_a_reference_is_a_string() {
        assert_eq!(decode::<Option<u8>>(b"").unwrap(), None);
        decode::<()>(b"").unwrap();
        let payload = Payload::Reference("pages/7".to_owned());
        assert_eq!(payload.json::<String>().unwrap(), "pages/7");
        assert!(payload.json::<u8>().is_err());
        let wire = proto::JobPayload::from(payload.clone());
        assert_eq!(Payload::read(Some(wire)), payload);
        assert_eq!(Payload::read(None), Payload::Data(Bytes::new()));
    }
}
