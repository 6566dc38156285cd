//! The body of a batch: its records one after the other, each as key, number of headers, the headers as the port writes them,
//! value; every byte string behind its length.

use super::wire::SharedWire;
use bytes::Bytes;
use trellis_core::log::Record;
use trellis_core::log::wire::{put_length, put_string};

/// Bytes that no writer of this format has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the contents do not follow the format")]
pub(in crate::log::disk) struct Malformed;

/// The body of a batch of these records.
pub(in crate::log::disk) fn encode_records(records: &[Record]) -> Vec<u8> {
    let size = records.iter().map(Record::bytes).sum();
    let mut out = Vec::with_capacity(size);
    for record in records {
        put_string(&mut out, &record.key);
        put_length(&mut out, record.headers.len());
        out.extend_from_slice(record.headers.written());
        put_string(&mut out, &record.value);
    }
    out
}

/// The records of a body, which must hold so many and nothing else. They share its bytes.
pub(in crate::log::disk) fn decode_records(
    body: Bytes,
    count: u32,
) -> Result<Vec<Record>, Malformed> {
    let mut wire = SharedWire::new(body);
    // A record takes at least three bytes, so memory is bounded by what is there.
    let most = wire.left() / 3;
    let count = usize::try_from(count).map_err(|_| Malformed)?;
    if count > most {
        return Err(Malformed);
    }
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let key = wire.string()?;
        let headers = wire.headers()?;
        let value = wire.string()?;
        records.push(Record {
            key,
            headers,
            value,
        });
    }
    if wire.left() > 0 {
        return Err(Malformed);
    }
    Ok(records)
}
