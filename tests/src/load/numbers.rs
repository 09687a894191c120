//! Random numbers from a seed: SplitMix64, as Steele, Lea and Flood describe it.

use std::ops::RangeInclusive;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// A stream of its own for somebody else.
    pub fn fork(&mut self) -> Numbers {
        Numbers(self.next())
    }

    /// A number within bounds.
    pub fn within(&mut self, bounds: RangeInclusive<i64>) -> i64 {
        let count = bounds.end().abs_diff(*bounds.start()) + 1;
        bounds.start() + (self.next() % count) as i64
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: i64) -> bool {
        self.within(1..=100) <= percent
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
