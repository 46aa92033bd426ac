//! Handles as C misuses them, and processes that fork: `tests/c/handles.c` and `tests/c/fork.c`. Both try every function
//! of the header that takes a handle, so that none that comes later is left out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Profile, TIME_OUT, TempDir};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A table of the functions of the header that take a handle, each called with 0 for all else, as C.
fn functions() -> String {
    let header = std::fs::read_to_string(common::path("include/seglog.h")).unwrap();
    let mut without_comments = String::new();
    let mut rest = header.as_str();
    while let Some((code, behind)) = rest.split_once("/*") {
        without_comments.push_str(code);
        rest = behind.split_once("*/").unwrap().1;
    }
    without_comments.push_str(rest);
    let code: String = without_comments.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let (mut calls, mut rows, mut count) = (String::new(), String::new(), 0);
    for declared in code.split(';') {
        let Some((head, arguments)) = declared.split_once('(') else { continue };
        let Some(kind) = ["log_t *log", "log_cursor_t *cursor"].iter().find(|kind| arguments.starts_with(*kind)) else {
            continue;
        };
        let (result, name) = head.trim().rsplit_once(' ').unwrap();
        let name = name.trim_start_matches('*');
        let handle = format!("({} *)handle", kind.split_once(' ').unwrap().0);
        let others = arguments.matches(',').count();
        let is_cursor = i32::from(kind.contains("cursor"));
        if result.ends_with("void") {
            assert_eq!(others, 0, "{declared}");
            let _ = writeln!(calls, "static log_status_t call_{name}(void *handle, log_error_t *error) {{");
            let _ = writeln!(calls, "  (void)error;\n  {name}({handle});\n  return LOG_OK;\n}}");
        } else {
            assert!(arguments.trim_end().ends_with("log_error_t *error)"), "{declared}");
            let zeros = ", 0".repeat(others - 1);
            let _ = writeln!(calls, "static log_status_t call_{name}(void *handle, log_error_t *error) {{");
            let _ = writeln!(calls, "  return {name}({handle}{zeros}, error);\n}}");
        }
        let _ =
            writeln!(rows, "  {{ \"{name}\", {is_cursor}, {}, call_{name} }},", i32::from(name.ends_with("_close")));
        count += 1;
    }
    assert!(count >= 19, "the header's functions are not found any more: {rows}");
    format!(
        "#include <seglog.h>\n{calls}typedef struct {{\n  const char *name;\n  int takes_cursor, closes;\n  log_status_t \
         (*call)(void *handle, log_error_t *error);\n}} function_t;\nstatic const function_t functions[] = {{\n{rows}}};\n"
    )
}

struct Made {
    temp: TempDir,
    program: PathBuf,
    base: PathBuf,
}

fn make(program: &str, linking: &[String]) -> Made {
    let temp = TempDir::new(program);
    let base = temp.join("logs");
    std::fs::create_dir(&base).unwrap();
    std::fs::write(temp.join("functions.h"), functions()).unwrap();
    let out = temp.join(program);
    let include = format!("-I{}", temp.path().display());
    let mut flags = vec!["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g", "-pthread", &include];
    flags.extend(linking.iter().map(String::as_str));
    common::compile_c(&[&common::path("tests/c").join(format!("{program}.c"))], &flags, &out);
    Made { temp, program: out, base }
}

fn shared() -> Vec<String> {
    common::shared_flags(common::library_dir_of(Profile::Release))
}

fn passes(mut command: Command, made: &Made) {
    let done = common::run_command(command.arg(&made.program).arg(&made.base), TIME_OUT);
    assert!(done.success() && done.stdout.ends_with(" passed, 0 failed\n"), "{}", done.report());
}

fn plainly(made: &Made) {
    let done = common::run(&made.program, &[&made.base]);
    assert!(done.success() && done.stdout.ends_with(" passed, 0 failed\n"), "{}", done.report());
}

fn valgrind() -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--fair-sched=yes"]);
    valgrind.args(["--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect"]);
    valgrind.arg("--child-silent-after-fork=yes");
    valgrind
}

#[test]
fn misused_handles_are_told() {
    plainly(&make("handles", &shared()));
}

#[test]
fn misused_handles_are_told_static_debug() {
    plainly(&make("handles", &common::static_flags(common::library_dir_of(Profile::Debug))));
}

#[test]
fn misused_handles_touch_no_memory_that_was_freed() {
    if common::have("valgrind") {
        passes(valgrind(), &make("handles", &shared()));
    }
}

#[test]
fn a_forked_child_harms_nothing() {
    plainly(&make("fork", &shared()));
}

#[test]
fn a_forked_child_harms_nothing_static_debug() {
    plainly(&make("fork", &common::static_flags(common::library_dir_of(Profile::Debug))));
}

/// What kernels before 4.14 say to `MADV_WIPEONFORK`: then the handler that runs in a child clears the stamp.
#[test]
fn a_forked_child_harms_nothing_where_no_page_is_wiped() {
    if !common::have("strace") {
        return;
    }
    let made = make("fork", &shared());
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(made.temp.join("trace")).args(["-e", "trace=madvise"]);
    strace.args(["-e", "inject=madvise:error=EINVAL", "-E", "SEGLOG_NO_WIPE=1"]);
    passes(strace, &made);
    let trace = std::fs::read_to_string(made.temp.join("trace")).unwrap();
    assert!(trace.contains("MADV_WIPEONFORK) = -1 EINVAL"), "nothing was injected");
}

/// A host that loads the library as a plugin, unloads it, and forks: no handler is left that points to nothing.
#[test]
fn a_host_that_unloaded_the_library_forks() {
    let temp = TempDir::new("unload");
    let program = temp.join("unload");
    let flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-ldl"];
    common::compile_c(&[&common::path("tests/c/unload.c")], &flags, &program);
    let library = common::library_dir_of(Profile::Release).join("libseglog.so");
    let done = common::run(&program, &[library.as_path(), Path::new(&temp.join("log"))]);
    assert!(done.success() && done.stdout == "forked\n", "{}", done.report());
    // A C library that does not take the handlers away needs the library to stay.
    let done = common::run("readelf", &["-d".as_ref(), library.as_os_str()]);
    assert!(done.stdout.contains("NODELETE"), "{}", done.report());
}
