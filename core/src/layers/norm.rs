//! Layer normalisation.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Tensor};

use crate::layers::{cpu, gpu, learn};

/// Layer normalisation (Ba et al. 2016, arXiv:1607.06450) of rows of width d.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Without scale and shift at first.
    pub(crate) fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            gamma: Initializer::Ones.init([width], device),
            beta: Initializer::Zeros.init([width], device),
            epsilon,
        }
    }

    /// `[.., d]` to `[.., d]`.
    pub(crate) fn forward<const D: usize>(&self, rows: Tensor<D>) -> Tensor<D> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        cpu::normalise(&rows, &gamma, &beta, self.epsilon)
            .or_else(|| learn::normalise(&rows, &gamma, &beta, self.epsilon))
            .or_else(|| gpu::normalise(&rows, &gamma, &beta, self.epsilon))
            .unwrap_or_else(|| layer_norm(rows, gamma, Some(beta), self.epsilon))
    }
}
