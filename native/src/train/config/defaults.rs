//! Defaults that settings have in common, by name, as serde wants them.

pub(crate) fn sixty_four() -> usize {
    64
}

pub(crate) fn half() -> f64 {
    0.5
}

pub(crate) fn tenth() -> f64 {
    0.1
}

pub(crate) fn hundredth() -> f64 {
    0.01
}

pub(crate) fn thousandth() -> f64 {
    0.001
}

pub(crate) fn one() -> f64 {
    1.0
}

pub(crate) fn two() -> usize {
    2
}
