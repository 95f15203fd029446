//! Products of a panel's block with some rows, in whole numbers: the one thing that each tier does in its own way.

use super::PANEL;

/// A panel's columns for two inputs.
type Group = [i8; 2 * PANEL];

/// Adds to `sums` the products of the rows' pairs with a panel's, in plain Rust.
#[inline(always)]
pub(super) fn plain<const R: usize>(
    rows: &[&[i32]; R],
    panel: &[Group],
    sums: &mut [[i32; PANEL]; R],
) {
    for (row, sums) in rows.iter().zip(sums) {
        for (pair, group) in row.iter().zip(panel) {
            let (first, second) = (i32::from(*pair as i16), pair >> 16);
            for (column, sum) in sums.iter_mut().enumerate() {
                let weights = [group[2 * column], group[2 * column + 1]].map(i32::from);
                *sum += first * weights[0] + second * weights[1];
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{avx_vnni, avx2, avx512_vnni};

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // loads and stores of vectors
mod x86 {
    use std::arch::x86_64::*;

    use super::{Group, PANEL};

    /// As [`super::plain`], by `vpmaddwd`.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in crate::linear) fn avx2<const R: usize>(
        rows: &[&[i32]; R],
        panel: &[Group],
        sums: &mut [[i32; PANEL]; R],
    ) {
        halves(rows, panel, sums, |sum, pair, weights| {
            _mm256_add_epi32(sum, _mm256_madd_epi16(pair, weights))
        });
    }

    /// As [`super::plain`], by `vpdpwssd` on 256 bits.
    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    pub(in crate::linear) fn avx_vnni<const R: usize>(
        rows: &[&[i32]; R],
        panel: &[Group],
        sums: &mut [[i32; PANEL]; R],
    ) {
        halves(rows, panel, sums, |sum, pair, weights| {
            _mm256_dpwssd_avx_epi32(sum, pair, weights)
        });
    }

    /// Two vectors of eight columns.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn halves<const R: usize>(
        rows: &[&[i32]; R],
        panel: &[Group],
        sums: &mut [[i32; PANEL]; R],
        add: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
    ) {
        assert!(rows.iter().all(|row| row.len() == panel.len()));
        let mut vectors = [[_mm256_setzero_si256(); 2]; R];
        for (index, group) in panel.iter().enumerate() {
            // SAFETY: a group has 32 bytes.
            let weights = [0, 16].map(|at| {
                _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(group.as_ptr().add(at).cast()) })
            });
            for (row, vectors) in rows.iter().zip(&mut vectors) {
                // SAFETY: each row is as long as the panel, as was asserted.
                let pair = _mm256_set1_epi32(unsafe { *row.get_unchecked(index) });
                for (vector, weights) in vectors.iter_mut().zip(weights) {
                    *vector = add(*vector, pair, weights);
                }
            }
        }
        for (sums, vectors) in sums.iter_mut().zip(vectors) {
            for (half, vector) in vectors.into_iter().enumerate() {
                // SAFETY: there are 16 sums of 4 bytes.
                unsafe { _mm256_storeu_si256(sums.as_mut_ptr().add(8 * half).cast(), vector) };
            }
        }
    }

    /// As [`super::plain`], by `vpdpwssd` on 512 bits.
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub(in crate::linear) fn avx512_vnni<const R: usize>(
        rows: &[&[i32]; R],
        panel: &[Group],
        sums: &mut [[i32; PANEL]; R],
    ) {
        assert!(rows.iter().all(|row| row.len() == panel.len()));
        let mut vectors = [_mm512_setzero_si512(); R];
        for (index, group) in panel.iter().enumerate() {
            // SAFETY: a group has 32 bytes.
            let weights = unsafe { _mm256_loadu_si256(group.as_ptr().cast()) };
            let weights = _mm512_cvtepi8_epi16(weights);
            for (row, vector) in rows.iter().zip(&mut vectors) {
                // SAFETY: each row is as long as the panel, as was asserted.
                let pair = _mm512_set1_epi32(unsafe { *row.get_unchecked(index) });
                *vector = _mm512_dpwssd_epi32(*vector, pair, weights);
            }
        }
        for (sums, vector) in sums.iter_mut().zip(vectors) {
            // SAFETY: there are 16 sums of 4 bytes.
            unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), vector) };
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use arm::neon;

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)] // loads and stores of vectors
mod arm {
    use std::arch::aarch64::*;

    use super::{Group, PANEL};

