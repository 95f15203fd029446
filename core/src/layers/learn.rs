//! Where tensors are floats in this process's memory and gradients are wanted, a layer is few operations of ours, each with its
//! gradient: `None` elsewhere. burn's own are many more, and on one core but for their products.

#[cfg(feature = "learn")]
mod attention;
#[cfg(feature = "learn")]
mod graph;
#[cfg(feature = "learn")]
mod pictures;
#[cfg(feature = "learn")]
mod rows;
#[cfg(all(test, feature = "learn"))]
mod tests;
#[cfg(feature = "learn")]
mod vocabulary;

#[cfg(not(feature = "learn"))]
pub(crate) use self::nothing::*;
#[cfg(feature = "learn")]
pub(crate) use muse_kernels::learning::Dropout;

#[cfg(feature = "learn")]
pub(crate) use self::{attention::attention, graph::learns, pictures::*, rows::*, vocabulary::*};

/// Nobody learns here.
#[cfg(not(feature = "learn"))]
mod nothing {
    use burn::tensor::Tensor;
    use muse_kernels::Activation;

    #[derive(Clone, Copy)]
    pub(crate) struct Dropout;

    impl Dropout {
        pub(crate) fn new(_: f64, _: u64) -> Self {
            Self
        }
    }

    pub(crate) fn learns<const D: usize>(_: &Tensor<D>) -> bool {
        false
    }

    pub(crate) fn product<const D: usize>(
        _: &Tensor<D>,
        _: &Tensor<2>,
        _: &Tensor<1>,
    ) -> Option<Tensor<D>> {
        None
    }

    pub(crate) fn activate<const D: usize>(_: &Tensor<D>, _: Activation) -> Option<Tensor<D>> {
        None
    }

    pub(crate) fn drop<const D: usize>(_: &Tensor<D>, _: Dropout) -> Option<Tensor<D>> {
        None
    }

    pub(crate) fn drop_and_add<const D: usize>(
        _: &Tensor<D>,
        _: Dropout,
        _: &Tensor<D>,
    ) -> Option<Tensor<D>> {
        None
    }

    pub(crate) fn normalise<const D: usize>(
        _: &Tensor<D>,
        _: &Tensor<1>,
        _: &Tensor<1>,
        _: f64,
    ) -> Option<Tensor<D>> {
        None
    }

    pub(crate) fn cross_entropy(
        _: &Tensor<2>,
        _: &Tensor<2>,
        _: &Tensor<1>,
        _: &[usize],
    ) -> Option<Tensor<1>> {
        None
    }

    pub(crate) fn convolve(_: &Tensor<2>, _: &Tensor<3>, _: &[isize]) -> Option<Tensor<2>> {
        None
    }

    pub(crate) fn concat_elu(_: &Tensor<2>) -> Option<Tensor<2>> {
        None
    }

    pub(crate) fn gate(_: &Tensor<2>) -> Option<Tensor<2>> {
        None
    }

    pub(crate) fn attention(
        _: [&Tensor<3>; 3],
        _: Option<&Tensor<4>>,
        _: usize,
        _: Option<Dropout>,
    ) -> Option<(Tensor<3>, Tensor<2>)> {
        None
    }
}
