//! Painting: pixels are drawn one after the other, and each layer computes a pixel once.
//!
//! A full pass for each of the 1024 pixels would compute the same numbers over and over. Here every layer keeps what it
//! has computed (Ramachandran et al. 2017, arXiv:1704.06001): the stream `u`, which knows only the lines above, advances a
//! line at a time, the stream `ul` a pixel at a time, and a layer of a lower resolution only when the first of its pixel's
//! pixels is due. All in all that is the work of one pass.
//!
//! It runs on the host, in f32: a layer's share of a pixel is far too small to be worth a call of a device, let alone of a
//! GPU. The weights are read from the device synchronously, which WebGPU does not allow.

mod layers;
#[cfg(test)]
mod tests;

use std::ops::Range;

use burn::tensor::Tensor;

use self::layers::{Block, Dense, Doubling, Plane, Taps};
use super::conv::Conv;
use super::mixture::draw;
use super::{LEVELS, PixelCnn, to_unit};

/// What a layer does.
enum Operation {
    /// Convolutions of the pixels, each moved by so many lines and columns.
    First(Vec<(Taps, [usize; 2])>),
    Halve(Taps),
    Double(Doubling),
    /// With the layers that it skips to.
    Block(Block, Vec<usize>),
}

struct Layer {
    /// The layer's pixel stands for 2^level × 2^level of the picture's.
    level: usize,
    /// Whether it belongs to the stream `ul`.
    left: bool,
    operation: Operation,
    /// The layer that it reads first.
    input: usize,
    /// What it gives, and the concat-ELU of it.
    value: Plane,
    elu: Plane,
}

/// The network in the middle of painting `pictures` pictures.
pub(super) struct Sampler {
    pictures: usize,
    /// The pixels so far, and the constant channel.
    pixels: Plane,
    layers: Vec<Layer>,
    /// The last layer of `ul`, from which the logits are made.
    last: usize,
    logits: Dense,
}

/// What pictures are drawn with. Each has random numbers of its own, of the seed and its number alone: the first pictures of
/// many are those of few, in however many parts they are painted.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Scales the noise that the mixture's logistic and the value within it are drawn with: 1 is the network's own
    /// distribution, 0 always takes the likeliest logistic and its mean.
    pub temperature: f64,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Number of the first picture.
    pub first: usize,
}

impl PixelCnn {
    /// Paints a picture for each row of `condition`, `[n, d]`: `[side, side, 3]` values 0..=255, row-major. `side` is a
    /// multiple of 4. After each line `progress` is called.
    ///
    /// Reads the weights synchronously: not for WebGPU.
    pub fn sample(
        &self,
        condition: Tensor<2>,
        side: usize,
        sampling: Sampling,
        mut progress: impl FnMut(),
    ) -> Vec<Vec<u8>> {
        let mut sampler = Sampler::new(self, condition, side);
        let mut random: Vec<Random> = (sampling.first..sampling.first + sampler.pictures)
            .map(|picture| Random::new(sampling.seed, picture as u64))
            .collect();
        let mut pictures = vec![Vec::with_capacity(3 * side * side); sampler.pictures];
        for y in 0..side {
            for x in 0..side {
                let logits = sampler.logits(y, x);
                let numbers = logits.len() / pictures.len().max(1);
                for (at, picture) in pictures.iter_mut().enumerate() {
                    let logits = &logits[at * numbers..][..numbers];
                    let colours = draw(logits, sampling.temperature, || random[at].uniform());
                    sampler.put(at, y, x, colours.map(to_unit));
                    picture.extend(colours);
                }
            }
            progress();
        }
        pictures
    }
}

