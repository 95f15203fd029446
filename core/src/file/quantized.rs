//! Weights of 8 bits: whole numbers from -127 to 127, times a scale for each row or column.

use std::fmt;

use muse_kernels::{Packed, Scale, Table};

use crate::weights::NamedTensor;

/// A tensor as `data × scale`, the scale running along one axis.
pub(super) struct Quantized {
    /// The axis that the scale runs along.
    pub(super) axis: usize,
    /// One for each index of that axis.
    pub(super) scale: Vec<f32>,
    /// Row-major, in the tensor's shape.
    pub(super) data: Vec<i8>,
}

impl Quantized {
    /// The closest form (least squares) with a scale along the first or, for a matrix, the second axis: embeddings have
    /// rows of very different size, a linear layer `[in, out]` more often columns.
    ///
    /// # Panics
    /// When the tensor has no axis.
    pub(super) fn nearest(tensor: &NamedTensor) -> Self {
        let first = Self::along(tensor, 0);
        if tensor.shape.len() != 2 {
            return first;
        }
        let second = Self::along(tensor, 1);
        if second.error(tensor) < first.error(tensor) {
            second
        } else {
            first
        }
    }

    fn along(tensor: &NamedTensor, axis: usize) -> Self {
        let (extent, inner) = (tensor.shape[axis], inner(&tensor.shape, axis));
        let mut largest = vec![0.0_f32; extent];
        for (run, values) in tensor.data.chunks_exact(inner).enumerate() {
            let largest = &mut largest[run % extent];
            *largest = values.iter().fold(*largest, |max, x| max.max(x.abs()));
        }
        let scale: Vec<f32> = largest.iter().map(|max| max / 127.0).collect();
        let mut data = Vec::with_capacity(tensor.data.len());
        for (run, values) in tensor.data.chunks_exact(inner).enumerate() {
            // A row of zeros, or of numbers too small to divide by: zeros.
            let inverse = Some(1.0 / scale[run % extent]).filter(|x| x.is_finite());
            let inverse = inverse.unwrap_or(0.0);
            data.extend(values.iter().map(|x| (x * inverse).round() as i8));
        }
        Self { axis, scale, data }
    }

    /// Sum of the squared differences.
    fn error(&self, tensor: &NamedTensor) -> f64 {
        let bytes: Vec<u8> = self.data.iter().map(|q| q.cast_unsigned()).collect();
        dequantize(&bytes, &tensor.shape, self.axis, &self.scale)
            .iter()
            .zip(&tensor.data)
            .map(|(read, x)| f64::from(read - x).powi(2))
            .sum()
    }
}

/// A tensor of a file, as it lies there.
pub(crate) struct Whole<'a> {
    pub(crate) shape: Vec<usize>,
    axis: usize,
    scale: Vec<f32>,
    /// Two's complement.
    bytes: &'a [u8],
}

impl fmt::Debug for Whole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "8 bits {:?}", self.shape)
    }
}

impl<'a> Whole<'a> {
    /// Of as many bytes as the shape has elements; the scale runs along `axis`.
    pub(super) fn new(shape: &[usize], axis: usize, scale: Vec<f32>, bytes: &'a [u8]) -> Self {
        Self {
            shape: shape.to_vec(),
            axis,
            scale,
            bytes,
        }
    }

    /// Whether all weights are numbers.
    pub(super) fn is_finite(&self) -> bool {
        self.scale.iter().all(|scale| (scale * 128.0).is_finite())
    }

    /// The axis that the scale runs along.
    pub(crate) fn axis(&self) -> usize {
        self.axis
    }

    /// For each index of that axis.
    pub(crate) fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// An element in row-major order, without its scale.
    pub(crate) fn at(&self, index: usize) -> i8 {
        self.bytes[index].cast_signed()
    }

    /// As floats.
    pub(crate) fn floats(&self) -> Vec<f32> {
        dequantize(self.bytes, &self.shape, self.axis, &self.scale)
    }

    /// A matrix `[in, out]` for products.
    pub(crate) fn packed(&self, bias: Option<&[f32]>) -> Packed {
        let [inputs, outputs] = [self.shape[0], self.shape[1]];
        let scale = match self.axis {
            0 => Scale::Inputs(&self.scale),
            _ => Scale::Outputs(&self.scale),
        };
        let weight = |input: usize, output: usize| self.at(input * outputs + output);
        Packed::new([inputs, outputs], weight, scale, bias)
    }

    /// A matrix as a table of rows.
    pub(crate) fn table(&self) -> Table {
        let weights = self.bytes.iter().map(|byte| byte.cast_signed());
        let by_row = self.axis == 0;
        Table::new(self.shape[1], weights.collect(), by_row, self.scale.clone())
    }
}

/// The axis that a scale of shape `scale` runs along; `None` if it does not fit `shape`.
pub(super) fn axis(shape: &[usize], scale: &[usize]) -> Option<usize> {
    let fits = |axis: usize| {
        let mut expected = vec![1; shape.len()];
        expected[axis] = shape[axis];
        scale == expected
    };
    (0..shape.len()).find(|&axis| fits(axis))
}

/// The weights as f32. `bytes` are the whole numbers, two's complement.
fn dequantize(bytes: &[u8], shape: &[usize], axis: usize, scale: &[f32]) -> Vec<f32> {
    let inner = inner(shape, axis);
    let mut values = Vec::with_capacity(bytes.len());
    if inner == 1 {
        // The scale runs along the last axis: a row at a time.
        for row in bytes.chunks_exact(scale.len().max(1)) {
            let weights = row.iter().zip(scale);
            values.extend(weights.map(|(q, scale)| f32::from(q.cast_signed()) * scale));
        }
    } else {
        for (run, row) in bytes.chunks_exact(inner.max(1)).enumerate() {
            let scale = scale[run % scale.len()];
            values.extend(row.iter().map(|q| f32::from(q.cast_signed()) * scale));
        }
    }
    values
}

/// Elements that one index of `axis` covers without a gap.
fn inner(shape: &[usize], axis: usize) -> usize {
    shape[axis + 1..].iter().product()
}
