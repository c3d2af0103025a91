//! Chance that can be had again.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): a seed is a story.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize].clone()
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    /// From milliseconds to hours, so that every phase is hit now and then.
    pub(crate) fn pause(&mut self) -> Duration {
        let longest = self.pick(&[100, 5_000, 60_000, 60_000, 900_000, 900_000, 5_000_000, 40_000_000]);
        Duration::from_millis(1 + self.roll(longest))
    }
}
