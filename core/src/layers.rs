//! What encoders, exchange and heads are built from.

pub(crate) mod attention;
pub(crate) mod dropout;
pub(crate) mod linear;
pub(crate) mod readback;
