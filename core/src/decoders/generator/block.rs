//! The gated residual block, of which the network is built.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Initializer};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};

use super::conv::Conv;
use super::grid::{Activation, Grid, concat_elu};
use crate::layers::dropout::mask;
use crate::layers::learn;

/// x + a · σ(b), where \[a, b\] is what two convolutions make of x, of the skip connections and of the condition.
#[derive(Module, Debug)]
pub(super) struct GatedBlock {
    pub(super) input: Conv,
    /// 1 × 1, of the layers that the block reads besides its input.
    pub(super) skip: Option<Conv>,
    pub(super) output: Conv,
    /// `[d, 2·filters]`.
    pub(super) condition: Param<Tensor<2>>,
    dropout: Dropout,
}

impl GatedBlock {
    /// `skips` layers are read besides the input.
    pub(super) fn new(
        kernel: [usize; 2],
        filters: usize,
        skips: usize,
        condition_width: usize,
        dropout: f64,
        device: &Device,
    ) -> Self {
        let limit = 1.0 / (condition_width as f64).sqrt();
        let condition = Initializer::Uniform {
            min: -limit,
            max: limit,
        };
        Self {
            input: Conv::new(kernel, 2 * filters, filters, device),
            skip: (skips > 0).then(|| Conv::new([1, 1], 2 * skips * filters, filters, device)),
            // A tenth, as in the paper's code: a block begins close to the identity.
            output: Conv::new(kernel, 2 * filters, 2 * filters, device).scaled(0.1, device),
            condition: condition.init([condition_width, 2 * filters], device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `condition` is `[B, d]`; `dropout` is what [`Self::dropout_mask`] gave.
    pub(super) fn forward(
        &self,
        x: &Activation,
        skips: &[&Activation],
        condition: &Tensor<2>,
        dropout: Option<Tensor<3>>,
        grid: &Grid,
    ) -> Activation {
        let mut y = self.input.forward(x.elu.clone(), grid); // [M, filters]
        if let Some(skip) = &self.skip {
            let skips: Vec<&Tensor<2>> = skips.iter().map(|skip| &skip.elu).collect();
            y = y + skip.forward_parts(&skips);
        }
        let mut y = concat_elu(grid.clear(y)); // [M, 2·filters]
        if let Some(dropout) = dropout {
            let [rows, width] = y.dims();
            let pictures = y.reshape([grid.batch, grid.area(), width]);
            y = (pictures * dropout).reshape([rows, width]);
        }
        let y = self.output.forward_without_bias(y, grid); // [M, 2·filters]
        let bias = self.bias(condition);
        let [rows, width] = y.dims();
        let y = (y.reshape([grid.batch, grid.area(), width]) + bias.unsqueeze_dim(1))
            .reshape([rows, width]);
        let gated = learn::gate(&y).unwrap_or_else(|| {
            let gate = sigmoid(y.clone().narrow(1, width / 2, width / 2));
            y.narrow(1, 0, width / 2) * gate
        });
        Activation::new(grid.clear(gated) + x.value.clone())
    }

    /// What the second convolution's bias and the condition add to each picture, `[B, 2·filters]`.
    pub(super) fn bias(&self, condition: &Tensor<2>) -> Tensor<2> {
        condition.clone().matmul(self.condition.val()) + self.output.bias().unsqueeze()
    }

    /// What dropout multiplies the channels of each picture with, `[B, 1, 2·filters]`: whole channels, as in the original, which
    /// takes far fewer random numbers than elements would. `None` when nothing is dropped.
    pub(super) fn dropout_mask(&self, batch: usize, device: &Device) -> Option<Tensor<3>> {
        let channels = self.output.inputs();
        mask(&self.dropout, [batch, 1, channels], device)
    }
}
