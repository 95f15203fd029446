//! Sums of several columns side by side. Plain Rust becomes vectors natively; for a browser the compiler is told, which else keeps the
//! sums in memory.

/// Adds `value · column` to `sums`.
#[inline(always)]
pub(crate) fn add_scaled<const L: usize>(sums: &mut [f32; L], value: f32, column: &[f32; L]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    if L.is_multiple_of(4) {
        use std::arch::wasm32::{f32x4_mul, f32x4_splat};

        let value = f32x4_splat(value);
        return wasm::add(sums, |at| f32x4_mul(value, wasm::load(column, at)));
    }
    for lane in 0..L {
        sums[lane] += value * column[lane];
    }
}

/// Adds `a · b`, number by number, to `sums`.
#[inline(always)]
pub(crate) fn add_products<const L: usize>(sums: &mut [f32; L], a: &[f32; L], b: &[f32; L]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    if L.is_multiple_of(4) {
        use std::arch::wasm32::f32x4_mul;

        return wasm::add(sums, |at| f32x4_mul(wasm::load(a, at), wasm::load(b, at)));
    }
    for lane in 0..L {
        sums[lane] += a[lane] * b[lane];
    }
}

/// Puts each number between `low` and `high`; NaN stays NaN.
#[inline(always)]
pub(crate) fn clamp<const L: usize>(numbers: &mut [f32; L], low: f32, high: f32) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    if L.is_multiple_of(4) {
        use std::arch::wasm32::{f32x4_pmax, f32x4_pmin, f32x4_splat};

        let (low, high) = (f32x4_splat(low), f32x4_splat(high));
        return wasm::map(numbers, |_, number| {
            f32x4_pmin(f32x4_pmax(number, low), high)
        });
    }
    for number in numbers {
        let above = if *number < low { low } else { *number };
        *number = if above > high { high } else { above };
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[allow(unsafe_code)] // loads and stores of vectors
mod wasm {
    use std::arch::wasm32::{f32x4_add, v128, v128_load, v128_store};

    /// Four numbers from a multiple of four on.
    #[inline(always)]
    pub(super) fn load<const L: usize>(numbers: &[f32; L], at: usize) -> v128 {
        assert!(at + 4 <= L);
        // SAFETY: there are as many, as was asserted.
        unsafe { v128_load(numbers.as_ptr().add(at).cast()) }
    }

    /// Adds what `of` gives for each multiple of four.
    #[inline(always)]
    pub(super) fn add<const L: usize>(sums: &mut [f32; L], of: impl Fn(usize) -> v128) {
        map(sums, |at, sum| f32x4_add(sum, of(at)));
    }

    /// Puts what `of` gives for each multiple of four, and the numbers from there on, in their place.
    #[inline(always)]
    pub(super) fn map<const L: usize>(numbers: &mut [f32; L], of: impl Fn(usize, v128) -> v128) {
        for at in (0..L).step_by(4) {
            let four = of(at, load(numbers, at));
            // SAFETY: there are as many, as `load` has asserted.
            unsafe { v128_store(numbers.as_mut_ptr().add(at).cast(), four) };
        }
    }
}
