//! The layers' arithmetic on the host, for a few pixels of several pictures at a time.
//!
//! Lists of numbers are row-major `[pictures, columns, channels]`.

use burn::tensor::Tensor;

use crate::decoders::generator::block::GatedBlock;
use crate::decoders::generator::conv::{Conv, TransposedConv};

/// What a layer has computed so far, of all pictures: `[pictures, side, side, channels]`.
pub(super) struct Plane {
    pictures: usize,
    pub(super) side: usize,
    channels: usize,
    data: Vec<f32>,
}

impl Plane {
    pub(super) fn new(pictures: usize, side: usize, channels: usize) -> Self {
        Self {
            pictures,
            side,
            channels,
            data: vec![0.0; pictures * side * side * channels],
        }
    }

    pub(super) fn fill_channel(&mut self, channel: usize, value: f32) {
        for pixel in self.data.chunks_mut(self.channels) {
            pixel[channel] = value;
        }
    }

    fn index(&self, picture: usize, y: usize, x: usize) -> usize {
        ((picture * self.side + y) * self.side + x) * self.channels
    }

    pub(super) fn at(&self, picture: usize, y: usize, x: usize) -> &[f32] {
        &self.data[self.index(picture, y, x)..][..self.channels]
    }

    pub(super) fn at_mut(&mut self, picture: usize, y: usize, x: usize) -> &mut [f32] {
        let index = self.index(picture, y, x);
        &mut self.data[index..][..self.channels]
    }

    /// How many numbers `columns` of a line are, in all pictures.
    pub(super) fn len_at(&self, columns: &[usize]) -> usize {
        self.pictures * columns.len() * self.channels
    }

    pub(super) fn write(&mut self, y: usize, columns: &[usize], values: &[f32]) {
        let mut values = values.chunks(self.channels);
        for picture in 0..self.pictures {
            for (&x, value) in columns.iter().zip(&mut values) {
                self.at_mut(picture, y, x).copy_from_slice(value);
            }
        }
    }

    /// Writes the concat-ELU of half as many channels.
    pub(super) fn write_concat_elu(&mut self, y: usize, columns: &[usize], values: &[f32]) {
        let half = self.channels / 2;
        let mut values = values.chunks(half);
        for picture in 0..self.pictures {
            for (&x, value) in columns.iter().zip(&mut values) {
                let (plus, minus) = self.at_mut(picture, y, x).split_at_mut(half);
                for ((plus, minus), &value) in plus.iter_mut().zip(minus).zip(value) {
                    let below = (-value.abs()).exp() - 1.0;
                    *plus = if value < 0.0 { below } else { value };
                    *minus = if value > 0.0 { below } else { -value };
                }
            }
        }
    }

    /// Appends the pixel at (y, x) of a picture, zeros when it lies outside.
    fn push(&self, picture: usize, y: isize, x: isize, to: &mut Vec<f32>) {
        let inside = |at: isize| usize::try_from(at).ok().filter(|&at| at < self.side);
        match (inside(y), inside(x)) {
            (Some(y), Some(x)) => to.extend(self.at(picture, y, x)),
            _ => to.extend(std::iter::repeat_n(0.0, self.channels)),
        }
    }
}

/// Outputs that are computed together.
const LANES: usize = 8;

/// A matrix with a bias, cut into panels of [`LANES`] outputs.
pub(super) struct Dense {
    inputs: usize,
    outputs: usize,
    /// `[⌈outputs / LANES⌉, inputs]`.
    weights: Vec<[f32; LANES]>,
    bias: Vec<[f32; LANES]>,
}

