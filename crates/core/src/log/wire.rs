//! Byte strings one behind the other, as headers and files of a log have them.

/// Writes a length in groups of seven bits, the lowest first. Lengths are below 2^32: bounds on batches are.
pub fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut left = length;
    loop {
        let [low, ..] = (left & 0x7f).to_le_bytes();
        left >>= 7;
        if left == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Writes a byte string behind its length.
pub fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    put_length(out, string.len());
    out.extend_from_slice(string);
}

/// Takes a length off the front, as [`put_length`] writes it; `None` where there is none.
pub fn take_length(left: &mut &[u8]) -> Option<usize> {
    let mut value = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, behind) = left.split_first()?;
        *left = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// Takes a byte string off the front, as [`put_string`] writes it; `None` where there is none.
pub fn take_string<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(left)?;
    let (string, behind) = left.split_at_checked(length)?;
    *left = behind;
    Some(string)
}
