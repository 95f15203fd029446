//! Dropout (Srivastava et al. 2014) whose mask is a function of the place: nothing is kept for the backward pass, and threads need
//! not agree on an order.

use super::blocks;
use crate::Tier;
use crate::tier::tiered;

/// Which numbers are dropped, and what the others are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    seed: [u32; 2],
    /// Dropped where the place's random number is below.
    bound: u32,
    scale: f32,
}

impl Dropout {
    /// Drops a `share` of all numbers, 0 to 1, other ones for each `seed`; the others are multiplied with 1 / (1 − share).
    pub fn new(share: f64, seed: u64) -> Self {
        let kept = 1.0 - share;
        Self {
            seed: [seed as u32, (seed >> 32) as u32],
            bound: (share * f64::from(u32::MAX)) as u32,
            scale: if kept > 0.0 { (1.0 / kept) as f32 } else { 0.0 },
        }
    }

    /// Multiplies each of the `values` with its place's factor.
    pub fn apply(&self, tier: Tier, values: &mut [f32]) {
        blocks(values, 1, |at, values| apply(tier, *self, at, values));
    }

    /// [`Self::apply`] to a part that begins at this place.
    pub(super) fn apply_from(&self, tier: Tier, place: usize, values: &mut [f32]) {
        apply(tier, *self, place, values);
    }

    /// Multiplies each of the `values` with its place's factor and adds `others`, as many.
    ///
    /// # Panics
    ///
    /// When there are not as many.
    pub fn apply_and_add(&self, tier: Tier, values: &mut [f32], others: &[f32]) {
        assert_eq!(values.len(), others.len(), "as many of both");
        blocks(values, 1, |at, values| {
            let others = &others[at..at + values.len()];
            apply_and_add(tier, *self, at, values, others);
        });
    }

    /// 0, or the scale. The place's random number is a hash of it: multiplications and shifts that let each bit change all
    /// (C. Wellons, Prospecting for Hash Functions, 2018: `lowbias32`), between them the seed.
    #[inline(always)]
    fn factor(self, place: usize) -> f32 {
        let mut x = place as u32 ^ self.seed[0];
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = x.wrapping_add(self.seed[1]);
        x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        if x < self.bound { 0.0 } else { self.scale }
    }
}

tiered! {
    fn apply(dropout: Dropout, at: usize, values: &mut [f32]) = apply_plain;
}

#[inline(always)]
fn apply_plain(dropout: Dropout, at: usize, values: &mut [f32]) {
    for (place, value) in values.iter_mut().enumerate() {
        *value *= dropout.factor(at + place);
    }
}

tiered! {
    fn apply_and_add(dropout: Dropout, at: usize, values: &mut [f32], others: &[f32]) = apply_and_add_plain;
}

#[inline(always)]
fn apply_and_add_plain(dropout: Dropout, at: usize, values: &mut [f32], others: &[f32]) {
    for (place, (value, other)) in values.iter_mut().zip(others).enumerate() {
        *value = *value * dropout.factor(at + place) + other;
    }
}
