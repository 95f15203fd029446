//! A linear layer, and what follows it.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::{Dropout, Initializer, LinearConfig};
use burn::tensor::activation::{gelu, relu};
use burn::tensor::{Device, Tensor};
use muse_kernels::{Activation, Floats};

use crate::layers::{cpu, dropout, gpu, learn};
use crate::load::{Packing, Weights};

/// A linear layer: rows times weights, plus a bias.
///
/// Its weights are the parameters, or, where a model of 8 bits is only asked, these 8 bits. On a GPU the product is a kernel of
/// ours: without tuning at run time, which a page has no time for, burn takes one whose tiles were made for many rows, which
/// took 93 % of a caption's time.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>, // [in, out]
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// In the place of the parameters, which are then never made.
    #[module(skip)]
    packed: Option<Arc<Packed>>,
}

/// The weights of a layer that is only asked.
#[derive(Debug)]
pub(crate) enum Packed {
    /// Of 8 bits.
    Whole(muse_kernels::Packed),
    /// Floats, where they are so few that they are no 8 bits in any file.
    Floats(Floats),
}

impl Packed {
    /// Width of the product.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Whole(packed) => packed.outputs(),
            Self::Floats(packed) => packed.outputs(),
        }
    }
}

impl Linear {
    /// A layer from width `input` to `output`, randomly initialised.
    pub(crate) fn new(input: usize, output: usize, device: &Device) -> Self {
        Self::of(&LinearConfig::new(input, output), device)
    }

    fn of(config: &LinearConfig, device: &Device) -> Self {
        let layer = config.init(device);
        Self {
            weight: layer.weight,
            bias: layer.bias,
            packed: None,
        }
    }

    /// A layer with these weights, `[in, out]` and `[out]`.
    pub(crate) fn with(weight: Tensor<2>, bias: Tensor<1>) -> Self {
        Self {
            weight: Param::from_tensor(weight),
            bias: Some(Param::from_tensor(bias)),
            packed: None,
        }
    }

    /// A layer of the same sizes whose output is 0 until it is trained.
    ///
    /// A residual branch that begins so leaves its input as it is: layers that are new do not garble what a pretrained encoder
    /// says before they have learned something (compare Zhang et al. 2019, arXiv:1901.09321).
    pub(crate) fn zero_init(&self, device: &Device) -> Self {
        let [input, output] = self.shape();
        let config = LinearConfig::new(input, output);
        Self::of(&config.with_initializer(Initializer::Zeros), device)
    }

    /// Widths of the rows that it takes and gives.
    pub(crate) fn shape(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }

    /// The same layer whose outputs from the `first` on are 0 until they are trained.
    pub(crate) fn zero_init_from(mut self, first: usize, device: &Device) -> Self {
        let [input, output] = self.weight.lazy_shape().dims();
        let zeros = Tensor::zeros([input, output - first], device);
        let own = self.weight.val().narrow(1, 0, first);
        self.weight = Param::from_tensor(Tensor::cat(vec![own, zeros], 1));
        self.bias = self.bias.map(|bias| {
            let zeros = Tensor::zeros([output - first], device);
            Param::from_tensor(Tensor::cat(vec![bias.val().narrow(0, 0, first), zeros], 0))
        });
        self
    }

    /// Takes its weights from a model file, if they are of 8 bits there.
    pub(crate) fn pack(&mut self, path: &str, weights: &mut Packing) {
        let shape = self.shape();
        let bias = format!("{path}.bias");
        if self.bias.is_some() && !weights.has(&bias, &shape[1..]) {
            return;
        }
        let Some(weight) = weights.take_small(&format!("{path}.weight"), &shape) else {
            return;
        };
        let bias = self.bias.is_some().then(|| weights.floats(&bias));
        self.packed = Some(Arc::new(match weight {
            Weights::Whole(whole) => Packed::Whole(whole.packed(bias.as_deref())),
            Weights::Floats(floats) => {
                let weight = |input: usize, output: usize| floats.data[input * shape[1] + output];
                Packed::Floats(Floats::new(shape, weight, bias.as_deref()))
            }
        }));
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, rows: Tensor<D>) -> Tensor<D> {
        self.activated(rows, Activation::None)
    }

    /// The `activation` of [`Self::forward`].
    pub(crate) fn activated<const D: usize>(
        &self,
        rows: Tensor<D>,
        activation: Activation,
    ) -> Tensor<D> {
        if let Some(product) = self.fused(&rows, activation, None) {
            return product;
        }
        let product = self.product(rows);
        if let Some(activated) = learn::activate(&product, activation) {
            return activated;
        }
        match activation {
            Activation::None => product,
            Activation::Gelu => gelu(product),
            Activation::Relu => relu(product),
            Activation::Relu6 => product.clamp(0.0, 6.0),
        }
    }

    /// [`Self::forward`] added to a `residual` `[.., out]`, in training after dropout.
    pub(crate) fn added<const D: usize>(
        &self,
        rows: Tensor<D>,
        dropout: &Dropout,
        residual: Tensor<D>,
    ) -> Tensor<D> {
        let fused = self.fused(&rows, Activation::None, Some(&residual));
        if let Some(fused) = fused {
            return fused;
        }
        let product = self.product(rows);
        let drawn = dropout::drawn(dropout, &product);
        drawn
            .and_then(|drawn| learn::drop_and_add(&product, drawn, &residual))
            .unwrap_or_else(|| residual + dropout.forward(product))
    }

    /// By a kernel of ours, where there is one.
    fn fused<const D: usize>(
        &self,
        rows: &Tensor<D>,
        activation: Activation,
        residual: Option<&Tensor<D>>,
    ) -> Option<Tensor<D>> {
        if let Some(packed) = &self.packed {
            return Some(cpu::product(packed, rows, activation, residual));
        }
        let parameters = || Some((self.weight.val(), self.bias.as_ref()?.val()));
        gpu::product(rows, self.shape(), parameters, activation, residual)
    }

    fn product<const D: usize>(&self, rows: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        if let Some(product) =
            (bias.as_ref()).and_then(|bias| learn::product(&rows, &self.weight.val(), bias))
        {
            return product;
        }
        burn::tensor::module::linear(rows, self.weight.val(), bias)
    }
}
