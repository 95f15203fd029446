//! What inference computes on a CPU: slices in, slices out, no tensors.
//!
//! Every function gives the same digits on every machine, in a browser and natively: sums are of whole numbers, or their order is
//! fixed and no product is fused with a sum. So a caption's answer depends on nothing but the model and the caption.
//!
//! Which instructions are used is a [`Tier`], chosen at run time natively. All tiers but the product of whole numbers
//! ([`linear`]) are the same Rust, compiled once for each.

mod attention;
mod convolution;
mod elementwise;
mod embedding;
mod lanes;
pub mod linear;
mod math;
mod matrix;
mod normalisation;
mod threads;
mod tier;

pub use self::attention::Attention;
pub use self::convolution::{Depthwise, Shape, Window, max_pool, patches};
pub use self::elementwise::gelu;
pub use self::embedding::Table;
pub use self::linear::{Activation, Packed, Scale};
pub use self::matrix::Floats;
pub use self::normalisation::normalise;
pub use self::tier::Tier;
