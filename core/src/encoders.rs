//! The encoders: a caption's word pieces and a picture's regions, as rows of the model's width.

pub mod image;
pub mod text;

use burn::tensor::Tensor;

/// What the encoders give.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// T_e `[B, N, d]`.
    pub text: Tensor<3>,
    /// I_e `[B, 64, d]`, or `[B, 1, d]` when no sample has a picture.
    pub image: Tensor<3>,
}
