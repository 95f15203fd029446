//! Reference values of the original PyTorch code, and the device that a run of the tests compares with them.

use std::path::PathBuf;

use burn::tensor::{Device, DeviceKind, Shape, Tensor, TensorData};
use muse_core::weights::NamedTensor;
use safetensors::{Dtype, SafeTensors};

/// The device under test: Flex, or wgpu where `MUSE_TEST_DEVICE` says `wgpu` (`CUBECL_WGPU_DEFAULT_DEVICE` names the adapter).
pub fn device() -> Device {
    match std::env::var("MUSE_TEST_DEVICE").as_deref() {
        Ok("wgpu") => Device::wgpu(DeviceKind::DefaultDevice),
        Ok("flex") | Err(_) => Device::flex(),
        Ok(other) => panic!("MUSE_TEST_DEVICE is {other:?}; it can be flex or wgpu"),
    }
}

/// A golden file.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    /// Reads `tests/fixtures/<name>.safetensors`.
    pub fn read(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { bytes }
    }

    fn view(&self, name: &str) -> (Dtype, Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        (view.dtype(), view.shape().to_vec(), view.data().to_vec())
    }

    /// A tensor's numbers; 0/1 masks and indices become floats.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        let (dtype, _, data) = self.view(name);
        match dtype {
            Dtype::F32 => data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::I64 => self.ints(name).into_iter().map(|v| v as f32).collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    /// An integer tensor's numbers.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        let (dtype, _, data) = self.view(name);
        assert_eq!(dtype, Dtype::I64, "{name}");
        data.as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b))
            .collect()
    }

    /// A tensor on a device.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (_, shape, _) = self.view(name);
        let data = TensorData::new(self.floats(name), Shape::from(shape));
        Tensor::from_data(data, device)
    }

    /// A weight as `muse_core::weights` takes it.
    pub fn named(&self, name: &str) -> NamedTensor {
        let (_, shape, _) = self.view(name);
        NamedTensor {
            shape,
            data: self.floats(name),
        }
    }
}

/// The numbers of a tensor on the host.
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec()
        .expect("floats")
}

/// Fails unless all numbers agree within `tolerance`; `kept` says which count.
pub fn assert_close(
    what: &str,
    actual: &[f32],
    expected: &[f32],
    tolerance: f32,
    kept: impl Fn(usize) -> bool,
) {
    assert_eq!(actual.len(), expected.len(), "{what}: how many numbers");
    let mut compared = 0;
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        if kept(index) {
            compared += 1;
            assert!(
                (a - e).abs() <= tolerance,
                "{what}: number {index} is {a}, not {e}"
            );
        }
    }
    assert!(compared > 0, "{what}: nothing was compared");
}