impl Dense {
    /// From `[places, inputs, outputs]` and `[outputs]`; the places' inputs lie side by side.
    pub(super) fn new(kernel: Tensor<3>, bias: Option<Tensor<1>>) -> Self {
        let [places, inputs, outputs] = kernel.dims();
        let inputs = places * inputs;
        let kernel = numbers(kernel);
        let bias = bias.map_or_else(|| vec![0.0; outputs], numbers);
        let panel = |row: &[f32], panel: usize| {
            let mut lanes = [0.0; LANES];
            let row = &row[panel * LANES..outputs.min((panel + 1) * LANES)];
            lanes[..row.len()].copy_from_slice(row);
            lanes
        };
        let panels = outputs.div_ceil(LANES);
        let rows = |at: usize| kernel.chunks(outputs).map(move |row| panel(row, at));
        Self {
            inputs,
            outputs,
            weights: (0..panels).flat_map(rows).collect(),
            bias: (0..panels).map(|at| panel(&bias, at)).collect(),
        }
    }

    /// `[rows, inputs]` to `[rows, outputs]`.
    ///
    /// The terms of a sum are always added in the same order, so that a row's result does not depend on its company.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        const ROWS: usize = 4;
        let rows = x.len() / self.inputs;
        let mut y = vec![0.0; rows * self.outputs];
        let panels = self.weights.chunks(self.inputs).zip(&self.bias);
        for (panel, (weights, bias)) in panels.enumerate() {
            let lanes = panel * LANES..self.outputs.min((panel + 1) * LANES);
            let mut put = |row: usize, sums: &[f32; LANES]| {
                y[row * self.outputs..][lanes.clone()].copy_from_slice(&sums[..lanes.len()]);
            };
            let row = |row: usize| &x[row * self.inputs..][..self.inputs];
            let whole = rows / ROWS * ROWS;
            for first in (0..whole).step_by(ROWS) {
                let inputs: [&[f32]; ROWS] = std::array::from_fn(|r| row(first + r));
                let mut sums = [*bias; ROWS];
                for (i, weights) in weights.iter().enumerate() {
                    for (sums, input) in sums.iter_mut().zip(inputs) {
                        add_scaled(sums, input[i], weights);
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    put(first + r, sums);
                }
            }
            for at in whole..rows {
                let mut sums = *bias;
                for (input, weights) in row(at).iter().zip(weights) {
                    add_scaled(&mut sums, *input, weights);
                }
                put(at, &sums);
            }
        }
        y
    }
}

fn add_scaled(sums: &mut [f32; LANES], factor: f32, weights: &[f32; LANES]) {
    for (sum, weight) in sums.iter_mut().zip(weights) {
        *sum += factor * weight;
    }
}

/// A convolution.
pub(super) struct Taps {
    places: Vec<[isize; 2]>,
    dense: Dense,
}

impl Taps {
    pub(super) fn new(conv: &Conv) -> Self {
        Self {
            places: conv.places().collect(),
            dense: Dense::new(conv.kernel(), Some(conv.bias())),
        }
    }

    pub(super) fn apply(&self, from: &Plane, y: usize, columns: &[usize]) -> Vec<f32> {
        let mut x = Vec::new();
        for picture in 0..from.pictures {
            for &column in columns {
                for [dy, dx] in &self.places {
                    from.push(picture, y as isize + dy, column as isize + dx, &mut x);
                }
            }
        }
        self.dense.apply(&x)
    }

    /// Adds the convolution's result, moved down and to the right; nothing, not even its bias, comes from outside.
    pub(super) fn add_moved(
        &self,
        from: &Plane,
        y: usize,
        columns: &[usize],
        [lines, right]: [usize; 2],
        sum: &mut [f32],
    ) {
        let Some(y) = y.checked_sub(lines) else {
            return;
        };
        for (at, &column) in columns.iter().enumerate() {
            let Some(column) = column.checked_sub(right) else {
                continue;
            };
            let result = self.apply(from, y, &[column]);
            for (picture, result) in result.chunks(self.dense.outputs).enumerate() {
                let at = (picture * columns.len() + at) * self.dense.outputs;
                for (sum, result) in sum[at..].iter_mut().zip(result) {
                    *sum += result;
                }
            }
        }
    }
}

