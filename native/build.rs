//! How the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A package with optimisation settings of its own does not get the profile's `strip`.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
