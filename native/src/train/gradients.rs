//! Gradients of a step: clipped by a common norm, and added up.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};
use muse_kernels::Tier;
use muse_kernels::learning::{scale, sum_squares};

/// Scales all gradients so that their common norm is at most `limit`. Nothing leaves a device.
///
/// (burn's own clipping by norm looks at each tensor alone.)
pub fn clip_by_global_norm<M: Module>(
    module: &M,
    mut grads: GradientsParams,
    limit: f64,
) -> GradientsParams {
    let mut norm = SquaredNorm {
        grads: &grads,
        here: 0.0,
        there: None,
    };
    module.visit(&mut norm);
    // As in PyTorch: scaled by limit / (norm + 1e-6), when that is below 1.
    let here = (limit / (norm.here.sqrt() + 1e-6)) as f32;
    let there = (norm.there).map(|sum| ((sum.sqrt() + 1e-6).recip() * limit).clamp_max(1.0));
    // NaN is not below 1, but has to spread.
    if there.is_none() && here >= 1.0 {
        return grads;
    }
    module.visit(&mut Scale {
        grads: &mut grads,
        here,
        there,
    });
    grads
}

/// Whether a tensor is of floats in this process's memory.
pub(super) fn is_here<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && tensor.clone().try_into_primitive::<Flex>().is_ok()
}

/// Such a tensor's floats, side by side and nobody else's unless they are shared.
pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let floats =
        (tensor.try_into_primitive::<Flex>()).expect("the tensor is in this process's memory");
    let numbers = floats.as_slice::<f32>();
    match numbers.is_some_and(|all| size_of_val(all) == floats.bytes().len()) {
        true => floats,
        false => FlexTensor::from_data(floats.into_data()),
    }
}

/// The numbers of such a tensor.
pub(super) fn numbers(floats: &FlexTensor) -> &[f32] {
    floats.as_slice::<f32>().unwrap_or_default()
}

struct SquaredNorm<'a> {
    grads: &'a GradientsParams,
    /// Of those in this process's memory.
    here: f64,
    /// Of those on another device.
    there: Option<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        if is_here(&grad) {
            self.here += sum_squares(Tier::best(), numbers(&floats(grad)));
            return;
        }
        let squared = grad.square().sum();
        self.there = Some(match self.there.take() {
            Some(sum) => sum + squared,
            None => squared,
        });
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    here: f32,
    there: Option<Tensor<1>>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return;
        };
        let scaled = match &self.there {
            Some(factor) => grad * factor.clone().unsqueeze::<D>(),
            None => {
                let mut grad = floats(grad);
                scale(Tier::best(), grad.storage_mut(), self.here);
                Tensor::from_primitive::<Flex>(grad)
            }
        };
        self.grads.register(param.id, scaled);
    }
}

/// Adds gradients of `module`'s weights to others.
pub fn merge<M: Module>(module: &M, mut from: GradientsParams, into: &mut GradientsParams) {
    module.visit(&mut Merge {
        from: &mut from,
        into,
    });
}

struct Merge<'a> {
    from: &'a mut GradientsParams,
    into: &'a mut GradientsParams,
}

impl ModuleVisitor for Merge<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.from.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.into.remove::<D>(param.id) {
            Some(other) => other + gradient,
            None => gradient,
        };
        self.into.register(param.id, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    #[test]
    fn clipping_looks_at_all_gradients_together() {
        let device = Device::flex().autodiff();
        let linear: Linear = LinearConfig::new(3, 2).init(&device);
        let loss = |scale: f64| {
            let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0]], &device) * scale;
            linear.forward(x).sum().backward()
        };
        let norm = |grads: &GradientsParams| {
            let (here, there) = (0.0, None);
            let mut squared = SquaredNorm { grads, here, there };
            linear.visit(&mut squared);
            squared.here.sqrt() as f32
        };
        // Of the weight 2·(1 + 4 + 9), of the bias 2.
        let grads = GradientsParams::from_grads(loss(1.0), &linear);
        assert!((norm(&grads) - 30f32.sqrt()).abs() < 1e-4);
        let clipped = clip_by_global_norm(&linear, grads, 1.0);
        assert!((norm(&clipped) - 1.0).abs() < 1e-4);
        let small = GradientsParams::from_grads(loss(1.0), &linear);
        let kept = clip_by_global_norm(&linear, small, 100.0);
        assert!((norm(&kept) - 30f32.sqrt()).abs() < 1e-4);
    }
}
