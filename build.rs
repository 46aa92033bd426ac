//! Gives the shared library its soname, `libseglog.so.0.N` (N: the minor version, before 1.0): same soname, same ABI.
//! And keeps it loaded: a host that unloads it by `dlclose` would leave handlers for fork that point to nothing (on C
//! libraries that do not take them away themselves), and threads that are just ending in code that is gone.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let part = |name| std::env::var(name).unwrap_or_default();
    let (major, minor) = (part("CARGO_PKG_VERSION_MAJOR"), part("CARGO_PKG_VERSION_MINOR"));
    if part("CARGO_CFG_TARGET_OS") == "linux" {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libseglog.so.{major}.{minor}");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
