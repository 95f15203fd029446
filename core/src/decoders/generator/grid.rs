//! How pictures lie in memory: one row of channels for each pixel, with a border of zeros.
//!
//! A batch of B pictures of H × W pixels is a matrix `[B·(H + 1)·(W + 1), C]`: behind each line of pixels lies one pixel
//! of zeros, below each picture one line of them. That border serves the pixel to its left, the pixel to its right in the
//! next line, and the picture that follows. So the neighbour at (dy, dx) of all pixels at once is the matrix itself,
//! moved by dy·(W + 1) + dx rows, which is a view: a convolution is a few matrix products of views, and their sum.

use burn::tensor::activation::{elu, relu};
use burn::tensor::{Device, Tensor, TensorData};

use crate::layers::learn;

/// The sizes of a batch of bordered pictures.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) batch: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// 1 for a pixel, 0 for the border, `[M, 1]`.
    pub(super) inside: Tensor<2>,
}

impl Grid {
    pub(super) fn new(batch: usize, height: usize, width: usize, device: &Device) -> Self {
        let picture: Vec<f32> = (0..=height)
            .flat_map(|y| (0..=width).map(move |x| f32::from(u8::from(y < height && x < width))))
            .collect();
        let rows = batch * picture.len();
        let inside = TensorData::new(picture.repeat(batch), [rows, 1]);
        Self {
            batch,
            height,
            width,
            inside: Tensor::from_data(inside, device),
        }
    }

    /// The grid whose sides are `numerator / denominator` of this one's.
    pub(super) fn scaled(&self, numerator: usize, denominator: usize) -> Self {
        let side = |side: usize| side * numerator / denominator;
        Self::new(
            self.batch,
            side(self.height),
            side(self.width),
            &self.inside.device(),
        )
    }

    /// Rows of a picture, the border's included.
    pub(super) fn area(&self) -> usize {
        (self.height + 1) * (self.width + 1)
    }

    /// Rows M of the batch.
    pub(super) fn rows(&self) -> usize {
        self.batch * self.area()
    }

    /// Zeros in the border.
    pub(super) fn clear(&self, x: Tensor<2>) -> Tensor<2> {
        x * self.inside.clone()
    }

    /// From `[B, H, W, C]`.
    pub(super) fn enclose(&self, pixels: Tensor<4>) -> Tensor<2> {
        let [batch, height, width, channels] = pixels.dims();
        let device = pixels.device();
        let right = Tensor::zeros([batch, height, 1, channels], &device);
        let below = Tensor::zeros([batch, 1, width + 1, channels], &device);
        Tensor::cat(vec![Tensor::cat(vec![pixels, right], 2), below], 1)
            .reshape([self.rows(), channels])
    }

    /// To `[B, H, W, C]`.
    pub(super) fn disclose(&self, x: Tensor<2>) -> Tensor<4> {
        let channels = x.dims()[1];
        x.reshape([self.batch, self.height + 1, self.width + 1, channels])
            .narrow(1, 0, self.height)
            .narrow(2, 0, self.width)
    }

    /// Every pixel takes what stood `lines` above and `columns` to the left of it; the border must be, and is, zero.
    pub(super) fn shift(&self, x: Tensor<2>, lines: usize, columns: usize) -> Tensor<2> {
        let by = lines * (self.width + 1) + columns;
        let [rows, channels] = x.dims();
        let before = Tensor::zeros([by, channels], &x.device());
        self.clear(Tensor::cat(vec![before, x.narrow(0, 0, rows - by)], 0))
    }
}

/// ELU of `x` and of `-x`, side by side: `[M, C]` to `[M, 2·C]`. Zero stays zero.
pub(super) fn concat_elu(x: Tensor<2>) -> Tensor<2> {
    if let Some(both) = learn::concat_elu(&x) {
        return both;
    }
    // elu(x) = relu(x) + e^(-relu(-x)) - 1: without masks, whose gradients take most of the time. The slope at 0 itself is
    // taken as 0, and only the border is exactly 0.
    let above = relu(x.clone());
    let below = relu(x.neg());
    let plus = above.clone() + below.clone().neg().exp() - 1.0;
    let minus = below + above.neg().exp() - 1.0;
    Tensor::cat(vec![plus, minus], 1)
}

/// What a layer gives, and its [`concat_elu`], which up to three layers read.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    pub(super) value: Tensor<2>,
    pub(super) elu: Tensor<2>,
}

impl Activation {
    pub(super) fn new(value: Tensor<2>) -> Self {
        let elu = concat_elu(value.clone());
        Self { value, elu }
    }

    /// ELU of the value alone.
    pub(super) fn plain_elu(self) -> Tensor<2> {
        elu(self.value, 1.0)
    }
}
