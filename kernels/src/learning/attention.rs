//! Scaled dot-product self-attention of all heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2), with its gradient.

use gemm::Parallelism;

use super::dropout::Dropout;
use super::product::{Matrix, multiply};
use super::softmax;
use crate::Tier;
use crate::threads::each;

/// Samples of N rows of width d each, row-major; a head has d / heads columns.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// N
    pub rows: usize,
    /// d
    pub width: usize,
    /// How many; they divide the width.
    pub heads: usize,
    /// Of the weights.
    pub dropout: Option<Dropout>,
}

/// The weights of all heads, `[samples, heads, N, N]`: query by key.
#[derive(Debug)]
pub struct Paid {
    weights: Vec<f32>,
    /// After dropout, where there is any.
    dropped: Option<Vec<f32>>,
}

/// What attention gives.
#[derive(Debug)]
pub struct Attended {
    /// The attended rows `[samples, N, d]`.
    pub rows: Vec<f32>,
    /// What each sample's first row pays to each before dropout, on average over the heads, `[samples, N]`.
    pub first: Vec<f32>,
    /// What the gradient needs.
    pub paid: Paid,
}

impl Attention {
    fn scale(&self) -> f32 {
        1.0 / ((self.width / self.heads) as f32).sqrt()
    }

    /// A head's columns of a sample.
    fn head<'a>(&self, sample: &'a [f32], head: usize) -> Matrix<'a> {
        let size = self.width / self.heads;
        Matrix::of(&sample[head * size..], [self.rows, size], self.width)
    }

    /// Attends to `key` and `value` by `query`, `[samples, N, d]` each; the `bias` `[samples, N]` is added to the scores of the keys.
    ///
    /// # Panics
    ///
    /// When the sizes do not fit each other.
    pub fn forward(
        &self,
        tier: Tier,
        [query, key, value]: [&[f32]; 3],
        bias: Option<&[f32]>,
    ) -> Attended {
        let Self {
            rows, width, heads, ..
        } = *self;
        assert!(heads > 0 && width.is_multiple_of(heads) && rows > 0 && width > 0);
        let samples = query.len() / (rows * width);
        for part in [query, key, value] {
            assert_eq!(part.len(), samples * rows * width, "as many rows of each");
        }
        assert!(bias.is_none_or(|bias| bias.len() == samples * rows));
        let (whole, paid) = (rows * width, heads * rows * rows);
        let mut attended = vec![0.0; samples * whole];
        let mut first = vec![0.0; samples * rows];
        let mut weights = vec![0.0; samples * paid];
        let mut dropped = self.dropout.map(|_| vec![0.0; samples * paid]);
        let left: Vec<_> = match &mut dropped {
            Some(dropped) => dropped.chunks_mut(paid).map(Some).collect(),
            None => (0..samples).map(|_| None).collect(),
        };
        let parts = (attended.chunks_mut(whole).zip(first.chunks_mut(rows)))
            .zip(weights.chunks_mut(paid).zip(left))
            .enumerate();
        each(
            parts.collect(),
            |(sample, ((attended, first), (weights, dropped)))| {
                let own = sample * whole..(sample + 1) * whole;
                let [query, key, value] = [query, key, value].map(|all| &all[own.clone()]);
                for (head, weights) in weights.chunks_mut(rows * rows).enumerate() {
                    let key = self.head(key, head).transposed();
                    let query = self.head(query, head);
                    multiply(query, key, weights, rows, false, Parallelism::None);
                }
                let bias = bias.map(|bias| &bias[sample * rows..(sample + 1) * rows]);
                softmax::forward(tier, weights, rows, self.scale(), bias);
                for weights in weights.chunks(rows * rows) {
                    for (first, weight) in first.iter_mut().zip(weights) {
                        *first += weight / heads as f32;
                    }
                }
                let weights = match (self.dropout, dropped) {
                    (Some(dropout), Some(dropped)) => {
                        dropped.copy_from_slice(weights);
                        dropout.apply_from(tier, sample * paid, dropped);
                        dropped
                    }
                    _ => weights,
                };
                let size = width / heads;
                for (head, weights) in weights.chunks(rows * rows).enumerate() {
                    let out = &mut attended[head * size..];
                    let weights = Matrix::new(weights, rows);
                    multiply(
                        weights,
                        self.head(value, head),
                        out,
                        width,
                        false,
                        Parallelism::None,
                    );
                }
            },
        );
        let paid = Paid { weights, dropped };
        Attended {
            rows: attended,
            first,
            paid,
        }
    }

    /// The gradients of query, key and value, from that of the attended rows.
    ///
    /// # Panics
    ///
    /// When these are not those of [`Self::forward`].
    pub fn backward(
        &self,
        tier: Tier,
        gradient: &[f32],
        [query, key, value]: [&[f32]; 3],
        paid: &Paid,
    ) -> [Vec<f32>; 3] {
        let Self {
            rows, width, heads, ..
        } = *self;
        let (whole, size) = (rows * width, width / heads);
        let square = rows * rows;
        for part in [query, key, value] {
            assert_eq!(part.len(), gradient.len(), "as many rows of each");
        }
        assert_eq!(paid.weights.len() * width, gradient.len() * heads * rows);
        let mut gradients = [(); 3].map(|()| vec![0.0; gradient.len()]);
        let [of_query, of_key, of_value] = &mut gradients;
        let parts = (of_query.chunks_mut(whole).zip(of_key.chunks_mut(whole)))
            .zip(of_value.chunks_mut(whole))
            .enumerate();
        each(
            parts.collect(),
            |(sample, ((of_query, of_key), of_value))| {
                let own = sample * whole..(sample + 1) * whole;
                let [query, key, value, gradient] =
                    [query, key, value, gradient].map(|all| &all[own.clone()]);
                let mut scores = vec![0.0; square];
                for head in 0..heads {
                    let start = (sample * heads + head) * square;
                    let weights = &paid.weights[start..start + square];
                    let dropped = match &paid.dropped {
                        Some(dropped) => &dropped[start..start + square],
                        None => weights,
                    };
                    let write = |left, right, out: &mut [f32], stride| {
                        multiply(left, right, out, stride, false, Parallelism::None);
                    };
                    let gradient = self.head(gradient, head);
                    let attended = Matrix::new(dropped, rows);
                    write(
                        attended.transposed(),
                        gradient,
                        &mut of_value[head * size..],
                        width,
                    );
                    write(
                        gradient,
                        self.head(value, head).transposed(),
                        &mut scores,
                        rows,
                    );
                    softmax::backward(tier, &mut scores, weights, dropped, rows, self.scale());
                    let scores = Matrix::new(&scores, rows);
                    write(
                        scores,
                        self.head(key, head),
                        &mut of_query[head * size..],
                        width,
                    );
                    let query = self.head(query, head);
                    write(
                        scores.transposed(),
                        query,
                        &mut of_key[head * size..],
                        width,
                    );
                }
            },
        );
        gradients
    }
}
