//! A hash that is the same in every version and on every machine.

/// FNV-1a (Fowler, Noll, Vo) of 64 bits. It tells accidents, not forgers.
pub(crate) fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let bytes = parts.into_iter().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
