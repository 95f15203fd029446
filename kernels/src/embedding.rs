//! A table of rows in 8 bits.

/// Rows of whole numbers with a scale for each row or for each column.
#[derive(Clone, Debug)]
pub struct Table {
    columns: usize,
    weights: Vec<i8>,
    /// Along the rows, else along the columns.
    by_row: bool,
    scale: Vec<f32>,
}

impl Table {
    /// Of `weights`, row-major; the scale has a number for each row (`by_row`) or for each column.
    ///
    /// # Panics
    ///
    /// When the scale does not have as many.
    pub fn new(columns: usize, weights: Vec<i8>, by_row: bool, scale: Vec<f32>) -> Self {
        let rows = weights.len() / columns.max(1);
        assert_eq!(
            scale.len(),
            if by_row { rows } else { columns },
            "a scale for each"
        );
        Self {
            columns,
            weights,
            by_row,
            scale,
        }
    }

    /// Numbers of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Adds a row to `sum`.
    ///
    /// # Panics
    ///
    /// When there is no such row, or `sum` has another length.
    pub fn add(&self, row: usize, sum: &mut [f32]) {
        assert_eq!(sum.len(), self.columns, "as many columns");
        let weights = &self.weights[row * self.columns..(row + 1) * self.columns];
        if self.by_row {
            let scale = self.scale[row];
            for (sum, weight) in sum.iter_mut().zip(weights) {
                *sum += f32::from(*weight) * scale;
            }
        } else {
            for ((sum, weight), scale) in sum.iter_mut().zip(weights).zip(&self.scale) {
                *sum += f32::from(*weight) * scale;
            }
        }
    }
}
