//! Numbers that a seed determines (xorshift64*).

use std::ops::Range;

/// A sequence of its own.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence `number` of a seed.
    pub fn new(seed: u64, number: u64) -> Self {
        let mixed = (seed ^ number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Self(mixed | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One of the range.
    pub fn of(&mut self, range: Range<u64>) -> u64 {
        range.start + (self.next() >> 11) % (range.end - range.start)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, share: u64) -> bool {
        self.of(0..100) < share
    }

    /// In another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let place = self.of(0..last as u64 + 1);
            items.swap(last, usize::try_from(place).unwrap_or(last));
        }
    }
}
