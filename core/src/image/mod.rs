//! From a picture's bytes to its 8×8 regions.

mod conv_norm;
pub mod efficientnet;
pub mod encoder;
pub mod pixels;
pub mod resnet;
