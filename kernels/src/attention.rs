//! Scaled dot-product self-attention of all heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2).

use crate::Tier;
use crate::math::{exp, largest, sum};
use crate::matrix::multiply;
use crate::threads::map;
use crate::tier::tiered;

/// Queries that go together.
const ROWS: usize = 4;
/// Numbers that go together.
const LANES: usize = 8;

/// What is attended with: samples of N rows of width d each, row-major; a head has d / heads columns.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// `[samples, N, d]`
    pub query: &'a [f32],
    /// `[samples, N, d]`
    pub key: &'a [f32],
    /// `[samples, N, d]`
    pub value: &'a [f32],
    /// Added to the scores of each key, `[samples, N]`.
    pub key_bias: Option<&'a [f32]>,
    /// N
    pub rows: usize,
    /// d
    pub width: usize,
    /// How many.
    pub heads: usize,
}

impl Attention<'_> {
    /// The attended rows `[samples, N, d]`, and what each sample's first row pays to each, on average over the heads, `[samples, N]`.
    ///
    /// # Panics
    ///
    /// When the lengths do not fit each other, or the heads do not divide the width.
    pub fn attend(&self, tier: Tier) -> (Vec<f32>, Vec<f32>) {
        let Self {
            rows, width, heads, ..
        } = *self;
        assert!(
            heads > 0 && width.is_multiple_of(heads),
            "the heads divide the width"
        );
        let samples = self.query.len() / (rows * width).max(1);
        for part in [self.query, self.key, self.value] {
            assert_eq!(part.len(), samples * rows * width, "as many rows of each");
        }
        assert!(
            self.key_bias
                .is_none_or(|bias| bias.len() == samples * rows),
            "a bias for each key"
        );
        let size = width / heads;
        let parts = map(samples * heads, 2 * rows * rows * size, |part| {
            let (mut out, mut first) = (vec![0.0; rows * size], vec![0.0; rows]);
            attend(tier, self, part / heads, part % heads, &mut out, &mut first);
            (out, first)
        });
        let mut attended = vec![0.0; samples * rows * width];
        let mut paid = vec![0.0; samples * rows];
        for (part, (out, first)) in parts.iter().enumerate() {
            let (sample, head) = (part / heads, part % heads);
            let to = attended[sample * rows * width..].chunks_exact_mut(width);
            for (to, from) in to.zip(out.chunks_exact(size)) {
                to[head * size..][..size].copy_from_slice(from);
            }
            for (paid, first) in paid[sample * rows..].iter_mut().zip(first) {
                *paid += first;
            }
        }
        for paid in &mut paid {
            *paid /= heads as f32;
        }
        (attended, paid)
    }
}

tiered! {
    fn attend(attention: &Attention, sample: usize, head: usize, out: &mut [f32], first: &mut [f32]) = attend_plain;
}

/// One head of one sample.
#[inline(always)]
fn attend_plain(
    attention: &Attention,
    sample: usize,
    head: usize,
    out: &mut [f32],
    first: &mut [f32],
) {
    let (count, width) = (attention.rows, attention.width);
    let size = width / attention.heads;
    let (keys, columns) = (count.next_multiple_of(LANES), size.next_multiple_of(LANES));
    let scale = 1.0 / (size as f32).sqrt();
    let mut query = vec![0.0; count.next_multiple_of(ROWS) * size];
    let mut key = vec![0.0; size * keys]; // transposed
    let mut value = vec![0.0; count * columns];
    let mut weights = vec![0.0; ROWS * keys];
    let mut bias = vec![0.0; keys];
    if let Some(given) = attention.key_bias {
        bias[..count].copy_from_slice(&given[sample * count..][..count]);
    }
    for row in 0..count {
        let at = (sample * count + row) * width + head * size;
        for column in 0..size {
            query[row * size + column] = attention.query[at + column] * scale;
            key[column * keys + row] = attention.key[at + column];
        }
        value[row * columns..][..size].copy_from_slice(&attention.value[at..at + size]);
    }
    for (tile, query) in query.chunks_exact(ROWS * size).enumerate() {
        let query: [&[f32]; ROWS] = std::array::from_fn(|r| &query[r * size..(r + 1) * size]);
        for at in (0..keys).step_by(LANES) {
            let mut sums = [[0.0; LANES]; ROWS];
            multiply(query, &key[at..], keys, &mut sums);
            for (r, sums) in sums.iter().enumerate() {
                for lane in 0..LANES {
                    weights[r * keys + at + lane] = sums[lane] + bias[at + lane];
                }
            }
        }
        for weights in weights.chunks_exact_mut(keys) {
            softmax(&mut weights[..count]);
        }
        if tile == 0 {
            first.copy_from_slice(&weights[..count]);
        }
        let weights: [&[f32]; ROWS] = std::array::from_fn(|r| &weights[r * keys..][..count]);
        for at in (0..columns).step_by(LANES) {
            let mut sums = [[0.0; LANES]; ROWS];
            multiply(weights, &value[at..], columns, &mut sums);
            let rows = out[tile * ROWS * size..].chunks_exact_mut(size);
            for (sums, row) in sums.iter().zip(rows) {
                let there = LANES.min(size - at);
                row[at..at + there].copy_from_slice(&sums[..there]);
            }
        }
    }
}

/// eˣ of each, divided by their sum.
#[inline(always)]
pub(crate) fn softmax(scores: &mut [f32]) {
    let most = largest(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - most);
    }
    let whole = sum(scores, |x| x);
    for score in scores {
        *score /= whole;
    }
}
