//! How the modules are linked.

fn main() {
    println!("cargo::rerun-if-changed=../link.rs");
    // Else the linker wraps every export in a call of all static constructors, of which the GPU's compiler has
    // hundreds, and wasm-bindgen's glue calls exports for every handle that it passes. Who loads the module calls them once.
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-cdylib-link-arg=--export=__wasm_call_ctors");
    }
}
