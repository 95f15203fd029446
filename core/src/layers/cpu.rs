//! Where tensors are in this process's memory, inference is computed by kernels of ours: `None` elsewhere, and where gradients
//! are wanted.

use burn::tensor::{Device, Int, Tensor};
use muse_kernels::{Activation, Attention, Shape, Table, Tier, Window};

use crate::layers::linear::Packed;

pub(crate) use self::memory::{Numbers, is_here, tensor};

#[cfg(feature = "cpu")]
mod memory {
    use std::ops::Deref;

    use burn::backend::Flex;
    use burn::backend::flex::FlexTensor;
    use burn::tensor::{Device, Tensor, TensorData};

    /// The numbers of a tensor, side by side.
    pub(crate) struct Numbers(FlexTensor);

    impl Numbers {
        /// Of a tensor of floats.
        pub(crate) fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
            let tensor = tensor.clone().try_into_primitive::<Flex>().ok()?;
            let tensor = match tensor.as_slice::<f32>() {
                Some(_) => tensor,
                None => tensor.to_contiguous(),
            };
            tensor.as_slice::<f32>().is_some().then_some(Self(tensor))
        }
    }

    impl Deref for Numbers {
        type Target = [f32];

        fn deref(&self) -> &[f32] {
            self.0.as_slice().unwrap_or_default()
        }
    }

    /// A tensor of these numbers.
    pub(crate) fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_primitive::<Flex>(FlexTensor::from_data(TensorData::new(numbers, shape)))
    }

    /// Whether a device's tensors lie here.
    pub(crate) fn is_here(device: &Device) -> bool {
        Numbers::of(&Tensor::<1>::zeros([1], device)).is_some()
    }
}

/// A module for a browser's GPU has no tensors here.
#[cfg(not(feature = "cpu"))]
mod memory {
    use burn::tensor::{Device, Tensor, TensorData};

    pub(crate) struct Numbers;

    impl Numbers {
        pub(crate) fn of<const D: usize>(_: &Tensor<D>) -> Option<Self> {
            None
        }
    }

    impl std::ops::Deref for Numbers {
        type Target = [f32];

        fn deref(&self) -> &[f32] {
            &[]
        }
    }

    pub(crate) fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(numbers, shape), &Device::default())
    }

    pub(crate) fn is_here(_: &Device) -> bool {
        false
    }
}

/// Does `work`, where it computes here with threads that do not fall asleep.
pub(crate) fn awake<T: Send>(device: &Device, work: impl FnOnce() -> T + Send) -> T {
    match is_here(device) {
        true => muse_kernels::awake(work),
        false => work(),
    }
}

/// The product of rows `[.., in]` with packed weights, and what follows it: `[.., out]`.
pub(crate) fn product<const D: usize>(
    packed: &Packed,
    rows: &Tensor<D>,
    activation: Activation,
    residual: Option<&Tensor<D>>,
) -> Tensor<D> {
    let (mut shape, tier) = (rows.dims(), Tier::best());
    let rows = Numbers::of(rows).expect(PACKED);
    let residual = residual.map(|residual| Numbers::of(residual).expect(PACKED));
    let residual = residual.as_deref();
    shape[D - 1] = packed.outputs();
    let mut out = vec![0.0; shape.iter().product()];
    match packed {
        Packed::Whole(packed) => packed.product(tier, &rows, activation, residual, &mut out),
        Packed::Floats(packed) => packed.product(tier, &rows, activation, residual, &mut out),
    }
    tensor(out, shape)
}

/// Weights are packed only for a model that is asked, and lies here.
pub(crate) const PACKED: &str = "a packed model computes floats in this process's memory";

/// All heads' attention of `[B, N, d]`, with a `bias` for each key `[B, 1, 1, N]`: the attended rows `[B, N, d]`, and what the first
/// pays to each `[B, N]`.
pub(crate) fn attention(
    [query, key, value]: [&Tensor<3>; 3],
    bias: Option<&Tensor<4>>,
    heads: usize,
) -> Option<(Tensor<3>, Tensor<2>)> {
    let [batch, rows, width] = query.dims();
    let numbers = |tensor: &Tensor<3>| Numbers::of(tensor);
    let (query, key, value) = (numbers(query)?, numbers(key)?, numbers(value)?);
    let bias = match bias {
        Some(bias) => Some(Numbers::of(bias)?),
        None => None,
    };
    let attention = Attention {
        query: &query,
        key: &key,
        value: &value,
        key_bias: bias.as_deref(),
        rows,
        width,
        heads,
    };
    let (attended, first) = attention.attend(Tier::best());
    Some((
        tensor(attended, [batch, rows, width]),
        tensor(first, [batch, rows]),
    ))
}

/// Layer normalisation of `[.., d]`.
pub(crate) fn normalise<const D: usize>(
    rows: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let (gamma, beta) = (Numbers::of(gamma)?, Numbers::of(beta)?);
    let mut numbers = Numbers::of(rows)?.to_vec();
    muse_kernels::normalise(Tier::best(), &mut numbers, &gamma, &beta, epsilon as f32);
    Some(tensor(numbers, rows.dims()))
}

/// The mean of each sample's `rows` `[B, N, d]`, each of which counts as often as `counts` `[B, N]` says: `[B, 1, d]`.
pub(crate) fn mean(counts: &Tensor<2>, rows: &Tensor<3>) -> Option<Tensor<3>> {
    let [batch, length, width] = rows.dims();
    let (counts, rows) = (Numbers::of(counts)?, Numbers::of(rows)?);
    let mut means = vec![0.0; batch * width];
    for (sample, mean) in means.chunks_exact_mut(width.max(1)).enumerate() {
        let counts = &counts[sample * length..(sample + 1) * length];
        let total: f32 = counts.iter().sum();
        let rows = rows[sample * length * width..].chunks_exact(width);
        for (count, row) in counts.iter().zip(rows) {
            let share = count / total;
            for (mean, value) in mean.iter_mut().zip(row) {
                *mean += share * value;
            }
        }
    }
    Some(tensor(means, [batch, 1, width]))
}

/// Rows `[B, N, d]` of a table.
pub(crate) fn rows(table: &Table, numbers: Tensor<2, Int>) -> Tensor<3> {
    let [batch, length] = numbers.dims();
    let numbers = numbers.into_data().convert::<i64>();
    let numbers = numbers
        .as_slice::<i64>()
        .expect("the numbers were just converted");
    let width = table.columns();
    let mut rows = vec![0.0; numbers.len() * width];
    for (row, number) in rows.chunks_exact_mut(width.max(1)).zip(numbers) {
        table.add(usize::try_from(*number).unwrap_or(usize::MAX), row);
    }
    tensor(rows, [batch, length, width])
}

/// The largest of each window of `[B, h, w, channels]`, which reaches over the border by `before` pixels.
pub(crate) fn max_pool(map: Tensor<4>, kernel: usize, stride: usize, before: usize) -> Tensor<4> {
    let [batch, height, width, channels] = map.dims();
    let numbers = Numbers::of(&map).expect(PACKED);
    let side = |size: usize| (size + 2 * before).saturating_sub(kernel) / stride + 1;
    let window = Window {
        kernel,
        stride,
        before: [before; 2],
        out: [side(height), side(width)],
    };
    let shape = Shape {
        height,
        width,
        channels,
    };
    let pictures = numbers.chunks_exact((height * width * channels).max(1));
    let out: Vec<f32> = pictures
        .flat_map(|map| muse_kernels::max_pool(map, shape, window))
        .collect();
    tensor(out, [batch, window.out[0], window.out[1], channels])
}
