//! The image encoders in training: gradients, fixed statistics, stages.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use muse_core::encoders::image::CnnKind;
use muse_core::encoders::image::ImageEncoder;
use muse_core::weights::{NamedTensor, StateDict, apply_state, state_dict};
use muse_tests::golden::numbers;

const KINDS: [CnnKind; 2] = [CnnKind::EfficientnetLite0, CnnKind::Resnet18];

/// Values between -1 and 1 without a pattern.
fn noise(elements: usize, seed: f64) -> Vec<f32> {
    let value = |i: usize| ((i as f64 + seed) * 12.9898).sin() * 43_758.547;
    (0..elements)
        .map(|i| (2.0 * value(i).rem_euclid(1.0) - 1.0) as f32)
        .collect()
}

fn pictures(count: usize, size: usize, device: &Device) -> Tensor<4> {
    let data = TensorData::new(noise(count * 3 * size * size, 0.5), [count, 3, size, size]);
    Tensor::from_data(data, device)
}

/// A network whose normalisations all do something, and which is always the same.
fn network(kind: CnnKind, device: &Device) -> ImageEncoder {
    let cnn = ImageEncoder::new(kind, device);
    let mut state = state_dict(&cnn);
    for (name, tensor) in &mut state {
        let (middle, spread) = match (tensor.shape.len(), name.rsplit('.').next()) {
            (4, _) => {
                let fan_in: usize = tensor.shape[1..].iter().product();
                (0.0, (6.0 / fan_in as f32).sqrt()) // Kaiming-uniform
            }
            (_, Some("gamma" | "running_var")) => (1.0, 0.3),
            _ => (0.0, 0.3),
        };
        let noise = noise(tensor.data.len(), name.len() as f64);
        tensor.data = noise.iter().map(|x| middle + spread * x).collect();
    }
    apply_state(cnn, state).expect("its own names")
}

/// Paths, and gradients where there are any.
struct Gradient<'a> {
    path: Vec<String>,
    gradients: &'a Gradients,
    found: StateDict,
}

impl ModuleVisitor for Gradient<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if !container_type.starts_with("Enum:") {
            self.path.push(name.to_owned());
        }
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        if !container_type.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let shape = gradient.dims().to_vec();
            let data = numbers(gradient);
            self.found
                .insert(self.path.join("."), NamedTensor { shape, data });
        }
    }
}

fn gradients(cnn: &ImageEncoder, gradients: &Gradients) -> StateDict {
    let mut visitor = Gradient {
        path: Vec::new(),
        gradients,
        found: StateDict::new(),
    };
    cnn.visit(&mut visitor);
    visitor.found
}

/// Some number that depends on all regions.
fn loss(cnn: &ImageEncoder, device: &Device) -> Tensor<1> {
    let regions = cnn.regions(pictures(2, 64, device));
    let shape = regions.dims();
    let seed = TensorData::new(noise(shape.iter().product(), 7.5), shape);
    (regions * Tensor::from_data(seed, device)).sum()
}

/// The same, summed in f64: differences of it are taken.
fn exact_loss(cnn: &ImageEncoder, device: &Device) -> f64 {
    let regions = numbers(cnn.regions(pictures(2, 64, device)));
    let seed = noise(regions.len(), 7.5);
    let product = |(x, seed): (&f32, f32)| f64::from(*x) * f64::from(seed);
    regions.iter().zip(seed).map(product).sum()
}

#[test]
fn gradients_agree_with_differences() {
    for kind in KINDS {
        let device = Device::flex().autodiff();
        let cnn = network(kind, &device);
        let found = gradients(&cnn, &loss(&cnn, &device).backward());
        let state = state_dict(&cnn);
        let learning = state.keys().filter(|name| !name.contains("running"));
        assert!(learning.eq(found.keys()), "{kind:?}");

        let plain = Device::flex();
        let names: &[&str] = match kind {
            CnnKind::EfficientnetLite0 => &[
                "stem.weight",
                "blocks.1.depthwise.norm.gamma",
                "blocks.5.expand.weight",
                "head.norm.beta",
            ],
            _ => &[
                "conv1.norm.gamma",
                "layer2.0.downsample.weight",
                "layer3.1.conv2.weight",
                "layer4.1.conv2.norm.beta",
            ],
        };
        for name in names {
            // Along the gradient, where the loss changes fastest.
            let gradient = &found[*name].data;
            let length = gradient
                .iter()
                .map(|g| f64::from(*g).powi(2))
                .sum::<f64>()
                .sqrt();
            let size = state[*name].data.iter().map(|w| f64::from(*w).powi(2));
            let step = 1e-5 * size.sum::<f64>().sqrt();
            let at = |steps: f64| {
                let mut state = state.clone();
                let moved = state.get_mut(*name).expect("a parameter");
                for (value, g) in moved.data.iter_mut().zip(gradient) {
                    *value += (steps * step * f64::from(*g) / length) as f32;
                }
                let cnn =
                    apply_state(ImageEncoder::new(kind, &plain), state).expect("its own names");
                exact_loss(&cnn, &plain)
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
            assert!(
                (slope - length).abs() < 0.03 * length,
                "{kind:?} {name}: slope {slope}, gradient {length}"
            );
        }
    }
}

#[test]
fn training_leaves_the_statistics_alone() {
    for kind in KINDS {
        let device = Device::flex().autodiff();
        let cnn = network(kind, &device).set_require_grad(true);
        let before = state_dict(&cnn);
        let plain = apply_state(ImageEncoder::new(kind, &Device::flex()), before.clone());
        let plain = plain.expect("its own names");
        let inference = numbers(plain.regions(pictures(2, 64, &Device::flex())));
        let training = numbers(cnn.regions(pictures(2, 64, &device)));
        assert_eq!(training, inference, "{kind:?}");

        let found = gradients(&cnn, &loss(&cnn, &device).backward());
        assert!(found.keys().all(|name| !name.contains("running")));
        assert_eq!(state_dict(&cnn), before);
    }
}

#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let device = Device::flex();
    for kind in KINDS {
        let cnn = network(kind, &device);
        let both = pictures(2, 64, &device);
        let second = cnn.regions(both.clone().narrow(0, 1, 1));
        let together = cnn.regions(both).narrow(0, 1, 1);
        assert_eq!(together.dims(), [1, 64, kind.channels()]);
        let largest = (second - together).abs().max();
        assert!(numbers(largest)[0] < 1e-5, "{kind:?}");
    }
}

#[test]
fn stages_divide_the_network() {
    let device = Device::flex();
    for (kind, count) in [(CnnKind::EfficientnetLite0, 18), (CnnKind::Resnet50, 5)] {
        let cnn = ImageEncoder::new(kind, &device);
        let stages = cnn.stages();
        assert_eq!(stages.len(), count);
        let mut used = vec![false; count];
        for name in state_dict(&cnn).keys() {
            let of = |stage: &String| name.starts_with(&format!("{stage}."));
            let stages: Vec<usize> = (0..count).filter(|&i| of(&stages[i])).collect();
            let [stage] = stages[..] else {
                panic!("{name} is in the stages {stages:?}")
            };
            used[stage] = true;
        }
        assert!(used.iter().all(|&used| used), "{kind:?}");
    }
}
