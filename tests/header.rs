//! The public header: every C and C++ that a user may have compiles it without a warning, beside the headers whose
//! names are close to its own, twice in one unit and in two units; and it declares exactly what the library exports.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::TempDir;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Each driver with the standard that it is asked for.
const WAYS: &[(&str, &str)] = &[
    ("gcc", "c99"),
    ("gcc", "c11"),
    ("gcc", "c17"),
    ("g++", "c++11"),
    ("g++", "c++20"),
    ("clang", "c99"),
    ("clang", "c11"),
    ("clang", "c17"),
    ("clang++", "c++11"),
    ("clang++", "c++20"),
];

/// Headers that have names beginning with `log` or `LOG_`, or that most programs include.
const NEIGHBOURS: &str = "#include <math.h>\n#include <syslog.h>\n#include <stdlib.h>\n#include <time.h>\n";

const SEGLOG: &str = "#include <seglog.h>\n";

/// Uses a neighbour's `log`, `LOG_INFO` and `log10` beside the library's names, so that none hides the other.
const BOTH_USED: &str = "
double of_math(double x);
double of_math(double x) { return log(x) + log10(x); }
int of_syslog(void);
int of_syslog(void) { return LOG_INFO + LOG_USER; }
log_status_t of_seglog(log_t *handle);
log_status_t of_seglog(log_t *handle) {
  log_error_t error;
  log_config_t config;
  config.struct_size = (uint32_t)sizeof config;
  error.offset = LOG_NO_OFFSET;
  return config.struct_size > 0 && error.offset != 0 ? log_close(handle, &error) : LOG_E_ARGUMENT;
}
";

/// Where `pattern` stands in a C++ file, the file's name must say so: clang warns of C++ in a `.c`.
fn suffix(standard: &str) -> &'static str {
    if standard.starts_with("c++") { "cpp" } else { "c" }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Compiles the text to an object with every compiler and standard.
fn compiles_everywhere(name: &str, text: &str) {
    let temp = TempDir::new("header");
    for &(compiler, standard) in WAYS {
        if !common::have(compiler) {
            continue;
        }
        let source = write(temp.path(), &format!("{name}.{}", suffix(standard)), text);
        let standard = format!("-std={standard}");
        let flags: Vec<&str> = WARNINGS.iter().copied().chain([standard.as_str(), "-c"]).collect();
        common::compile_with(compiler, &[&source], &flags, &temp.join("unit.o"));
    }
}

#[test]
fn compiles_alone() {
    compiles_everywhere("alone", &format!("{SEGLOG}log_t *none(void);\nlog_t *none(void) {{ return 0; }}\n"));
}

#[test]
fn compiles_behind_its_neighbours() {
    compiles_everywhere("behind", &format!("{NEIGHBOURS}{SEGLOG}{BOTH_USED}"));
}

#[test]
fn compiles_before_its_neighbours() {
    compiles_everywhere("before", &format!("{SEGLOG}{NEIGHBOURS}{BOTH_USED}"));
}

#[test]
fn compiles_twice_in_one_unit() {
    compiles_everywhere("twice", &format!("{SEGLOG}{NEIGHBOURS}{SEGLOG}{BOTH_USED}"));
}

/// The constants are constants of the language too, not only of the preprocessor: sizes, cases, conditions.
#[test]
fn constants_are_constant_expressions() {
    compiles_everywhere(
        "constants",
        &format!(
            "{SEGLOG}
#if LOG_VERSION_MAJOR == 0 && LOG_VERSION_MINOR == 0
#error the version is not seen by the preprocessor
#endif
enum {{ OF_PARTS = (LOG_VERSION_MAJOR << 16) | (LOG_VERSION_MINOR << 8) | LOG_VERSION_PATCH }};
typedef char version_fits[LOG_VERSION == OF_PARTS ? 1 : -1];
typedef char no_offset_fits[LOG_NO_OFFSET == UINT64_MAX ? 1 : -1];
version_fits *first(void);
version_fits *first(void) {{ return 0; }}
no_offset_fits *second(void);
no_offset_fits *second(void) {{ return 0; }}
int kind(log_status_t status);
int kind(log_status_t status) {{
  switch (status) {{
    case LOG_OK: return 0;
    case LOG_END: case LOG_TIMEOUT: case LOG_STOPPED: return 1;
    case LOG_E_ARGUMENT: case LOG_E_IO: case LOG_E_BUG: return 2;
    default: return 3;
  }}
}}
"
        ),
    );
}

