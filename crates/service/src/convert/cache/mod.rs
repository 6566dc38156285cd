//! The cache's requests and answers between the contract and the port.

mod answers;
mod requests;

pub(crate) use answers::{
    answer_bytes, deleted, end, entry, failure, hit_parts, lease, near, number, stats, written,
};
pub(crate) use requests::{
    clear, ended_by, entry_key, entry_key_at, fence, fill, get_options, lease_id, offset, options,
    part, set_item, version_is, wait,
};

/// The most of a value that one message carries.
pub(crate) const PART_BYTES: usize = 1024 * 1024;
