//! The image generator: PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517), which paints a small picture from what the text
//! says, pixel by pixel in reading order; every block is conditioned on the pooled text.
//!
//! Two streams run through the network: `u` knows the lines above a pixel, `ul` also the pixels to its left. Both are
//! halved twice and doubled twice, with skip connections across.
//!
//! All convolutions are matrix products of shifted views (see `grid.rs`), since training is to be bearable on a CPU. On Flex a
//! block of 24 filters (40 pictures, forward and backward, one core, memory at hand) took 141 ms that way, 239 ms when the
//! views were gathered for a single product, and 229 ms with `conv2d`.

mod block;
mod conv;
mod grid;
pub mod mixture;
mod sampler;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

pub use self::sampler::Sampling;

use self::block::GatedBlock;
use self::conv::{Conv, TransposedConv};
use self::grid::{Activation, Grid};
use crate::validate::{self, ConfigError};

/// The side of the pictures that are painted, in pixels.
pub const SIDE: usize = 32;

/// The paper's three resolutions; a side is halved between them.
const LEVELS: usize = 3;

/// Pictures that best go through the network together on a CPU: the numbers of a layer for more of them outgrow its caches.
pub const MICROBATCH: usize = 10;

/// Sizes of a [`PixelCnn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelCnnConfig {
    /// Residual blocks of a stage; 5 in the paper, whose pictures are 32 × 32.
    pub blocks: usize,
    /// Channels of a layer; 80 in the original of MuSE.
    pub filters: usize,
    /// Logistics that a pixel's distribution is mixed from; 10 in the paper.
    pub mixtures: usize,
    /// Dropout of channels in the residual blocks, in training; 0.5 in the paper.
    #[serde(default = "half")]
    pub dropout: f64,
}

impl PixelCnnConfig {
    /// Checks the sizes, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::range("blocks", self.blocks, 1..=64)?;
        validate::range("filters", self.filters, 1..=1 << 11)?;
        validate::range("mixtures", self.mixtures, 1..=256)?;
        validate::dropout("dropout", self.dropout)
    }
}

fn half() -> f64 {
    0.5
}

/// The network.
#[derive(Module, Debug)]
pub struct PixelCnn {
    u_first: Conv,
    ul_first_above: Conv,
    ul_first_left: Conv,
    /// From the finest resolution to the coarsest.
    down: Vec<Stage>,
    u_halve: Vec<Conv>,
    ul_halve: Vec<Conv>,
    /// From the coarsest resolution to the finest.
    up: Vec<Stage>,
    u_double: Vec<TransposedConv>,
    ul_double: Vec<TransposedConv>,
    last: Conv,
}

/// What dropout multiplies the channels of each block with, in the order in which the blocks run.
pub(crate) type DropoutMasks = Vec<Option<Tensor<3>>>;

/// The blocks of one resolution on one side, of both streams.
#[derive(Module, Debug)]
struct Stage {
    u: Vec<GatedBlock>,
    ul: Vec<GatedBlock>,
}

const U_KERNEL: [usize; 2] = [2, 3];
const UL_KERNEL: [usize; 2] = [2, 2];

impl PixelCnn {
    /// A network with random weights, conditioned on vectors of `condition_width` numbers.
    pub fn new(config: &PixelCnnConfig, condition_width: usize, device: &Device) -> Self {
        let filters = config.filters;
        let stage = |blocks: usize, u_skips: usize, ul_skips: usize| {
            let stream = |kernel: [usize; 2], skips: usize| {
                let block = |_| {
                    let dropout = config.dropout;
                    GatedBlock::new(kernel, filters, skips, condition_width, dropout, device)
                };
                (0..blocks).map(block).collect()
            };
            Stage {
                u: stream(U_KERNEL, u_skips),
                ul: stream(UL_KERNEL, ul_skips),
            }
        };
        let halve = |kernel| {
            let conv = |_| Conv::new(kernel, filters, filters, device);
            (1..LEVELS).map(conv).collect()
        };
        let double = |columns| {
            let conv = |_| TransposedConv::new(columns, filters, filters, device);
            (1..LEVELS).map(conv).collect()
        };
        let first = |kernel| Conv::new(kernel, 3 + 1, filters, device);
        Self {
            u_first: first([2, 3]),
            ul_first_above: first([1, 3]),
            ul_first_left: first([2, 1]),
            down: (0..LEVELS).map(|_| stage(config.blocks, 0, 1)).collect(),
            u_halve: halve(U_KERNEL),
            ul_halve: halve(UL_KERNEL),
            up: (0..LEVELS)
                .map(|level| stage(config.blocks + usize::from(level > 0), 1, 2))
                .collect(),
            u_double: double(3),
            ul_double: double(2),
            last: Conv::new([1, 1], filters, mixture::NUMBERS * config.mixtures, device),
        }
    }

