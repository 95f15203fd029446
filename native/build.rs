//! How the binary is linked.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // A package with optimisation settings of its own does not get the profile's `strip`.
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
        if has_lld() {
            // Of burn's generic functions 2.6 MB become the same machine code. Rust does not promise that functions differ in address.
            println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        }
    }
}

/// Whether rustc brings the linker that it then takes: no other knows that option.
fn has_lld() -> bool {
    let var = |name| env::var(name).unwrap_or_default();
    let sysroot = Command::new(var("RUSTC"))
        .args(["--print", "sysroot"])
        .output();
    let target = var("TARGET");
    sysroot.is_ok_and(|sysroot| {
        let folder = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
        let lld = Path::new(&folder).join("lib/rustlib").join(&target);
        target == "x86_64-unknown-linux-gnu" && lld.join("bin/gcc-ld/ld.lld").exists()
    })
}
