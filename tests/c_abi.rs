//! The C programs of `tests/c`: they are compiled as C11 and as C++17, by gcc and by clang, linked with the shared and
//! with the static library, and run; and once more under valgrind. One test here is one program in one of these ways.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Profile, TIME_OUT, TempDir};
use std::path::{Path, PathBuf};
use std::process::Command;

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g", "-pthread"];

/// The sources are C that is also C++: each compiler takes them as either.
#[derive(Debug, Clone, Copy)]
enum Language {
    C11,
    Cxx17,
}

#[derive(Debug, Clone, Copy)]
enum Linking {
    Shared,
    Static,
}

/// One way to make a program of the sources.
#[derive(Debug, Clone, Copy)]
struct Way {
    compiler: &'static str,
    language: Language,
    linking: Linking,
    profile: Profile,
    /// `file`: nothing is mapped, where a test does not ask for it.
    io: &'static str,
    /// Where the logs are.
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Disk,
    Memory,
}

impl Place {
    fn new_dir(self, name: &str) -> TempDir {
        match self {
            Self::Disk => TempDir::new(name),
            Self::Memory => TempDir::in_memory(name),
        }
    }
}

/// What most users do.
const USUAL: Way = Way {
    compiler: "gcc",
    language: Language::C11,
    linking: Linking::Shared,
    profile: Profile::Release,
    io: "auto",
    place: Place::Disk,
};

/// The sources of a program: `NAME.c`, and `NAME_*.c` where it grew.
fn sources(program: &str) -> Vec<PathBuf> {
    let of_program = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_suffix(".c").is_some_and(|stem| stem == program || stem.starts_with(&format!("{program}_")))
    };
    let mut found: Vec<PathBuf> =
        common::path("tests/c").read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(of_program).collect();
    found.sort();
    found
}

/// Makes the program in the folder; `None` where the compiler is missing.
fn make(program: &str, way: Way, folder: &Path) -> Option<PathBuf> {
    let driver = match (way.compiler, way.language) {
        ("gcc", Language::Cxx17) => "g++",
        ("clang", Language::Cxx17) => "clang++",
        (compiler, Language::C11) => compiler,
        (other, Language::Cxx17) => panic!("no C++ driver is known for {other}"),
    };
    if !common::have(driver) {
        return None;
    }
    let library = common::library_dir_of(way.profile);
    let linking = match way.linking {
        Linking::Shared => common::shared_flags(library),
        Linking::Static => common::static_flags(library),
    };
    let mut flags = WARNINGS.to_vec();
    match way.language {
        Language::C11 => flags.push("-std=c11"),
        Language::Cxx17 => flags.extend(["-xc++", "-std=c++17"]),
    }
    flags.extend(linking.iter().map(String::as_str));
    let sources = sources(program);
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let out = folder.join(program);
    common::compile_with(driver, &sources, &flags, &out);
    Some(out)
}

/// Makes the program and runs it: every test in it must pass.
fn passes(program: &str, way: Way) {
    let (temp, logs) = (TempDir::new(program), way.place.new_dir("logs"));
    let base = logs.path();
    let Some(made) = make(program, way, temp.path()) else { return };
    let done = common::run_command(Command::new(made).arg(base).env("SEGLOG_TEST_IO", way.io), TIME_OUT);
    assert!(done.success() && done.stdout.ends_with(" passed, 0 failed\n"), "{program}, {way:?}: {}", done.report());
}

/// The same under valgrind's memcheck: no error, and nothing that was allocated is lost. With the release build, which
/// is what users have, and takes a tenth of the time.
fn passes_under_valgrind(program: &str) {
    if !common::have("valgrind") {
        return;
    }
    let (temp, logs) = (TempDir::new(program), Place::Memory.new_dir("logs"));
    let Some(made) = make(program, USUAL, temp.path()) else { return };
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
        .args(["--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect"])
        .args(["--child-silent-after-fork=yes", "--fair-sched=yes"])
        .arg(made)
        .arg(logs.path());
    let done = common::run_command(&mut valgrind, 3 * TIME_OUT);
    assert!(done.success() && done.stdout.ends_with(" passed, 0 failed\n"), "{program}, valgrind: {}", done.report());
}

/// One test a program and way.
macro_rules! programs {
    ($($test:ident: $program:literal { $($field:ident: $value:expr),* };)*) => {
        $(#[test]
        fn $test() {
            passes($program, Way { $($field: $value,)* ..USUAL });
        })*
    };
}

