//! From rows of numbers to whole numbers of 16 bits.

use crate::math::to_i16;
use crate::tier::tiered;

/// Numbers with a scale in common.
pub(super) const BLOCK: usize = 128;

/// Below it a number's inverse may not be one.
const SMALLEST: f32 = 1e-30;

/// Rows of whole numbers.
pub(super) struct Quantised {
    /// Pairs of 16 bits, the first in the lower half; `[rows][inputs / 2]`, rounded up.
    pairs: Vec<i32>,
    /// Pairs of a row.
    width: usize,
    /// Blocks of a row.
    pub(super) blocks: usize,
    /// `[rows][blocks]`; NaN where the numbers cannot be told.
    pub(super) scales: Vec<f32>,
    /// Which numbers stay as they are and what they are, so many of each row.
    outliers: Vec<(usize, f32)>,
    each: usize,
}

impl Quantised {
    /// Of rows of so many numbers, each times its scale, if there is one; of a row the `each` largest stay as they are.
    pub(super) fn new(
        tier: crate::Tier,
        rows: &[f32],
        inputs: usize,
        scale: &[f32],
        each: usize,
    ) -> Self {
        let count = rows.len() / inputs.max(1);
        let (width, blocks) = (inputs.div_ceil(2), inputs.div_ceil(BLOCK));
        let mut quantised = Self {
            pairs: vec![0; count * width],
            width,
            blocks,
            scales: vec![0.0; count * blocks],
            outliers: vec![(0, 0.0); count * each],
            each,
        };
        quantise(tier, rows, inputs, scale, &mut quantised);
        quantised
    }

    #[inline(always)]
    pub(super) fn outliers(&self, row: usize) -> impl Iterator<Item = (usize, f32)> {
        let outliers = &self.outliers[row * self.each..(row + 1) * self.each];
        outliers.iter().copied()
    }

    #[inline(always)]
    pub(super) fn block(&self, row: usize, block: usize) -> &[i32] {
        let row = &self.pairs[row * self.width..(row + 1) * self.width];
        &row[block * BLOCK / 2..((block + 1) * BLOCK / 2).min(self.width)]
    }
}

tiered! {
    fn quantise(rows: &[f32], inputs: usize, scale: &[f32], out: &mut Quantised) = quantise_rows;
}

#[inline(always)]
fn quantise_rows(rows: &[f32], inputs: usize, scale: &[f32], out: &mut Quantised) {
    let mut scaled = vec![0.0; inputs.next_multiple_of(2)];
    for (index, row) in rows.chunks_exact(inputs.max(1)).enumerate() {
        scaled[..inputs].copy_from_slice(row);
        for (value, scale) in scaled.iter_mut().zip(scale) {
            *value *= scale;
        }
        let scales = &mut out.scales[index * out.blocks..][..out.blocks];
        for (largest, block) in scales.iter_mut().zip(scaled.chunks(BLOCK)) {
            *largest = magnitude(block);
        }
        if scales.iter().all(|largest| largest.is_finite()) {
            let outliers = &mut out.outliers[index * out.each..][..out.each];
            for outlier in outliers {
                *outlier = take_largest(&mut scaled, scales);
            }
        }
        let pairs = &mut out.pairs[index * out.width..][..out.width];
        let blocks = scaled.chunks(BLOCK).zip(pairs.chunks_mut(BLOCK / 2));
        for (scale, (block, pairs)) in scales.iter_mut().zip(blocks) {
            let largest = *scale;
            let inverse;
            (*scale, inverse) = if !largest.is_finite() {
                (f32::NAN, 0.0)
            } else if largest < SMALLEST {
                (0.0, 0.0)
            } else {
                (largest / 32767.0, 32767.0 / largest)
            };
            let (twos, _) = block.as_chunks::<2>();
            for (pair, [first, second]) in pairs.iter_mut().zip(twos) {
                let (first, second) = (to_i16(first * inverse), to_i16(second * inverse));
                *pair = i32::from(first as u16) | i32::from(second) << 16;
            }
        }
    }
}

/// The largest size of a number, which is NaN or infinite if one of them is: floats without their sign are ordered as whole numbers.
#[inline(always)]
fn magnitude(values: &[f32]) -> f32 {
    let bits = values.iter().map(|value| value.to_bits() & !(1 << 31));
    f32::from_bits(bits.fold(0, u32::max))
}

/// Takes the number of the largest size out of a row, the first of several, and brings its block's `largest` up to date.
#[inline(always)]
fn take_largest(row: &mut [f32], largest: &mut [f32]) -> (usize, f32) {
    let (mut block, mut most) = (0, 0.0);
    for (index, largest) in largest.iter().enumerate() {
        if *largest > most {
            (block, most) = (index, *largest);
        }
    }
    let end = ((block + 1) * BLOCK).min(row.len());
    let values = &mut row[block * BLOCK..end];
    let Some(place) = values.iter().position(|value| value.abs() == most) else {
        return (0, 0.0);
    };
    let value = std::mem::take(&mut values[place]);
    largest[block] = magnitude(values);
    (block * BLOCK + place, value)
}
