//! Convolutions of feature maps whose channels lie side by side (NHWC).

use crate::lanes::add_products;
use crate::linear::Activation;
use crate::threads::split;
use crate::tier::tiered;

/// A feature map's height, width and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

impl Shape {
    /// Checks that a map has a number for each channel of a pixel.
    fn check(self, map: &[f32]) {
        let numbers = self.height * self.width * self.channels;
        assert_eq!(map.len(), numbers, "a number for each channel of a pixel");
    }
}

/// Which pixels a convolution reads: a square window that moves in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its side.
    pub kernel: usize,
    /// Its step.
    pub stride: usize,
    /// Zeros above and to the left of the map; below and to the right are as many as are needed.
    pub before: [usize; 2],
    /// Height and width of the result.
    pub out: [usize; 2],
}

/// A filter of its own for each channel, with a bias.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// `[kernel · kernel][channels]`
    pub weights: Vec<f32>,
    /// `[channels]`
    pub bias: Vec<f32>,
}

impl Depthwise {
    /// `activation(map ∗ weights + bias)`, `[out height][out width][channels]`.
    ///
    /// # Panics
    ///
    /// When a length does not fit.
    pub fn convolve(
        &self,
        tier: crate::Tier,
        map: &[f32],
        shape: Shape,
        window: Window,
        activation: Activation,
        out: &mut [f32],
    ) {
        let channels = shape.channels;
        shape.check(map);
        assert_eq!(
            self.weights.len(),
            window.kernel * window.kernel * channels,
            "a weight for each"
        );
        assert_eq!(self.bias.len(), channels, "a bias for each channel");
        assert_eq!(
            out.len(),
            window.out[0] * window.out[1] * channels,
            "as large as the window says"
        );
        let steps = window.kernel * window.kernel * channels;
        split(out, channels, steps, |first, out| {
            depthwise(tier, self, map, shape, window, activation, first, out);
        });
    }
}

tiered! {
    fn depthwise(layer: &Depthwise, map: &[f32], shape: Shape, window: Window, activation: Activation, first: usize, out: &mut [f32])
        = depthwise_plain;
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // those of the macro
fn depthwise_plain(
    layer: &Depthwise,
    map: &[f32],
    shape: Shape,
    window: Window,
    activation: Activation,
    first: usize,
    out: &mut [f32],
) {
    match shape.channels {
        channels if channels.is_multiple_of(16) => {
            in_chunks::<16>(layer, map, shape, window, activation, first, out);
        }
        _ => in_chunks::<1>(layer, map, shape, window, activation, first, out),
    }
}

/// Pixels from the `first` on, so many channels at a time.
#[inline(always)]
fn in_chunks<const L: usize>(
    layer: &Depthwise,
    map: &[f32],
    shape: Shape,
    window: Window,
    activation: Activation,
    first: usize,
    out: &mut [f32],
) {
    let chunks = shape.channels / L;
    let (map, _) = map.as_chunks::<L>();
    let (weights, _) = layer.weights.as_chunks::<L>();
    let (bias, _) = layer.bias.as_chunks::<L>();
    let (out, _) = out.as_chunks_mut::<L>();
    for (index, pixel) in out.chunks_exact_mut(chunks.max(1)).enumerate() {
        let (y, x) = (
            (first + index) / window.out[1],
            (first + index) % window.out[1],
        );
        let columns = reach(x, window.before[1], shape.width, window);
        let left = x * window.stride + columns.start - window.before[1];
        // Where the window's lines begin on the map and among the weights.
        let lines = reach(y, window.before[0], shape.height, window).map(|ky| {
            let line = (y * window.stride + ky - window.before[0]) * shape.width + left;
            (line * chunks, (ky * window.kernel + columns.start) * chunks)
        });
        for (chunk, pixel) in pixel.iter_mut().enumerate() {
            let mut sums = bias[chunk];
            for (line, weight) in lines.clone() {
                let (mut line, mut weight) = (line + chunk, weight + chunk);
                for _ in columns.clone() {
                    add_products(&mut sums, &map[line], &weights[weight]);
                    line += chunks;
                    weight += chunks;
                }
            }
            activation.apply(&mut sums);
            *pixel = sums;
        }
    }
}

/// The part of the window that lies on the map, along an axis of `size` pixels.
#[inline(always)]
fn reach(at: usize, before: usize, size: usize, window: Window) -> std::ops::Range<usize> {
    let start = at * window.stride;
    let first = before.saturating_sub(start);
    let end = (size + before).saturating_sub(start).min(window.kernel);
    first.min(end)..end
}

/// The largest number of each channel in a window, of those on the map.
///
/// # Panics
///
/// When a length does not fit.
pub fn max_pool(map: &[f32], shape: Shape, window: Window) -> Vec<f32> {
    let Shape {
        height,
        width,
        channels,
    } = shape;
    shape.check(map);
    let mut out = vec![f32::NEG_INFINITY; window.out[0] * window.out[1] * channels];
    for (index, pixel) in out.chunks_exact_mut(channels.max(1)).enumerate() {
        let (y, x) = (index / window.out[1], index % window.out[1]);
        for ky in reach(y, window.before[0], height, window) {
            let row = (y * window.stride + ky - window.before[0]) * width;
            for kx in reach(x, window.before[1], width, window) {
                let from = (row + x * window.stride + kx - window.before[1]) * channels;
                for (most, value) in pixel.iter_mut().zip(&map[from..from + channels]) {
                    *most = most.max(*value);
                }
            }
        }
    }
    out
}

/// Each pixel's window as a row of `kernel · kernel · channels` numbers, zeros beside the map: what a convolution over all channels
/// multiplies by its weights.
///
/// # Panics
///
/// When a length does not fit.
pub fn patches(map: &[f32], shape: Shape, window: Window, out: &mut Vec<f32>) {
    let Shape {
        height,
        width,
        channels,
    } = shape;
    shape.check(map);
    let size = window.kernel * window.kernel * channels;
    out.clear();
    out.resize(window.out[0] * window.out[1] * size, 0.0);
    for (index, patch) in out.chunks_exact_mut(size.max(1)).enumerate() {
        let (y, x) = (index / window.out[1], index % window.out[1]);
        let columns = reach(x, window.before[1], width, window);
        for ky in reach(y, window.before[0], height, window) {
            let row = (y * window.stride + ky - window.before[0]) * width;
            let first = row + x * window.stride + columns.start - window.before[1];
            let from = first * channels..(first + columns.len()) * channels;
            let to = (ky * window.kernel + columns.start) * channels;
            patch[to..to + from.len()].copy_from_slice(&map[from]);
        }
    }
}
