//! What encoders, exchange and heads are built from.

pub(crate) mod attention;
pub(crate) mod cpu;
pub(crate) mod dropout;
pub(crate) mod embedding;
pub(crate) mod gpu;
pub(crate) mod learn;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod readback;
