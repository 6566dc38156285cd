//! Numbers that depend on a seed and on nothing else: the same on every machine, for good, which no
//! library promises over its versions.

/// The next number of the `SplitMix64` sequence whose state is `state`.
fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seeded source of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The source of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An evenly drawn number below `bound`, which is at least 1. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(step(&mut self.0)) * u128::from(bound.max(1));
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// An evenly drawn number in `0..1`.
    pub fn unit(&mut self) -> f64 {
        let bits = u32::try_from(self.below(1 << 32)).unwrap_or_default();
        f64::from(bits) / 4_294_967_296.0
    }

    /// A normally drawn number: mean 0, deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or_default();
            items.swap(last, other);
        }
    }
}

/// FNV-1a: a number for some bytes, the same everywhere. Not against people who want collisions.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_numbers_for_good() {
        // The sequence that is published for this seed.
        let mut state = 1_234_567;
        assert_eq!(step(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(step(&mut state), 3_203_168_211_198_807_973);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        let mut random = Random::new(1);
        let drawn: Vec<_> = (0..4).map(|_| random.below(1000)).collect();
        assert_eq!(drawn, [566, 745, 971, 444]);
    }

    #[test]
    fn draws_are_even_and_normal() {
        let mut random = Random::new(7);
        let units: f64 = (0..10_000).map(|_| random.unit()).sum();
        assert!((units / 10_000.0 - 0.5).abs() < 0.02);
        let normals: Vec<f64> = (0..10_000).map(|_| random.normal()).collect();
        let mean = normals.iter().sum::<f64>() / 10_000.0;
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }
}
