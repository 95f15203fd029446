//! One of the two modules: all that it has is `muse_web`, for its device.

#[cfg(target_family = "wasm")]
pub use muse_web::*;
