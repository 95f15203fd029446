//! Gradients of a step: clipped by a common norm, and added up.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Scales all gradients so that their common norm is at most `limit`. Nothing leaves the device.
///
/// (burn's own clipping by norm looks at each tensor alone.)
pub fn clip_by_global_norm<M: Module>(
    module: &M,
    mut grads: GradientsParams,
    limit: f64,
) -> GradientsParams {
    let mut norm = SquaredNorm {
        grads: &grads,
        sum: None,
    };
    module.visit(&mut norm);
    let Some(sum) = norm.sum else { return grads };
    // As in PyTorch: scaled by limit / (norm + 1e-6), when that is below 1.
    let factor = ((sum.sqrt() + 1e-6).recip() * limit).clamp_max(1.0);
    module.visit(&mut Scale {
        grads: &mut grads,
        factor,
    });
    grads
}

struct SquaredNorm<'a> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let squared = grad.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + squared,
                None => squared,
            });
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let factor = self.factor.clone().unsqueeze::<D>();
            self.grads.register(param.id, grad * factor);
        }
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
            let mut squared = SquaredNorm { grads, sum: None };
            linear.visit(&mut squared);
            squared.sum.unwrap().sqrt().into_scalar::<f32>()
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