impl Sampler {
    pub(super) fn new(net: &PixelCnn, condition: Tensor<2>, side: usize) -> Self {
        let pictures = condition.dims()[0];
        let filters = net.last.inputs();
        let plane = |level: usize, channels| Plane::new(pictures, side >> level, channels);
        let mut layers: Vec<Layer> = Vec::new();
        let mut add = |level: usize, left: bool, operation, input| {
            layers.push(Layer {
                level,
                left,
                operation,
                input,
                value: plane(level, filters),
                elu: plane(level, 2 * filters),
            });
            layers.len() - 1
        };
        let block = |block, level| Block::new(block, &condition, plane(level, 2 * filters));

        // As in `PixelCnn::run`.
        let first = |conv: &Conv, by| (Taps::new(conv), by);
        let above = first(&net.ul_first_above, [1, 0]);
        let left = first(&net.ul_first_left, [0, 1]);
        let mut u = add(
            0,
            false,
            Operation::First(vec![first(&net.u_first, [1, 0])]),
            0,
        );
        let mut ul = add(0, true, Operation::First(vec![above, left]), 0);
        let mut saved = vec![(u, ul)];
        for (level, stage) in net.down.iter().enumerate() {
            for (u_block, ul_block) in stage.u.iter().zip(&stage.ul) {
                u = add(
                    level,
                    false,
                    Operation::Block(block(u_block, level), vec![]),
                    u,
                );
                ul = add(
                    level,
                    true,
                    Operation::Block(block(ul_block, level), vec![u]),
                    ul,
                );
                saved.push((u, ul));
            }
            if level + 1 < LEVELS {
                let halve = |conv: &Conv| Operation::Halve(Taps::new(conv));
                u = add(level + 1, false, halve(&net.u_halve[level]), u);
                ul = add(level + 1, true, halve(&net.ul_halve[level]), ul);
                saved.push((u, ul));
            }
        }
        saved.pop();
        for (step, stage) in net.up.iter().enumerate() {
            let level = LEVELS - 1 - step;
            for (u_block, ul_block) in stage.u.iter().zip(&stage.ul) {
                let Some((u_skip, ul_skip)) = saved.pop() else {
                    unreachable!("the way up has as many blocks as the way down has saved layers");
                };
                u = add(
                    level,
                    false,
                    Operation::Block(block(u_block, level), vec![u_skip]),
                    u,
                );
                let skips = vec![u, ul_skip];
                ul = add(
                    level,
                    true,
                    Operation::Block(block(ul_block, level), skips),
                    ul,
                );
            }
            if level > 0 {
                let double = |conv| Operation::Double(Doubling::new(conv));
                u = add(level - 1, false, double(&net.u_double[step]), u);
                ul = add(level - 1, true, double(&net.ul_double[step]), ul);
            }
        }
        let mut pixels = Plane::new(pictures, side, 4);
        pixels.fill_channel(3, 1.0);
        Self {
            pictures,
            pixels,
            layers,
            last: ul,
            logits: Dense::new(net.last.kernel(), Some(net.last.bias())),
        }
    }

    /// The logits of a pixel of each picture, `[n, 10·mixtures]`. Pixels are asked for in reading order, each after those
    /// before it were [`put`](Self::put).
    pub(super) fn logits(&mut self, y: usize, x: usize) -> Vec<f32> {
        if x == 0 {
            self.advance(false, y, 0..self.pixels.side);
        }
        self.advance(true, y, x..x + 1);
        let value = &self.layers[self.last].value;
        let elu: Vec<f32> = (0..self.pictures)
            .flat_map(|picture| value.at(picture, y, x))
            .map(|&v| if v > 0.0 { v } else { v.exp_m1() })
            .collect();
        self.logits.apply(&elu)
    }

    /// The colours of a picture's pixel, −1..=1.
    pub(super) fn put(&mut self, picture: usize, y: usize, x: usize, colours: [f32; 3]) {
        self.pixels.at_mut(picture, y, x)[..3].copy_from_slice(&colours);
    }

    /// Computes the pixels `columns` of line `y` in all layers of a stream that are due.
    fn advance(&mut self, left: bool, y: usize, columns: Range<usize>) {
        for at in 0..self.layers.len() {
            let (before, rest) = self.layers.split_at_mut(at);
            let layer = &mut rest[0];
            let scale = 1 << layer.level;
            if layer.left != left || !y.is_multiple_of(scale) {
                continue;
            }
            let columns: Vec<usize> = columns
                .clone()
                .filter(|x| x.is_multiple_of(scale))
                .map(|x| x / scale)
                .collect();
            if !columns.is_empty() {
                layer.compute(before, &self.pixels, y / scale, &columns);
            }
        }
    }
}

impl Layer {
    fn compute(&mut self, before: &[Layer], pixels: &Plane, y: usize, columns: &[usize]) {
        let result = match &mut self.operation {
            Operation::First(convs) => {
                let mut sum = vec![0.0; self.value.len_at(columns)];
                for (taps, by) in convs {
                    taps.add_moved(pixels, y, columns, *by, &mut sum);
                }
                sum
            }
            Operation::Halve(taps) => {
                let doubled: Vec<usize> = columns.iter().map(|x| 2 * x).collect();
                taps.apply(&before[self.input].value, 2 * y, &doubled)
            }
            Operation::Double(doubling) => doubling.apply(&before[self.input].value, y, columns),
            Operation::Block(block, skips) => {
                let input = &before[self.input];
                let skips = skips.iter().map(|&skip| &before[skip].elu);
                block.apply(&input.value, &input.elu, skips, y, columns)
            }
        };
        self.elu.write_concat_elu(y, columns, &result);
        self.value.write(y, columns, &result);
    }
}

/// SplitMix64 (Steele, Lea & Flood 2014): the random numbers of one picture.
struct Random(u64);

impl Random {
    fn new(seed: u64, picture: u64) -> Self {
        let mut random = Self(seed);
        // The seeds of neighbours differ in all bits.
        random.0 = random.next() ^ picture.wrapping_mul(0xd134_2543_de82_ef95);
        Self(random.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Strictly between 0 and 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}
