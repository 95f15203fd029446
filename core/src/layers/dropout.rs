//! Dropout that is drawn before it is needed: the random numbers are those of one thread, whichever threads compute.

use burn::nn::Dropout;
use burn::tensor::{Device, Tensor};

/// What `dropout` multiplies a tensor of this shape with: 0, or 1 / (1 − its share). `None` when it drops nothing, as
/// outside of training.
pub(crate) fn mask<const D: usize>(
    dropout: &Dropout,
    shape: [usize; D],
    device: &Device,
) -> Option<Tensor<D>> {
    let drops = dropout.training.is_enabled() && device.is_autodiff() && dropout.prob > 0.0;
    drops.then(|| dropout.forward(Tensor::ones(shape, device)))
}
