//! Work in parts, each row by itself: how many parts there are changes no digit.

/// Work of fewer steps is not worth another thread.
#[cfg(feature = "threads")]
const LEAST: usize = 1 << 18;

/// Does `work` with all of the pool's threads awake: the parts of a short work follow each other within microseconds, and to wake a
/// thread for each takes longer than the part.
pub fn awake<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    #[cfg(feature = "threads")]
    {
        let threads = rayon::current_num_threads();
        if threads > 1 {
            return vigil::keep(threads, work);
        }
    }
    work()
}

#[cfg(feature = "threads")]
mod vigil {
    use std::cell::Cell;
    use std::hint::spin_loop;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use rayon::Yield;

    /// For so long a thread is kept awake: longer than a caption takes. Below a watch there may lie a part that the watched work waits
    /// for, so it must not last until that work's end.
    const LONGEST: Duration = Duration::from_millis(20);

    thread_local! {
        /// Whether this thread watches, or does such work.
        static BUSY: Cell<bool> = const { Cell::new(false) };
    }

    /// At the end, a panic's included, says that it is over, and leaves the thread as busy as it was: it may do one work while it
    /// waits for a part of another.
    struct AtEnd<'a> {
        over: &'a AtomicBool,
        before: bool,
    }

    impl Drop for AtEnd<'_> {
        fn drop(&mut self) {
            self.over.store(true, Ordering::Release);
            BUSY.set(self.before);
        }
    }

    pub(super) fn keep<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        let over = AtomicBool::new(false);
        rayon::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| watch(&over));
            }
            let _end = AtEnd {
                over: &over,
                before: BUSY.replace(true),
            };
            work()
        })
    }

    /// Looks for parts of the work until it is over, unless this thread is at work and only looked for a part.
    fn watch(over: &AtomicBool) {
        if BUSY.replace(true) {
            return;
        }
        let start = Instant::now();
        while !over.load(Ordering::Acquire) && start.elapsed() < LONGEST {
            if rayon::yield_now() != Some(Yield::Executed) {
                spin_loop();
            }
        }
        BUSY.set(false);
    }
}

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

#[cfg(feature = "learn")]
/// Has `work` done with each of the `parts`.
pub(crate) fn each<T: Send>(parts: Vec<T>, work: impl Fn(T) + Sync) {
    use rayon::prelude::*;

    if rayon::current_num_threads() > 1 && parts.len() > 1 {
        return parts.into_par_iter().for_each(&work);
    }
    parts.into_iter().for_each(work);
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
