//! Products of matrices of floats: the `gemm` crate's.

use gemm::Parallelism;

/// A matrix in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    values: &'a [f32],
    /// Rows and columns.
    size: [usize; 2],
    /// From a row to the next, and from a column.
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// One of whole rows, row-major.
    ///
    /// # Panics
    ///
    /// When `values` are not rows of `columns`.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        let rows = values.len() / columns.max(1);
        assert_eq!(values.len(), rows * columns, "whole rows");
        Self::of(values, [rows, columns], columns)
    }

    /// One whose rows are `stride` numbers apart.
    pub(super) fn of(values: &'a [f32], size: [usize; 2], stride: usize) -> Self {
        Self {
            values,
            size,
            strides: [stride, 1],
        }
    }

    /// The same with rows for columns.
    pub fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.size, self.strides);
        Self {
            values: self.values,
            size: [columns, rows],
            strides: [column, row],
        }
    }
}

/// Whether the last element of a matrix lies within a slice.
fn fits(length: usize, [rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * row + (columns - 1) * column < length
}

/// The product of two matrices, row-major.
///
/// # Panics
///
/// When one has not as many columns as the other has rows.
pub fn product(left: Matrix<'_>, right: Matrix<'_>) -> Vec<f32> {
    let (rows, columns) = (left.size[0], right.size[1]);
    let mut out = vec![0.0; rows * columns];
    multiply(left, right, &mut out, columns, false, threads());
    out
}

/// `rows · weight + bias`, row-major.
///
/// # Panics
///
/// When the sizes do not fit each other.
pub fn linear(rows: Matrix<'_>, weight: Matrix<'_>, bias: &[f32]) -> Vec<f32> {
    assert_eq!(weight.size[1], bias.len(), "one for each column");
    let mut out = Vec::with_capacity(rows.size[0] * bias.len());
    for _ in 0..rows.size[0] {
        out.extend_from_slice(bias);
    }
    multiply(rows, weight, &mut out, bias.len(), true, threads());
    out
}

fn threads() -> Parallelism {
    match rayon::current_num_threads() {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    }
}

/// Writes `left · right` to `out`, whose rows are `stride` numbers apart, or adds it.
pub(super) fn multiply(
    left: Matrix<'_>,
    right: Matrix<'_>,
    out: &mut [f32],
    stride: usize,
    add: bool,
    parallelism: Parallelism,
) {
    let ([rows, depth], [other, columns]) = (left.size, right.size);
    assert_eq!(depth, other, "as many columns as rows");
    assert!(columns <= stride && fits(out.len(), [rows, columns], [stride, 1]));
    for matrix in [left, right] {
        assert!(fits(matrix.values.len(), matrix.size, matrix.strides));
    }
    if rows == 0 || columns == 0 {
        return;
    }
    let [left_strides, right_strides] =
        [left, right].map(|matrix| matrix.strides.map(|stride| stride as isize));
    // SAFETY: the assertions above say that every element of the three matrices lies within its slice, and rows of `out` do not
    // overlap; it is borrowed for this call alone.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            left.values.as_ptr(),
            left_strides[1],
            left_strides[0],
            right.values.as_ptr(),
            right_strides[1],
            right_strides[0],
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A convolution over rows: the sum over places p of each row's neighbour `offsets[p]` rows on, times `kernel[p]`, of those neighbours
/// that there are.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    /// How far on the neighbour of each place is.
    pub offsets: &'a [isize],
    /// Numbers of a row.
    pub inputs: usize,
    /// Numbers of a row's result.
    pub outputs: usize,
}

impl Convolution<'_> {
    /// Of `rows` `[N, inputs]` and a `kernel` `[places, inputs, outputs]`: `[N, outputs]`.
    ///
    /// # Panics
    ///
    /// When the sizes do not fit each other.
    pub fn forward(&self, rows: &[f32], kernel: &[f32]) -> Vec<f32> {
        let count = self.count(rows, kernel);
        let mut out = vec![0.0; count * self.outputs];
        for (place, [from, to, there]) in self.places(count) {
            let rows = Matrix::new(
                &rows[from * self.inputs..][..there * self.inputs],
                self.inputs,
            );
            let out = &mut out[to * self.outputs..][..there * self.outputs];
            let weight = self.weight(kernel, place);
            multiply(rows, weight, out, self.outputs, true, threads());
        }
        out
    }

    /// The gradients of rows and kernel, from that of the result.
    ///
    /// # Panics
    ///
    /// When the sizes do not fit each other.
    pub fn backward(&self, gradient: &[f32], rows: &[f32], kernel: &[f32]) -> [Vec<f32>; 2] {
        let Self {
            inputs, outputs, ..
        } = *self;
        let count = self.count(rows, kernel);
        let (mut of_rows, mut of_kernel) = (vec![0.0; rows.len()], vec![0.0; kernel.len()]);
        for (place, [from, to, there]) in self.places(count) {
            let gradient = Matrix::new(&gradient[to * outputs..][..there * outputs], outputs);
            let own = from * inputs..(from + there) * inputs;
            let weight = self.weight(kernel, place).transposed();
            let out = &mut of_rows[own.clone()];
            multiply(gradient, weight, out, inputs, true, threads());
            let rows = Matrix::new(&rows[own], inputs).transposed();
            let out = &mut of_kernel[place * inputs * outputs..][..inputs * outputs];
            multiply(rows, gradient, out, outputs, true, threads());
        }
        [of_rows, of_kernel]
    }

    fn count(&self, rows: &[f32], kernel: &[f32]) -> usize {
        let count = rows.len() / self.inputs.max(1);
        assert_eq!(rows.len(), count * self.inputs, "whole rows");
        assert_eq!(
            kernel.len(),
            self.offsets.len() * self.inputs * self.outputs
        );
        count
    }

    fn weight<'b>(&self, kernel: &'b [f32], place: usize) -> Matrix<'b> {
        let size = self.inputs * self.outputs;
        Matrix::new(&kernel[place * size..(place + 1) * size], self.outputs)
    }

    /// For each place the first neighbour that there is, the row that it is the neighbour of, and how many there are.
    fn places(&self, count: usize) -> impl Iterator<Item = (usize, [usize; 3])> {
        self.offsets
            .iter()
            .map(move |offset| {
                let away = offset.unsigned_abs().min(count);
                match *offset < 0 {
                    true => [0, away, count - away],
                    false => [away, 0, count - away],
                }
            })
            .enumerate()
    }
}
