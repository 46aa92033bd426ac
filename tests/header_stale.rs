//! The committed header is what cbindgen makes of `src/ffi/`. Where it is stale it is rewritten and the test fails,
//! once; with `CI` set, or in a tree that cannot be written, it only compares.

use std::path::Path;

#[test]
fn the_header_is_what_the_source_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("include/seglog.h");
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["types", "status", "log", "in_place", "cursor", "named", "upkeep"] {
        builder = builder.with_src(root.join(format!("src/ffi/{file}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().expect("cbindgen").write(&mut made);
    let made = String::from_utf8(made).expect("UTF-8");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if made == committed {
        return;
    }
    let rewritten = std::env::var_os("CI").is_none() && std::fs::write(&path, &made).is_ok();
    panic!("include/seglog.h is stale{}", if rewritten { "; it has been rewritten, commit it" } else { "" });
}