/// Both units define nothing that the other defines, and one calls what the other is given by the library.
#[test]
fn links_in_two_units() {
    let temp = TempDir::new("header-units");
    let library = common::library_dir();
    let (shared, archive) = (common::shared_flags(library), common::static_flags(library));
    for &(compiler, standard) in WAYS {
        if !common::have(compiler) {
            continue;
        }
        let one = format!(
            "{SEGLOG}{NEIGHBOURS}int other(void);\n\
             int main(void) {{ return other() == LOG_OK && log_version() == LOG_VERSION ? 0 : 1; }}\n"
        );
        let two =
            format!("{NEIGHBOURS}{SEGLOG}int other(void);\nint other(void) {{ return (int)log_close(NULL, NULL); }}\n");
        let one = write(temp.path(), &format!("one.{}", suffix(standard)), &one);
        let two = write(temp.path(), &format!("two.{}", suffix(standard)), &two);
        let standard = format!("-std={standard}");
        for linking in [&shared, &archive] {
            let flags = WARNINGS.iter().copied().chain([standard.as_str()]).chain(linking.iter().map(String::as_str));
            let program = temp.join("units");
            common::compile_with(compiler, &[&one, &two], &flags.collect::<Vec<_>>(), &program);
            common::run(&program, &[""; 0]).expect_success(&format!("{compiler} {standard} {linking:?}"));
        }
    }
}

/// The functions that the header declares, read from what the preprocessor leaves of it.
fn declared() -> BTreeSet<String> {
    let header = common::path("include/seglog.h");
    let done = common::run("gcc", &["-E".as_ref(), "-P".as_ref(), header.as_os_str()]);
    done.expect_success("gcc -E");
    functions_in(&done.stdout)
}

/// Each name `log_*` that an opening bracket follows, but for `(*log_*)(`, which is a type.
fn functions_in(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_word) {
        let word_on = &rest[at..];
        let end = word_on.find(|c| !is_word(c)).unwrap_or(word_on.len());
        let (word, behind) = word_on.split_at(end);
        if word.starts_with("log_") && behind.trim_start().starts_with('(') {
            found.insert(word.to_owned());
        }
        rest = behind;
    }
    found
}

/// The functions that the shared library exports, and nothing else that it exports may be.
fn exported(library: &Path) -> BTreeSet<String> {
    let done = common::run("nm", &["-D".as_ref(), "--defined-only".as_ref(), library.as_os_str()]);
    done.expect_success("nm");
    let mut found = BTreeSet::new();
    for line in done.stdout.lines() {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let [.., kind, name] = parts[..] else { panic!("nm said: {line}") };
        let name = name.split('@').next().unwrap_or(name);
        assert!(name.starts_with("log_"), "the library exports {name}");
        assert_eq!(kind, "T", "{name} is no function");
        found.insert(name.to_owned());
    }
    found
}

#[test]
fn declares_exactly_what_the_library_exports() {
    let declared = declared();
    assert!(declared.contains("log_open") && declared.contains("log_cursor_next_batch"), "found only {declared:?}");
    for profile in [common::Profile::Debug, common::Profile::Release] {
        let exported = exported(&common::library_dir_of(profile).join("libseglog.so"));
        assert_eq!(declared, exported, "the header (left) and the {profile:?} library (right) differ");
    }
}

/// The test of the test: what is a declaration, and what only looks like one.
#[test]
fn functions_are_told_from_types() {
    let text = "typedef int32_t (*log_progress_fn)(void *log_context);\nlog_status_t log_open (const char *dir);\n\
                void log_cursor_close(log_cursor_t *log_x); int log_value; double catalog_of(int);";
    let found: Vec<String> = functions_in(text).into_iter().collect();
    assert_eq!(found, ["log_cursor_close", "log_open"]);
}

/// A macro cannot be called through dlopen: but for constants there is none.
#[test]
fn macros_are_constants() {
    let header = std::fs::read_to_string(common::path("include/seglog.h")).unwrap();
    for line in header.lines().map(str::trim_start).filter(|line| line.starts_with('#')) {
        let Some(definition) = line.trim_start_matches('#').trim_start().strip_prefix("define") else { continue };
        let definition = definition.trim_start();
        let name: String = definition.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        assert!(!definition[name.len()..].starts_with('('), "a macro with arguments: {line}");
        assert!(name.starts_with("LOG_") || name.starts_with("SEGLOG_"), "a macro of a foreign name: {line}");
    }
}