/// A transposed convolution with stride 2.
pub(super) struct Doubling {
    /// For even and odd lines, for even and odd columns: the dx of the sources, and their weights.
    phases: [[(Vec<usize>, Dense); 2]; 2],
}

impl Doubling {
    pub(super) fn new(conv: &TransposedConv) -> Self {
        let kernel = conv.kernel();
        let phases = [0, 1].map(|line| {
            [false, true].map(|odd| {
                let (places, offsets) = conv
                    .sources(odd)
                    .iter()
                    .map(|&(column, dx)| {
                        let place = line * conv.columns() + column;
                        (kernel.clone().narrow(0, place, 1), dx)
                    })
                    .unzip::<_, _, Vec<_>, Vec<_>>();
                let dense = Dense::new(Tensor::cat(places, 0), Some(conv.bias()));
                (offsets, dense)
            })
        });
        Self { phases }
    }

    pub(super) fn apply(&self, from: &Plane, y: usize, columns: &[usize]) -> Vec<f32> {
        let mut result = Vec::new();
        let mut x = Vec::new();
        for picture in 0..from.pictures {
            for &column in columns {
                let (offsets, dense) = &self.phases[y % 2][column % 2];
                x.clear();
                for dx in offsets {
                    from.push(
                        picture,
                        (y / 2) as isize,
                        (column / 2 + dx) as isize,
                        &mut x,
                    );
                }
                result.extend(dense.apply(&x));
            }
        }
        result
    }
}

/// A gated residual block.
pub(super) struct Block {
    input: Taps,
    skip: Option<Dense>,
    places: Vec<[isize; 2]>,
    output: Dense,
    /// What the condition adds for each picture, `[pictures, 2·filters]`.
    condition: Vec<f32>,
    /// What the second convolution reads: the concat-ELU of the first one's result.
    inner: Plane,
}

impl Block {
    pub(super) fn new(block: &GatedBlock, condition: &Tensor<2>, inner: Plane) -> Self {
        let skip = |conv: &Conv| Dense::new(conv.kernel(), Some(conv.bias()));
        Self {
            input: Taps::new(&block.input),
            skip: block.skip.as_ref().map(skip),
            places: block.output.places().collect(),
            output: Dense::new(block.output.kernel(), None),
            condition: numbers(block.bias(condition)),
            inner,
        }
    }

    pub(super) fn apply<'a>(
        &mut self,
        value: &Plane,
        elu: &Plane,
        skips: impl Iterator<Item = &'a Plane> + Clone,
        y: usize,
        columns: &[usize],
    ) -> Vec<f32> {
        let mut first = self.input.apply(elu, y, columns);
        let pictures = value.pictures;
        if let Some(skip) = &self.skip {
            let mut x = Vec::new();
            for picture in 0..pictures {
                for &column in columns {
                    skips
                        .clone()
                        .for_each(|skip| x.extend(skip.at(picture, y, column)));
                }
            }
            for (first, skip) in first.iter_mut().zip(skip.apply(&x)) {
                *first += skip;
            }
        }
        self.inner.write_concat_elu(y, columns, &first);

        let mut x = Vec::new();
        for picture in 0..pictures {
            for &column in columns {
                for [dy, dx] in &self.places {
                    self.inner
                        .push(picture, y as isize + dy, column as isize + dx, &mut x);
                }
            }
        }
        let filters = value.channels;
        let second = self.output.apply(&x);
        let mut second = second.chunks(2 * filters);
        let mut result = Vec::with_capacity(second.len() * filters);
        for (picture, bias) in self.condition.chunks(2 * filters).enumerate() {
            for (&column, second) in columns.iter().zip(&mut second) {
                let sum = |i: usize| second[i] + bias[i];
                let old = value.at(picture, y, column);
                result.extend(
                    (0..filters).map(|i| old[i] + sum(i) / (1.0 + (-sum(filters + i)).exp())),
                );
            }
        }
        result
    }
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .expect("the data was just converted to f32")
}
