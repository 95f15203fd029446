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
