//! What a CPU computes: slices in, slices out, no tensors.
//!
//! Every function of inference gives the same digits on every machine, in a browser and natively: sums are of whole numbers, or their
//! order is fixed and no product is fused with a sum. So a caption's answer depends on nothing but the model and the caption. Training
//! (`learning`, with the feature `learn`) multiplies matrices by the `gemm` crate, whose digits depend on the machine, but not on the
//! number of threads.
//!
//! Which instructions are used is a [`Tier`], chosen at run time natively. Only the product of whole numbers ([`linear`]) is written
//! for each; all else is the same Rust, compiled for the plain tier and for AVX2.

mod attention;
mod convolution;
mod embedding;
mod lanes;
#[cfg(feature = "learn")]
pub mod learning;
pub mod linear;
mod math;
mod matrix;
mod normalisation;
mod threads;
mod tier;

pub use self::attention::Attention;
pub use self::convolution::{Depthwise, Shape, Window, max_pool, patches};
pub use self::embedding::Table;
pub use self::linear::{Activation, Packed, Scale};
pub use self::matrix::Floats;
pub use self::normalisation::normalise;
pub use self::threads::awake;
pub use self::tier::Tier;
