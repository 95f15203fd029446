//! Functions of numbers, without branches, so that the compiler makes vectors of them.
//!
//! `rten-vecmath` has such functions, too, but multiplies and adds in one step where a machine can, which gives other digits than
//! where it cannot, as in a browser.

/// Lanes of a sum: each adds up every 16th number, and they are added in a fixed order.
const LANES: usize = 16;

/// The sum of `f` of each number.
#[inline(always)]
pub(crate) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    fold(values, 0.0, f, |a, b| a + b)
}

/// The largest number; NaN counts as none.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    fold(
        values,
        f32::NEG_INFINITY,
        |x| x,
        |a, b| if b > a { b } else { a },
    )
}

#[inline(always)]
fn fold(values: &[f32], start: f32, f: impl Fn(f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = join(lanes[lane], f(chunk[lane]));
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = join(*lane, f(*value));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Added and taken away it rounds to the nearest whole number, to the even one of two: for numbers up to 2²².
const ROUNDER: f32 = 12_582_912.0;

/// The nearest whole number as the 16 low bits of an integer; for numbers up to 2¹⁵.
#[inline(always)]
pub(crate) fn to_i16(x: f32) -> i16 {
    (x + ROUNDER).to_bits() as i16
}

/// eˣ, relative error below 2e-7; 0 below -87 (where it is less than 2e-38), and as e⁸⁸ above 88.
///
/// A polynomial for the fraction of x·log₂e as in Cephes' `expf` (Moshier 1989).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let bound = if x > 88.0 { 88.0 } else { x };
    let bound = if bound < -87.0 { -87.0 } else { bound };
    let whole = (bound * std::f32::consts::LOG2_E + ROUNDER) - ROUNDER;
    // ln 2 in two parts, the first of so few bits that its product with a small whole number is exact.
    let rest = bound - whole * 0.693_359_4;
    let rest = rest + whole * 2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum * rest + coefficient;
    }
    let power = sum * (rest * rest) + rest + 1.0;
    let scale =
        f32::from_bits((((whole + ROUNDER).to_bits() as i32).wrapping_add(127) as u32) << 23);
    let value = power * scale;
    if x < -87.0 { 0.0 } else { value }
}

/// The error function, absolute error below 5e-7: x·P(x²) ÷ Q(x²) for |x| up to 4 (as in Eigen and XLA).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let square = x * x;
    let mut above = -2.726_142_3e-10;
    for coefficient in [
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_3e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ] {
        above = above * square + coefficient;
    }
    let mut below = -1.456_607_2e-5;
    for coefficient in [
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ] {
        below = below * square + coefficient;
    }
    x * above / below
}

/// GELU(x) = x·Φ(x), exact but for [`erf`] (Hendrycks and Gimpel 2016, arXiv:1606.08415).
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let right = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - right).abs() / right);
        }
        assert!(worst < 2e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(-1e9), exp(f32::NEG_INFINITY), exp(-87.5)], [0.0; 3]);
        assert!(exp(f32::NAN).is_nan() && exp(1e9).is_finite());
    }

    /// By its Taylor series, and Φ's continued fraction where that converges slowly.
    fn erf64(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn erf_and_gelu_are_close_everywhere() {
        let (mut worst, mut worst_gelu) = (0.0f64, 0.0f64);
        for i in -50_000..=50_000 {
            let x = f64::from(i as f32 * 1e-4);
            let right = if x.abs() > 4.0 { x.signum() } else { erf64(x) };
            worst = worst.max((f64::from(erf(x as f32)) - right).abs());
            let cdf = 0.5 * (1.0 + erf64((x * std::f64::consts::FRAC_1_SQRT_2).clamp(-4.0, 4.0)));
            worst_gelu = worst_gelu.max((f64::from(gelu(x as f32)) - x * cdf).abs());
        }
        assert!(worst < 5e-7, "{worst:e}");
        assert!(worst_gelu < 2e-6, "{worst_gelu:e}");
        assert!(erf(f32::NAN).is_nan() && gelu(f32::NAN).is_nan());
        assert!(gelu(-30.0).abs() < 1e-5);
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_even_one() {
        for (x, right) in [
            (0.5, 0),
            (1.5, 2),
            (-0.5, 0),
            (-1.5, -2),
            (32767.4, 32767),
            (-32767.4, -32767),
        ] {
            assert_eq!(to_i16(x), right, "{x}");
        }
    }

    #[test]
    fn sums_and_maxima_see_every_number() {
        for length in 0..70 {
            let values: Vec<f32> = (0..length).map(|i| (i * 7 % 13) as f32 - 20.0).collect();
            assert_eq!(sum(&values, |x| 2.0 * x), 2.0 * values.iter().sum::<f32>());
            let right = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&values), right);
        }
    }
}
