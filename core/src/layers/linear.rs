//! A linear layer, and what follows it.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::{Dropout, Initializer, LinearConfig};
use burn::tensor::activation::{gelu, relu};
use burn::tensor::{Device, Tensor};
use muse_kernels::{Activation, Floats};

use crate::layers::{cpu, dropout, learn};
use crate::load::{Packing, Weights};

/// A linear layer: rows times weights, plus a bias.
///
/// Its weights are the parameters, or, where a model of 8 bits is only asked, these 8 bits. In a browser's GPU the product is a
/// kernel of ours: without tuning at run time, which a page has no time for, burn takes one whose tiles were made for many rows,
/// which took 93 % of a caption's time.
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

    /// A layer of the same sizes whose output is 0 until it is trained.
    ///
    /// A residual branch that begins so leaves its input as it is: layers that are new do not garble what a pretrained encoder
    /// says before they have learned something (compare Zhang et al. 2019, arXiv:1901.09321).
    pub(crate) fn zero_init(&self, device: &Device) -> Self {
        let [input, output] = self.weight.lazy_shape().dims();
        let config = LinearConfig::new(input, output);
        Self::of(&config.with_initializer(Initializer::Zeros), device)
    }

    /// Takes its weights from a model file, if they are of 8 bits there.
    pub(crate) fn pack(&mut self, path: &str, weights: &mut Packing) {
        let shape: [usize; 2] = self.weight.lazy_shape().dims();
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
        match &self.packed {
            Some(packed) => cpu::product(packed, &rows, Activation::None, None),
            None => self.product(rows),
        }
    }

    /// The `activation` of [`Self::forward`].
    pub(crate) fn activated<const D: usize>(
        &self,
        rows: Tensor<D>,
        activation: Activation,
    ) -> Tensor<D> {
        if let Some(packed) = &self.packed {
            return cpu::product(packed, &rows, activation, None);
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
        match &self.packed {
            Some(packed) => cpu::product(packed, &rows, Activation::None, Some(&residual)),
            None => {
                let product = self.product(rows);
                let drawn = dropout::drawn(dropout, &product);
                drawn
                    .and_then(|drawn| learn::drop_and_add(&product, drawn, &residual))
                    .unwrap_or_else(|| residual + dropout.forward(product))
            }
        }
    }

    fn product<const D: usize>(&self, rows: Tensor<D>) -> Tensor<D> {
        #[cfg(all(feature = "kernels", target_family = "wasm"))]
        if let Some(product) = gpu::linear(self, &rows) {
            return product;
        }
        let bias = self.bias.as_ref().map(Param::val);
        if let Some(product) =
            (bias.as_ref()).and_then(|bias| learn::product(&rows, &self.weight.val(), bias))
        {
            return product;
        }
        burn::tensor::module::linear(rows, self.weight.val(), bias)
    }
}

#[cfg(all(feature = "kernels", target_family = "wasm"))]
mod gpu {
    use burn::backend::wgpu::{
        CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, Wgpu, into_contiguous,
    };
    use burn::cubecl::ir::attributes::BufferIOAttr;
    use burn::cubecl::prelude::{CubeCount, KernelId};
    use burn::cubecl::server::{KernelArguments, MetadataBindingInfo};
    use burn::tensor::{DType, Shape, Tensor};

    use super::Linear;

    /// Beyond so many rows burn's tiles are worth their cost.
    const FEW: usize = 256;
    /// Rows of a thread, columns of a thread and threads of a group, as `linear.wgsl` has them.
    const ROWS: usize = 8;
    const COLUMNS: usize = 4;
    const THREADS: usize = 32;

    struct Kernel;

    impl KernelSource for Kernel {
        fn source(&self) -> SourceTemplate {
            SourceTemplate::new(include_str!("linear.wgsl"))
        }

        fn id(&self) -> KernelId {
            KernelId::new::<Self>()
        }

        fn lang(&self) -> &'static str {
            "wgsl"
        }
    }

    /// `None` where the kernel does not fit.
    pub(super) fn linear<const D: usize>(layer: &Linear, rows: &Tensor<D>) -> Option<Tensor<D>> {
        let [input, output] = layer.weight.lazy_shape().dims();
        let mut dims = rows.dims();
        let count: usize = dims[..D - 1].iter().product();
        let fits = (1..=FEW).contains(&count) && input % 4 == 0 && output % COLUMNS == 0;
        let bias = layer.bias.as_ref().filter(|_| fits)?.val();
        let [rows, weight, bias] = [
            primitive(rows.clone())?,
            primitive(layer.weight.val())?,
            primitive(bias)?,
        ];
        dims[D - 1] = output;
        let product = rows.client.empty(count * output * size_of::<f32>());
        // Pairs of 32-bit numbers.
        let sizes = vec![
            count as u64 | ((input / 4) as u64) << 32,
            (output / COLUMNS) as u64,
        ];
        let arguments = [&rows, &weight, &bias]
            .into_iter()
            .fold(KernelArguments::new(), |arguments, tensor| {
                arguments.with_buffer_io(tensor.handle.clone().binding(), BufferIOAttr::ReadOnly)
            })
            .with_buffer_io(product.clone().binding(), BufferIOAttr::WriteOnly)
            .with_info(MetadataBindingInfo::custom(sizes));
        let groups = CubeCount::Static(
            output.div_ceil(COLUMNS * THREADS) as u32,
            count.div_ceil(ROWS) as u32,
            1,
        );
        let kernel = SourceKernel::new(Kernel, CubeDim::new_1d(THREADS as u32));
        rows.client.launch(Box::new(kernel), groups, arguments);
        let (client, device) = (rows.client, rows.device);
        let shape = Shape::from(dims);
        let product = CubeTensor::new_contiguous(client, device, shape, product, DType::F32);
        Some(Tensor::from_primitive::<Wgpu>(product))
    }

    fn primitive<const D: usize>(tensor: Tensor<D>) -> Option<CubeTensor> {
        let tensor = tensor.try_into_primitive::<Wgpu>().ok()?;
        (tensor.dtype == DType::F32 && tensor.qparams.is_none()).then(|| into_contiguous(tensor))
    }
}