programs! {
    contract_gcc_c11_shared: "contract" {};
    contract_gcc_c11_shared_debug: "contract" { profile: Profile::Debug, place: Place::Memory };
    contract_gcc_c11_static: "contract" { linking: Linking::Static, place: Place::Memory };
    contract_gcc_cxx17_shared_unmapped: "contract" { language: Language::Cxx17, io: "file" };
    contract_clang_c11_shared: "contract" { compiler: "clang", place: Place::Memory };
    contract_clang_cxx17_static_unmapped:
        "contract" { compiler: "clang", language: Language::Cxx17, linking: Linking::Static, io: "file", place: Place::Memory };
    proglog_gcc_c11_shared: "proglog" {};
    proglog_gcc_c11_static_debug: "proglog" { linking: Linking::Static, profile: Profile::Debug };
    proglog_gcc_cxx17_shared_unmapped: "proglog" { language: Language::Cxx17, io: "file" };
    proglog_clang_c11_shared: "proglog" { compiler: "clang" };
    badinput_gcc_c11_shared: "badinput" {};
    badinput_gcc_c11_shared_debug: "badinput" { profile: Profile::Debug, place: Place::Memory };
    badinput_gcc_cxx17_static_unmapped: "badinput" { language: Language::Cxx17, linking: Linking::Static, io: "file" };
    badinput_clang_c11_shared: "badinput" { compiler: "clang", place: Place::Memory };
}

#[test]
fn contract_valgrind() {
    passes_under_valgrind("contract");
}

#[test]
fn proglog_valgrind() {
    passes_under_valgrind("proglog");
}

#[test]
fn badinput_valgrind() {
    passes_under_valgrind("badinput");
}

/// Root makes the logs and takes the rights away, another user tries them, root finds them whole. Who is not root is
/// that other user himself.
#[test]
fn other_user_gcc_c11_static() {
    let temp = TempDir::new("other-user");
    let base = temp.join("logs");
    std::fs::create_dir(&base).unwrap();
    // Static, since that user may not be able to reach the library where it was built.
    let Some(made) = make("other_user", Way { linking: Linking::Static, ..USUAL }, temp.path()) else { return };
    let own = |verb: &str| common::run(&made, &[base.as_os_str(), verb.as_ref()]);
    own("prepare").expect_success("other_user prepare");
    let tried = if common::is_root() {
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&made).arg(&base);
        common::run_command(&mut other, TIME_OUT)
    } else {
        common::run(&made, &[&base])
    };
    let whole = own("verify");
    assert!(tried.success() && tried.stdout.ends_with(" passed, 0 failed\n"), "other_user: {}", tried.report());
    whole.expect_success("other_user verify");
}

/// On a disk of 8 MiB, mounted in a mount namespace of its own: it is gone with the program, however that ends.
fn passes_on_a_small_disk(way: Way) {
    let temp = TempDir::new("disk-full");
    let disk = temp.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let namespace: &[&str] = if common::is_root() { &["--mount"] } else { &["--mount", "--map-root-user"] };
    let mount = "mount -t tmpfs -o size=8m,mode=700 tmpfs \"$1\"";
    let unshare = |script: &str, program: &Path| {
        let mut unshare = Command::new("unshare");
        unshare.args(namespace).args(["sh", "-c", script, "sh"]).arg(&disk).arg(program);
        common::run_command(&mut unshare, TIME_OUT)
    };
    let tried = unshare(mount, Path::new(""));
    if !tried.success() {
        common::skip(&format!("cannot mount a small disk: {}", tried.report()));
        return;
    }
    let Some(made) = make("disk_full", way, temp.path()) else { return };
    let done = unshare(&format!("{mount} && SEGLOG_TEST_IO={} exec \"$2\" \"$1\"", way.io), &made);
    assert!(done.success() && done.stdout.ends_with(" passed, 0 failed\n"), "disk_full: {}", done.report());
}

#[test]
fn disk_full_gcc_c11_shared() {
    passes_on_a_small_disk(USUAL);
}

#[test]
fn disk_full_gcc_c11_static_debug_unmapped() {
    passes_on_a_small_disk(Way { linking: Linking::Static, profile: Profile::Debug, io: "file", ..USUAL });
}

/// Programs that were linked with one 0.N run with every other 0.N, and with no 0.M.
#[test]
fn soname_is_that_of_the_version() {
    let library = common::library_dir().join("libseglog.so");
    let done = common::run("readelf", &["-d".as_ref(), library.as_os_str()]);
    done.expect_success("readelf");
    let soname = format!("Library soname: [{}]", common::soname());
    assert!(done.stdout.lines().any(|line| line.ends_with(&soname)), "no {soname} in:\n{}", done.stdout);
}
