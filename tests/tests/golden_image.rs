//! The image encoders against the reference values of their PyTorch originals.

use std::collections::HashMap;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use muse::pretrained::read_state_dict;
use muse_core::encoders::image::CnnKind;
use muse_core::encoders::image::{ImageEncoder, regions};
use muse_core::weights::StateDict;
use muse_tests::golden::{Golden, assert_close, device, numbers};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

/// The published weights of EfficientNet-Lite0.
fn efficientnet_weights() -> StateDict {
    let folder = std::env::var_os("MUSE_WEIGHTS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../weights"),
        PathBuf::from,
    );
    read_state_dict(&folder.join("efficientnet-lite0.pth"))
        .unwrap_or_else(|e| panic!("{e:#}\nrun cargo xtask weights"))
}

/// `x[0, c, h, w] = sin(0.1 k)`, k row-major.
fn waves(size: usize, device: &Device) -> Tensor<4> {
    let values = (0..3 * size * size).map(|k| (0.1 * k as f64).sin() as f32);
    let data = TensorData::new(values.collect(), [1, 3, size, size]);
    Tensor::from_data(data, device)
}

/// One feature map on the host.
struct Map {
    shape: [usize; 4],
    values: Vec<f32>,
}

impl Map {
    fn read(map: Tensor<4>) -> Self {
        let shape = map.dims();
        let values = numbers(map);
        Self { shape, values }
    }

    fn channels(&self) -> impl Iterator<Item = &[f32]> {
        let [_, _, height, width] = self.shape;
        self.values.chunks(height * width)
    }

    fn channel_mean(&self) -> Vec<f32> {
        let mean = |c: &[f32]| c.iter().map(|&x| f64::from(x)).sum::<f64>() / c.len() as f64;
        self.channels().map(|c| mean(c) as f32).collect()
    }

    /// The first `channels` channels' upper left corner.
    fn slice(&self, channels: usize, side: usize) -> Vec<f32> {
        let [_, _, height, width] = self.shape;
        self.channels()
            .take(channels)
            .flat_map(|c| c.chunks(width).take(side.min(height)))
            .flat_map(|row| &row[..side.min(width)])
            .copied()
            .collect()
    }

    fn compare(&self, golden: &Golden, name: &str, tolerance: f32) {
        let key = |part: &str| format!("output.{name}.{part}");
        let shape = self.shape.map(|n| n as i64);
        assert_eq!(golden.ints(&key("shape")), shape, "{name}");
        let expected = golden.floats(&key("channel_mean"));
        let what = format!("{name}: mean of channel");
        assert_close(&what, &self.channel_mean(), &expected, tolerance, |_| true);
        let expected = golden.floats(&key("slice"));
        assert_close(name, &self.slice(8, 6), &expected, tolerance, |_| true);
    }

    /// 1e-4 of the largest value, as for the ResNets.
    fn relative_tolerance(&self) -> f32 {
        1e-4 * self.values.iter().fold(0.0, |max: f32, x| max.max(x.abs()))
    }
}

fn check_efficientnet(fixture: &str, size: usize, device: &Device) {
    const TOLERANCE: f32 = 1e-3;
    let golden = Golden::read(fixture);
    let kind = CnnKind::EfficientnetLite0;
    let weights = efficientnet_weights();
    let (fc, bias) = (
        weights["_fc.weight"].data.clone(),
        weights["_fc.bias"].data.clone(),
    );
    let cnn = ImageEncoder::new(kind, device)
        .load_published(kind, weights)
        .expect("the published weights");
    let ImageEncoder::EfficientNetLite0(network) = &cnn else {
        panic!("{kind:?} is not an EfficientNet")
    };

    let pixels = waves(size, device);
    let maps: Vec<Map> = network
        .feature_maps(pixels.clone())
        .into_iter()
        .map(Map::read)
        .collect();
    assert_eq!(maps.len(), 18);
    maps[0].compare(&golden, "stem", TOLERANCE);
    for (block, map) in maps[1..17].iter().enumerate() {
        map.compare(&golden, &format!("block{block}"), TOLERANCE);
    }
    let head = &maps[17];
    head.compare(&golden, "head", TOLERANCE);
    let side = head.shape[3];
    for (name, map, channels) in [("head", head, 64), ("block15", &maps[16], 32)] {
        let key = format!("output.{name}.full_first{channels}");
        let actual = map.slice(channels, side);
        assert_close(&key, &actual, &golden.floats(&key), TOLERANCE, |_| true);
    }
    let largest: Vec<f32> = head
        .channels()
        .map(|c| c.iter().copied().fold(f32::MIN, f32::max))
        .collect();
    let key = "output.head.channel_max";
    assert_close(key, &largest, &golden.floats(key), TOLERANCE, |_| true);

    // All of the last map at once, through the classifier that is otherwise not used.
    let pooled = head.channel_mean();
    let logits: Vec<f32> = fc
        .chunks(pooled.len())
        .zip(bias)
        .map(|(row, bias)| bias + row.iter().zip(&pooled).map(|(w, x)| w * x).sum::<f32>())
        .collect();
    let key = "output.logits";
    assert_close(key, &logits, &golden.floats(key), TOLERANCE, |_| true);

    let last = Map::read(cnn.forward(pixels));
    assert_eq!(last.values, head.values, "the last of all maps");
}