    /// As [`super::plain`], by `smlal` on columns whose two inputs are taken apart on the way.
    #[target_feature(enable = "neon")]
    #[inline]
    pub(in crate::linear) fn neon<const R: usize>(
        rows: &[&[i32]; R],
        panel: &[Group],
        sums: &mut [[i32; PANEL]; R],
    ) {
        assert!(rows.iter().all(|row| row.len() == panel.len()));
        let mut vectors = [[vdupq_n_s32(0); 4]; R];
        for (index, group) in panel.iter().enumerate() {
            // SAFETY: a group has 32 bytes, which are taken apart into those of even and of odd places.
            let weights = unsafe { vld2q_s8(group.as_ptr()) };
            let wide = [weights.0, weights.1]
                .map(|w| [vmovl_s8(vget_low_s8(w)), vmovl_s8(vget_high_s8(w))]);
            for (row, vectors) in rows.iter().zip(&mut vectors) {
                // SAFETY: each row is as long as the panel, as was asserted.
                let pair = unsafe { *row.get_unchecked(index) };
                for (wide, value) in wide.iter().zip([pair as i16, (pair >> 16) as i16]) {
                    for (half, wide) in wide.iter().enumerate() {
                        let low = &mut vectors[2 * half];
                        *low = vmlal_n_s16(*low, vget_low_s16(*wide), value);
                        let high = &mut vectors[2 * half + 1];
                        *high = vmlal_n_s16(*high, vget_high_s16(*wide), value);
                    }
                }
            }
        }
        for (sums, vectors) in sums.iter_mut().zip(vectors) {
            for (quarter, vector) in vectors.into_iter().enumerate() {
                // SAFETY: there are 16 sums of 4 bytes.
                unsafe { vst1q_s32(sums.as_mut_ptr().add(4 * quarter), vector) };
            }
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use wasm::simd128;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[allow(unsafe_code)] // loads and stores of vectors
mod wasm {
    use std::arch::wasm32::*;

    use super::{Group, PANEL};

    /// As [`super::plain`], by `i32x4.dot_i16x8_s`, eight columns at a time: more do not fit into 16 registers.
    #[inline(always)]
    pub(in crate::linear) fn simd128<const R: usize>(
        rows: &[&[i32]; R],
        panel: &[Group],
        sums: &mut [[i32; PANEL]; R],
    ) {
        assert!(rows.iter().all(|row| row.len() == panel.len()));
        // Several groups a turn, whose addresses then differ by constants.
        let (turns, rest) = panel.as_chunks::<TURN>();
        for half in 0..2 {
            let mut vectors = [[i32x4_splat(0); 2]; R];
            for (turn, groups) in turns.iter().enumerate() {
                // SAFETY: each row is as long as the panel, as was asserted.
                let rows = rows.map(|row| unsafe { row.as_ptr().add(turn * TURN) });
                add(rows, groups, half, &mut vectors);
            }
            for (index, group) in rest.iter().enumerate() {
                // SAFETY: as above.
                let rows = rows.map(|row| unsafe { row.as_ptr().add(turns.len() * TURN + index) });
                add(rows, std::array::from_ref(group), half, &mut vectors);
            }
            for (sums, vectors) in sums.iter_mut().zip(vectors) {
                for (quarter, vector) in vectors.into_iter().enumerate() {
                    // SAFETY: there are 16 sums of 4 bytes.
                    let place = unsafe { sums.as_mut_ptr().add(8 * half + 4 * quarter) };
                    // SAFETY: as above.
                    unsafe { v128_store(place.cast(), vector) };
                }
            }
        }
    }

    /// Groups of a turn.
    const TURN: usize = 8;

    /// Adds the products of `N` groups' half with as many pairs of each row, which must be there.
    #[inline(always)]
    fn add<const R: usize, const N: usize>(
        rows: [*const i32; R],
        groups: &[Group; N],
        half: usize,
        vectors: &mut [[v128; 2]; R],
    ) {
        for (index, group) in groups.iter().enumerate() {
            let weights = [0, 8].map(|at| {
                // SAFETY: a group has 32 bytes.
                unsafe { i16x8_load_extend_i8x8(group.as_ptr().add(16 * half + at)) }
            });
            for (row, vectors) in rows.iter().zip(vectors.iter_mut()) {
                // SAFETY: the caller has seen that there are as many pairs as groups.
                let pair = unsafe { v128_load32_splat(row.add(index).cast()) };
                for (vector, weights) in vectors.iter_mut().zip(weights) {
                    *vector = i32x4_add(*vector, i32x4_dot_i16x8(pair, weights));
                }
            }
        }
    }
}
