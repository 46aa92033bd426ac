//! The C++ face, `include/seglog.hpp`: its contract, compiled by gcc and by clang, as C++17 and C++20, and without
//! exceptions, each run to its end; and the header alone, included in two units beside its neighbours.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Profile, TempDir};

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"];

fn passes(compiler: &str, how: &[&str]) {
    if !common::have(compiler) {
        return;
    }
    let temp = TempDir::new("cpp");
    let base = temp.join("logs");
    std::fs::create_dir(&base).unwrap();
    let linking = common::shared_flags(common::library_dir_of(Profile::Release));
    let flags: Vec<&str> = WARNINGS
        .iter()
        .copied()
        .filter(|flag| *flag != "-Wconversion") // the frame of the C tests converts
        .chain(["-O1", "-g", "-pthread"])
        .chain(how.iter().copied())
        .chain(linking.iter().map(String::as_str))
        .collect();
    let program = temp.join("contract");
    common::compile_with(compiler, &[&common::path("tests/cpp/contract.cpp")], &flags, &program);
    let done = common::run(program, &[&base]);
    assert!(done.success() && done.stdout.ends_with(" passed, 0 failed\n"), "{compiler} {how:?}: {}", done.report());
}

macro_rules! ways {
    ($($test:ident: $compiler:literal $how:expr;)*) => {
        $(#[test]
        fn $test() {
            passes($compiler, &$how);
        })*
    };
}

ways! {
    contract_gcc_cxx17: "g++" ["-std=c++17"];
    contract_gcc_cxx20: "g++" ["-std=c++20"];
    contract_gcc_cxx17_without_exceptions: "g++" ["-std=c++17", "-fno-exceptions", "-fno-rtti"];
    contract_clang_cxx17: "clang++" ["-std=c++17"];
    contract_clang_cxx20: "clang++" ["-std=c++20"];
    contract_clang_cxx17_without_exceptions: "clang++" ["-std=c++17", "-fno-exceptions", "-fno-rtti"];
}

/// In two units of one program, twice in each, beside headers that have names like its own.
#[test]
fn links_in_two_units_and_warns_of_nothing() {
    let temp = TempDir::new("cpp-units");
    let linking = common::shared_flags(common::library_dir_of(Profile::Release));
    let neighbours = "#include <cmath>\n#include <math.h>\n#include <syslog.h>\n#include <stdlib.h>\n";
    let twice = "#include <seglog.hpp>\n#include <seglog.hpp>\n";
    let (one, two) = (temp.join("one.cpp"), temp.join("two.cpp"));
    std::fs::write(&one, format!("{neighbours}{twice}seglog::log make() {{ return seglog::log(); }}\n")).unwrap();
    let main = "seglog::log make();\nint main() { return make() ? 1 : 0; }\n";
    std::fs::write(&two, format!("{twice}{neighbours}{main}")).unwrap();
    for compiler in ["g++", "clang++"] {
        if !common::have(compiler) {
            return;
        }
        for standard in ["-std=c++17", "-std=c++20"] {
            let flags: Vec<&str> =
                WARNINGS.iter().copied().chain([standard]).chain(linking.iter().map(String::as_str)).collect();
            let program = temp.join("units");
            common::compile_with(compiler, &[&one, &two], &flags, &program);
            common::run::<&str>(program, &[]).expect_success(&format!("{compiler} {standard}"));
        }
    }
}