    /// For each pixel the numbers of its distribution, given the pixels before it in reading order.
    ///
    /// # Shapes
    ///
    /// - `pixels`: `[B, 3, S, S]`, x/127.5 − 1; S is a multiple of 4
    /// - `condition`: `[B, d]`
    /// - returns `[B, 10·mixtures, S, S]`, as [`mixture::negative_log_likelihood`] takes them
    pub fn forward(&self, pixels: Tensor<4>, condition: Tensor<2>) -> Tensor<4> {
        let dropout = self.dropout_masks(pixels.dims()[0], &pixels.device());
        let logits = self.run(pixels, condition, dropout, |_, _, _| {});
        logits.permute([0, 3, 1, 2])
    }

    /// Mean nats of a sub-pixel for each picture, `[B]`; divided by ln 2 that is bits per dimension. Shapes as in
    /// [`Self::forward`].
    pub fn losses(&self, pixels: Tensor<4>, condition: Tensor<2>) -> Tensor<1> {
        let dropout = self.dropout_masks(pixels.dims()[0], &pixels.device());
        self.losses_with(pixels, condition, dropout)
    }

    /// [`Self::losses`] with a dropout that was drawn before.
    pub(crate) fn losses_with(
        &self,
        pixels: Tensor<4>,
        condition: Tensor<2>,
        dropout: DropoutMasks,
    ) -> Tensor<1> {
        let [batch, colours, height, width] = pixels.dims();
        let logits = self.run(pixels.clone(), condition, dropout, |_, _, _| {});
        let numbers = logits.dims()[3];
        let count = batch * height * width;
        let pixels = pixels.permute([0, 2, 3, 1]).reshape([count, colours]);
        mixture::negative_log_likelihood(logits.reshape([count, numbers]), pixels)
            .reshape([batch, height * width])
            .sum_dim(1)
            .squeeze_dim::<1>(1)
            / (colours * height * width) as f32
    }

    /// L_ti: mean nats of a sub-pixel, `[1]`. Shapes as in [`Self::forward`].
    pub fn loss(&self, pixels: Tensor<4>, condition: Tensor<2>) -> Tensor<1> {
        self.losses(pixels, condition).mean()
    }

    /// Draws the dropout of a batch.
    pub(crate) fn dropout_masks(&self, batch: usize, device: &Device) -> DropoutMasks {
        let stages = self.down.iter().chain(&self.up);
        stages
            .flat_map(|stage| stage.u.iter().zip(&stage.ul))
            .flat_map(|(u, ul)| {
                [
                    u.dropout_mask(batch, device),
                    ul.dropout_mask(batch, device),
                ]
            })
            .collect()
    }

    /// What each stage gives, `[B, H, W, filters]` under its name: for tests and figures. Shapes as in [`Self::forward`].
    pub fn stages(&self, pixels: Tensor<4>, condition: Tensor<2>) -> Vec<(String, Tensor<4>)> {
        let mut stages = Vec::new();
        let dropout = self.dropout_masks(pixels.dims()[0], &pixels.device());
        self.run(pixels, condition, dropout, |name, x, grid| {
            stages.push((name.to_owned(), grid.disclose(x.clone())));
        });
        stages
    }

