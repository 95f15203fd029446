//! Which instructions there are.

use std::fmt;

/// A set of instructions that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(pub(crate) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128,
}

impl Tier {
    /// What the compiler makes of plain Rust.
    pub const PLAIN: Self = Self(Kind::Plain);

    /// Those of this machine, the fastest last.
    pub fn all() -> Vec<Self> {
        let mut kinds = vec![Kind::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2");
            let avx512 =
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            let detected = [
                (Kind::Avx2, true),
                (Kind::AvxVnni, is_x86_feature_detected!("avxvnni")),
                (
                    Kind::Avx512Vnni,
                    avx512 && is_x86_feature_detected!("avx512vnni"),
                ),
            ];
            let there = detected.into_iter().filter(|(_, there)| avx2 && *there);
            kinds.extend(there.map(|(kind, _)| kind));
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            kinds.push(Kind::Neon);
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        kinds.push(Kind::Simd128);
        kinds.into_iter().map(Self).collect()
    }

    /// The fastest of this machine.
    pub fn best() -> Self {
        static BEST: std::sync::OnceLock<Tier> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::all().pop().unwrap_or(Self::PLAIN))
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Defines a function that runs `body` in the tier's instructions. `body` is plain Rust, compiled for each of them: the same
/// operations in the same order give the same digits.
macro_rules! tiered {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:path;) => {
        $(#[$attribute])*
        // In a caller that is to be small its loops would stay loops.
        #[inline(never)]
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name(tier: $crate::Tier, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            if tier.0 != $crate::tier::Kind::Plain {
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($argument: $type),*) {
                    $body($($argument),*)
                }
                // SAFETY: every tier of this architecture but the plain one is made only where there is AVX2.
                #[allow(unsafe_code)]
                return unsafe { avx2($($argument),*) };
            }
            let _ = tier;
            $body($($argument),*)
        }
    };
}
pub(crate) use tiered;
