//! A linear layer over the few rows of a caption.

use burn::nn::Linear;
use burn::tensor::Tensor;

/// `layer` of `rows` `[.., d_input]`: [`Linear::forward`], or in a browser's GPU a kernel of ours, which gives the same.
///
/// Without tuning at run time, which a page has no time for, burn takes a matrix product whose tiles were made for many rows: it took
/// 93 % of a caption's time.
pub(crate) fn linear<const D: usize>(layer: &Linear, rows: Tensor<D>) -> Tensor<D> {
    #[cfg(all(feature = "kernels", target_family = "wasm"))]
    if let Some(product) = gpu::linear(layer, &rows) {
        return product;
    }
    layer.forward(rows)
}

#[cfg(all(feature = "kernels", target_family = "wasm"))]
mod gpu {
    use burn::backend::wgpu::{
        CubeDim, CubeTensor, KernelSource, SourceKernel, SourceTemplate, Wgpu, into_contiguous,
    };
    use burn::cubecl::ir::attributes::BufferIOAttr;
    use burn::cubecl::prelude::{CubeCount, KernelId};
    use burn::cubecl::server::{KernelArguments, MetadataBindingInfo};
    use burn::nn::Linear;
    use burn::tensor::{DType, Shape, Tensor};

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
