//! AdamW with a rate for each part of the model.

use burn::backend::Flex;
use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::{
    AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, DynOptimizer, DynState, LearningRate,
    ModuleOptimizer, Optimizer, StateSink, StateSource,
};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor};
use muse_kernels::{Tier, learning};

use super::gradients::{floats, is_here, numbers};

const BETAS: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

/// AdamW for matrices, and without decay for everything of one dimension: biases, normalisations, the CRF's ends.
pub fn optimizer<M: Module>(module: &M, decay: f64, device: &Device) -> ModuleOptimizer {
    let adamw = |decay: f64| OnDevice {
        inner: Fused::new(decay as f32),
        device: device.clone().inner(),
    };
    // By path, not by id: a restored model has the ids of its checkpoint.
    let mut plain = Undecayed::default();
    module.visit(&mut plain);
    ModuleOptimizer::from(Fused::new(0.0))
        .with_group(ParamGroup::all(), adamw(decay), None)
        .with_group(ParamGroup::from_paths(plain.paths), adamw(0.0), None)
}

/// Collects what decay would only hurt: vectors, and the learned rows `[1, d]`.
#[derive(Default)]
struct Undecayed {
    at: Vec<String>,
    paths: Vec<String>,
}

impl ModuleVisitor for Undecayed {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.at.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.at.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape();
        if D < 2 || shape.as_slice()[..D - 1].iter().all(|&n| n == 1) {
            self.paths.push(self.at.join("."));
        }
    }
}

/// burn's AdamW, in one pass where tensors are in this process's memory: burn makes some fifteen, of as many tensors.
#[derive(Clone)]
struct Fused {
    inner: AdamW,
    decay: f32,
}

impl Fused {
    fn new(decay: f32) -> Self {
        let inner = AdamWConfig::new()
            .with_beta_1(BETAS[0])
            .with_beta_2(BETAS[1])
            .with_epsilon(EPSILON)
            .with_weight_decay(decay);
        Self {
            inner: inner.build(),
            decay,
        }
    }
}

impl Optimizer for Fused {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        weights: Tensor<D>,
        gradients: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        if !is_here(&gradients) {
            return self.inner.step(rate, weights, gradients, state);
        }
        let (time, means) = match state {
            Some(AdamWState { momentum }) => {
                (momentum.time, [momentum.moment_1, momentum.moment_2])
            }
            None => (0, [(); 2].map(|()| weights.zeros_like())),
        };
        let (mut weights, gradients) = (floats(weights), floats(gradients));
        let [mut first, mut second] = means.map(floats);
        let step = learning::AdamW {
            betas: BETAS,
            epsilon: EPSILON,
            time: (time + 1) as i32,
            rate: rate as f32,
            decay: (1.0 - rate * f64::from(self.decay)) as f32,
        };
        let means = [first.storage_mut(), second.storage_mut()];
        step.step(
            Tier::best(),
            weights.storage_mut(),
            numbers(&gradients),
            means,
        );
        let [weights, first, second] = [weights, first, second].map(Tensor::from_primitive::<Flex>);
        let momentum = AdaptiveMomentumState::new(time + 1, first, second);
        (weights, Some(AdamWState { momentum }))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamW::to_device(state, device)
    }
}

/// [`Fused`], whose restored state goes to the training's device.
///
/// burn restores optimiser states to `Device::default()`, which follows the build's features, not the hardware: where
/// there is no GPU that panics.
struct OnDevice {
    inner: Fused,
    device: Device,
}

impl DynOptimizer for OnDevice {
    fn step_dyn(
        &self,
        rank: usize,
        rate: LearningRate,
        tensor: BridgeTensor,
        grad: BridgeTensor,
        state: Option<DynState>,
    ) -> (BridgeTensor, Option<DynState>) {
        self.inner.step_dyn(rank, rate, tensor, grad, state)
    }

    fn to_device_dyn(&self, state: DynState, device: &Device) -> DynState {
        self.inner.to_device_dyn(state, device)
    }

    fn state_flatten(&self, prefix: &str, state: &DynState, out: &mut StateSink) {
        self.inner.state_flatten(prefix, state, out);
    }

    fn state_unflatten(
        &self,
        rank: usize,
        prefix: &str,
        source: &mut StateSource,
        _default: &Device,
    ) -> Option<DynState> {
        self.inner
            .state_unflatten(rank, prefix, source, &self.device)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn one_pass_gives_burns_digits() {
        let device = Device::flex();
        let random = || Tensor::<2>::random([50, 700], Distribution::Normal(0.0, 1.0), &device);
        let fused = Fused::new(0.01);
        let start = random();
        let (mut ours, mut right) = ((start.clone(), None), (start, None));
        for step in 1..6 {
            let (gradients, rate) = (random(), 0.1 / f64::from(step));
            ours = fused.step(rate, ours.0, gradients.clone(), ours.1);
            right = fused.inner.step(rate, right.0, gradients, right.1);
            assert_eq!(ours.0.to_data(), right.0.to_data());
        }
        let [ours, right] =
            [ours, right].map(|(_, state)| state.expect("there were steps").momentum);
        assert_eq!(ours.time, right.time);
        assert_eq!(ours.moment_2.into_data(), right.moment_2.into_data());
    }
}
