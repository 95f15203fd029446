//! Work in parts, each row by itself: how many parts there are changes no digit.

/// Work of fewer steps is not worth another thread.
#[cfg(feature = "threads")]
const LEAST: usize = 1 << 18;

/// Has `work` fill `out`, rows of `width` numbers, in parts: the first row of a part, and its rows. `steps` are those of a row.
pub(crate) fn split(
    out: &mut [f32],
    width: usize,
    steps: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;

        let rows = out.len() / width.max(1);
        let threads = rayon::current_num_threads();
        if threads > 1 && rows.saturating_mul(steps) >= LEAST {
            // Whole tiles.
            let part = rows.div_ceil(threads).next_multiple_of(4);
            let parts = out.par_chunks_mut(part * width).enumerate();
            return parts.for_each(|(index, out)| work(index * part, out));
        }
    }
    let _ = (width, steps);
    work(0, out);
}

/// Has `work` fill `out` with the products of `rows` and a matrix of these sizes, in parts: rows, their residuals and their products.
///
/// # Panics
///
/// When `rows`, `out` and `residual` are not whole rows, as many of each.
pub(crate) fn split_product(
    [inputs, outputs]: [usize; 2],
    rows: &[f32],
    residual: Option<&[f32]>,
    out: &mut [f32],
    work: impl Fn(&[f32], Option<&[f32]>, &mut [f32]) + Sync,
) {
    let count = rows.len() / inputs.max(1);
    assert_eq!(rows.len(), count * inputs, "whole rows");
    assert_eq!(out.len(), count * outputs, "as many products as rows");
    assert!(
        residual.is_none_or(|residual| residual.len() == out.len()),
        "as many residuals as products"
    );
    split(out, outputs, inputs * outputs, |first, out| {
        let count = out.len() / outputs.max(1);
        let rows = &rows[first * inputs..(first + count) * inputs];
        let start = first * outputs;
        let residual = residual.map(|residual| &residual[start..start + out.len()]);
        work(rows, residual, out);
    });
}

/// What `work` gives for each number below `count`; `steps` are those of one.
pub(crate) fn map<T: Send>(count: usize, steps: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;

        if rayon::current_num_threads() > 1 && count.saturating_mul(steps) >= LEAST {
            return (0..count).into_par_iter().map(&work).collect();
        }
    }
    let _ = steps;
    (0..count).map(work).collect()
}
