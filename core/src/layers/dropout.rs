//! Dropout.

use burn::nn::Dropout;
use burn::tensor::{Device, Distribution, Tensor};

use crate::layers::learn;

/// What `dropout` leaves of `rows`: all of them outside of training.
pub(crate) fn drop<const D: usize>(dropout: &Dropout, rows: Tensor<D>) -> Tensor<D> {
    let dropped = drawn(dropout, &rows).and_then(|drawn| learn::drop(&rows, drawn));
    dropped.unwrap_or_else(|| dropout.forward(rows))
}

/// What `dropout` multiplies a tensor of this shape with: 0, or 1 / (1 − its share). `None` when it drops nothing, as
/// outside of training. For what is computed elsewhere: the random numbers are those of one thread, whichever threads compute.
pub(crate) fn mask<const D: usize>(
    dropout: &Dropout,
    shape: [usize; D],
    device: &Device,
) -> Option<Tensor<D>> {
    drops(dropout, device).then(|| drop(dropout, Tensor::ones(shape, device)))
}

/// The same for operations of ours. `None` where they do not learn, or nothing is dropped.
pub(crate) fn drawn<const D: usize>(dropout: &Dropout, rows: &Tensor<D>) -> Option<learn::Dropout> {
    let device = rows.device();
    if !drops(dropout, &device) || !learn::learns(rows) {
        return None;
    }
    let bits = Distribution::Uniform(0.0, f64::from(1 << 24));
    let bits = Tensor::<1>::random([3], bits, &device).into_data();
    let seed = (bits.iter::<f64>()).fold(0, |seed: u64, bits| (seed << 21) ^ bits as u64);
    Some(learn::Dropout::new(dropout.prob, seed))
}

fn drops(dropout: &Dropout, device: &Device) -> bool {
    dropout.training.is_enabled() && device.is_autodiff() && dropout.prob > 0.0
}
