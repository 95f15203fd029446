//! Functions of each number.

use crate::math;
use crate::tier::tiered;

tiered! {
    /// GELU(x) = x·Φ(x) of each number.
    pub fn gelu(values: &mut [f32]) = gelu_plain;
}

#[inline(always)]
fn gelu_plain(values: &mut [f32]) {
    for value in values {
        *value = math::gelu(*value);
    }
}
