//! How probabilities are written in JSON.

use serde::{Serialize, Serializer};

/// Six decimals: an f32 holds no more, and its nearest f64 prints as a string of noise.
fn rounded(share: f32) -> f64 {
    (f64::from(share) * 1e6).round() / 1e6
}

pub(super) fn probability<S: Serializer>(share: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    rounded(*share).serialize(serializer)
}

/// An object, in the classes' order.
pub(super) fn by_class<S: Serializer>(
    shares: &[(String, f32)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(shares.iter().map(|(class, share)| (class, rounded(*share))))
}
