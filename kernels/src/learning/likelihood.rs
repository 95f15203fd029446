//! The cross-entropy of rows of scores.

use super::blocks;
use crate::Tier;
use crate::math::{exp, largest, sum};
use crate::tier::tiered;

/// Gives the cross-entropy of each row of `width` scores against its target, in nats, and turns the scores into its gradient: their
/// softmax, less 1 at the target.
///
/// # Panics
///
/// When there is not one target for each row, or one is not below `width`.
pub fn cross_entropy(tier: Tier, scores: &mut [f32], width: usize, targets: &[usize]) -> Vec<f32> {
    assert_eq!(scores.len(), targets.len() * width, "a target for each row");
    assert!(
        targets.iter().all(|&target| target < width),
        "a score for each target"
    );
    let parts = blocks(scores, width, |at, rows| {
        let targets = &targets[at / width..][..rows.len() / width];
        let mut nats = vec![0.0; targets.len()];
        cross_entropy_of(tier, rows, width, targets, &mut nats);
        nats
    });
    parts.concat()
}

tiered! {
    fn cross_entropy_of(scores: &mut [f32], width: usize, targets: &[usize], nats: &mut [f32]) = cross_entropy_plain;
}

#[inline(always)]
fn cross_entropy_plain(scores: &mut [f32], width: usize, targets: &[usize], nats: &mut [f32]) {
    for ((row, &target), nats) in scores.chunks_exact_mut(width).zip(targets).zip(nats) {
        let most = largest(row);
        let own = row[target] - most;
        for score in row.iter_mut() {
            *score = exp(*score - most);
        }
        let whole = sum(row, |x| x);
        *nats = whole.ln() - own;
        let share = 1.0 / whole;
        for score in row.iter_mut() {
            *score *= share;
        }
        row[target] -= 1.0;
    }
}