#[test]
fn efficientnet_at_224() {
    check_efficientnet("efficientnet_lite0", 224, &Device::flex());
}

#[test]
fn efficientnet_at_160() {
    check_efficientnet("efficientnet_lite0_160", 160, &device());
}

/// The weights that the fixture's formula gives, written as a safetensors file.
fn write_formula_weights(names: &Value, path: &std::path::Path) {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = names
        .as_array()
        .expect("a list of names")
        .iter()
        .zip(0_u32..)
        .map(|(entry, i)| {
            let name = entry[0].as_str().expect("a name").to_owned();
            let shape: Vec<usize> = entry[1]
                .as_array()
                .expect("a shape")
                .iter()
                .map(|n| n.as_u64().expect("an extent") as usize)
                .collect();
            let i = f64::from(i);
            let fan_in: usize = shape[1..].iter().product();
            let element = |k: f64| match (shape.len(), name.rsplit('.').next()) {
                (4, _) => (0.37 * k + i).sin() * (2.0 / fan_in as f64).sqrt(),
                (2, _) => (0.37 * k + i).sin() / (fan_in as f64).sqrt(),
                (_, Some("running_var")) => 1.0 + 0.5 * (k + i).sin().powi(2),
                (_, Some("running_mean" | "bias")) => 0.1 * (k + i).sin(),
                _ => 1.0 + 0.1 * (k + i).sin(),
            };
            let elements: usize = shape.iter().product();
            let bytes = (0..elements)
                .flat_map(|k| (element(k as f64) as f32).to_le_bytes())
                .collect();
            (name, shape, bytes)
        })
        .collect();
    let views: HashMap<&str, TensorView<'_>> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (
                name.as_str(),
                view.expect("as many bytes as its shape says"),
            )
        })
        .collect();
    safetensors::serialize_to_file(views, None, path).expect("the file is written");
}

fn check_resnet(fixture: &str, kind: CnnKind, size: usize) {
    let device = Device::flex();
    let golden = Golden::read(fixture);
    let names = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(format!("{fixture}.json"));
    let names: Value = serde_json::from_slice(&std::fs::read(names).expect("the names"))
        .expect("a fixture is JSON");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("resnet.safetensors");
    write_formula_weights(&names["names"], &path);

    let weights = read_state_dict(&path).expect("the file just written");
    let learned = weights.iter().filter(|(name, _)| !name.contains("running"));
    let learned: usize = learned.map(|(_, tensor)| tensor.data.len()).sum();
    assert_eq!(Some(learned as u64), names["params"].as_u64());
    let cnn = ImageEncoder::new(kind, &device)
        .load_published(kind, weights)
        .expect("torchvision's names");
    let ImageEncoder::ResNet(network) = &cnn else {
        panic!("{kind:?} is not a ResNet")
    };

    let pixels = waves(size, &device);
    let stages = ["stem", "layer1", "layer2", "layer3", "layer4"];
    let maps = network.feature_maps(pixels.clone());
    assert_eq!(maps.len(), stages.len());
    let last = maps[4].clone();
    for (stage, map) in stages.into_iter().zip(maps) {
        let map = Map::read(map);
        map.compare(&golden, stage, map.relative_tolerance());
    }
    assert_eq!(last.dims()[1], kind.channels());

    // [B, 64, C] back to [B, C, 8, 8].
    let rows = regions(last);
    assert_eq!(
        numbers(rows.clone()),
        numbers(cnn.regions(pixels)),
        "regions of the last map"
    );
    let grid = Map::read(rows.swap_dims(1, 2).reshape([1, -1, 8, 8]));
    let tolerance = grid.relative_tolerance();
    let key = "output.regions.channel_mean";
    let expected = golden.floats(key);
    assert_close(key, &grid.channel_mean(), &expected, tolerance, |_| true);
    let key = "output.regions.slice";
    let expected = golden.floats(key);
    assert_close(key, &grid.slice(16, 8), &expected, tolerance, |_| true);
}

#[test]
fn resnet18_by_formula() {
    check_resnet("resnet18", CnnKind::Resnet18, 224);
}

#[test]
fn resnet50_by_formula() {
    check_resnet("resnet50", CnnKind::Resnet50, 160);
}
