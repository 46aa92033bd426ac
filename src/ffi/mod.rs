//! The C ABI: one file a noun, in the header's order. Each function is a guard, its argument checks and one call of the
//! Rust API; a thin ffi is a correct ffi. cbindgen makes `include/seglog.h` of these files: their comments are the
//! manual.
#![expect(non_camel_case_types, reason = "the names of the C API")]
#![expect(unreachable_pub, reason = "exported to C by symbol, not to Rust by path")]

mod boundary;
mod cursor;
mod handle;
mod in_place;
mod log;
mod named;
mod status;
mod types;
mod upkeep;
