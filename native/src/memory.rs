//! The allocator. A training step makes and drops hundreds of megabytes of tensors: glibc's gives them back to the system each
//! time, and so does mimalloc after a second, as it comes. To have them again, zeroed page by page, took a seventh of
//! the image generator's forward and backward pass.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, in milliseconds; below 0 nothing is given back.
const PURGE_DELAY: mi_option_t = 15;

/// From now on the process keeps what it has freed, for its own use.
#[allow(
    unsafe_code,
    reason = "the allocator's options can be had through its C interface alone; any number is a valid option and value there"
)]
pub fn keep() -> bool {
    const NEVER: c_long = -1;
    unsafe {
        mi_option_set(PURGE_DELAY, NEVER);
        mi_option_get(PURGE_DELAY) == NEVER
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_takes_the_option() {
        assert!(super::keep());
    }
}