    /// [`Self::forward`] with the channels last, `[B, S, S, 10·mixtures]`, showing `observe` the name of every stage, the
    /// values of its stream and their grid.
    fn run(
        &self,
        pixels: Tensor<4>,
        condition: Tensor<2>,
        dropout: DropoutMasks,
        mut observe: impl FnMut(&str, &Tensor<2>, &Grid),
    ) -> Tensor<4> {
        let [batch, _, height, width] = pixels.dims();
        let mut dropout = dropout.into_iter();
        let mut next_mask = || dropout.next().flatten();
        let mut grid = Grid::new(batch, height, width, &pixels.device());
        // The constant channel tells the first layers where the picture ends.
        let colours = grid.enclose(pixels.permute([0, 2, 3, 1]));
        let x = Tensor::cat(vec![colours, grid.inside.clone()], 1);

        let first = |conv: &Conv, lines, columns| {
            let y = grid.clear(conv.forward(x.clone(), &grid));
            grid.shift(y, lines, columns)
        };
        let mut u = Activation::new(first(&self.u_first, 1, 0));
        let ul = first(&self.ul_first_above, 1, 0) + first(&self.ul_first_left, 0, 1);
        let mut ul = Activation::new(ul);
        observe("first.u", &u.value, &grid);
        observe("first.ul", &ul.value, &grid);

        let mut saved = vec![(u.clone(), ul.clone())];
        for (level, stage) in self.down.iter().enumerate() {
            for (u_block, ul_block) in stage.u.iter().zip(&stage.ul) {
                u = u_block.forward(&u, &[], &condition, next_mask(), &grid);
                ul = ul_block.forward(&ul, &[&u], &condition, next_mask(), &grid);
                saved.push((u.clone(), ul.clone()));
            }
            observe(&format!("down.{level}.u"), &u.value, &grid);
            observe(&format!("down.{level}.ul"), &ul.value, &grid);
            if level + 1 < LEVELS {
                let half = grid.scaled(1, 2);
                let halve = |conv: &Conv, x: &Activation| {
                    let y = conv.forward_halving(x.value.clone(), &grid, &half);
                    Activation::new(half.clear(y))
                };
                u = halve(&self.u_halve[level], &u);
                ul = halve(&self.ul_halve[level], &ul);
                grid = half;
                observe(&format!("halve.{level}.u"), &u.value, &grid);
                observe(&format!("halve.{level}.ul"), &ul.value, &grid);
                saved.push((u.clone(), ul.clone()));
            }
        }

        saved.pop(); // it is what the way up begins with
        for (level, stage) in self.up.iter().enumerate() {
            for (u_block, ul_block) in stage.u.iter().zip(&stage.ul) {
                let Some((u_skip, ul_skip)) = saved.pop() else {
                    unreachable!("the way up has as many blocks as the way down has saved layers");
                };
                u = u_block.forward(&u, &[&u_skip], &condition, next_mask(), &grid);
                ul = ul_block.forward(&ul, &[&u, &ul_skip], &condition, next_mask(), &grid);
            }
            observe(&format!("up.{level}.u"), &u.value, &grid);
            observe(&format!("up.{level}.ul"), &ul.value, &grid);
            if level + 1 < LEVELS {
                let twice = grid.scaled(2, 1);
                let double = |conv: &TransposedConv, x: &Activation| {
                    let y = conv.forward(x.value.clone(), &grid, &twice);
                    Activation::new(twice.clear(y))
                };
                u = double(&self.u_double[level], &u);
                ul = double(&self.ul_double[level], &ul);
                grid = twice;
                observe(&format!("double.{level}.u"), &u.value, &grid);
                observe(&format!("double.{level}.ul"), &ul.value, &grid);
            }
        }
        let logits = self.last.forward_parts(&[&ul.plain_elu()]);
        grid.disclose(logits)
    }
}

/// A colour's value 0..=255 as the network takes it, −1..=1.
pub fn to_unit(value: u8) -> f32 {
    f32::from(value) / 127.5 - 1.0
}

/// A number of the network, −1..=1, as a colour's value 0..=255.
pub fn from_unit(value: f32) -> u8 {
    ((value + 1.0) * 127.5).round() as u8 // saturates
}
