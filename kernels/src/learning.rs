//! What training makes of rows beside products of matrices, forward and backward.
//!
//! All passes are in place. Rows go in blocks of a fixed size, shared among threads: sums over rows add up the blocks in order, so
//! that no digit depends on the number of threads.

mod activation;
mod attention;
mod dropout;
mod gates;
mod likelihood;
mod normalisation;
mod optimiser;
mod product;
mod softmax;

pub use self::activation::{gelu, gelu_backward, relu, relu_backward, sum_rows};
pub use self::attention::{Attended, Attention, Paid};
pub use self::dropout::Dropout;
pub use self::gates::{concat_elu, concat_elu_backward, gate, gate_backward};
pub use self::likelihood::cross_entropy;
pub use self::normalisation::{Normalised, normalise, normalise_backward};
pub use self::optimiser::{AdamW, scale, sum_squares};
pub use self::product::{Convolution, Matrix, linear, product};

use rayon::prelude::*;

/// Numbers of a block, or few more.
const BLOCK: usize = 1 << 14;

/// Has `work` go through `rows` of `width` numbers by blocks, each with the place of its first number; what it gives for each, in
/// order.
fn blocks<T: Send>(
    rows: &mut [f32],
    width: usize,
    work: impl Fn(usize, &mut [f32]) -> T + Sync,
) -> Vec<T> {
    let block = block(width);
    if rayon::current_num_threads() > 1 && rows.len() > 2 * block {
        let blocks = rows.par_chunks_mut(block).enumerate();
        return blocks
            .map(|(index, rows)| work(index * block, rows))
            .collect();
    }
    let blocks = rows.chunks_mut(block).enumerate();
    blocks
        .map(|(index, rows)| work(index * block, rows))
        .collect()
}

/// Numbers of a block of whole rows of `width`.
fn block(width: usize) -> usize {
    BLOCK.next_multiple_of(width.max(1))
}

/// The sum of vectors of the same length, of none a vector of zeros.
fn sum(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for part in parts {
        for (sum, value) in sum.iter_mut().zip(part) {
            *sum += value;
        }
    }
    sum
}
