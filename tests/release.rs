//! What a user gets: the release build, as `make` makes it, has nothing in it of what stands there for tests. The fault
//! hook, the bugs on purpose and the locks for `ThreadSanitizer` cost a release nothing, since they are not in it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Profile;
use std::path::{Path, PathBuf};

/// Parts of the names of what is for tests only, as `readelf -sC` shows functions and statics. (What tells a debugger which lines were
/// inlined has names of its own.)
const NAMES: [&str; 6] = [
    "seglog::sys::fault",
    "seglog::sys::history",
    "seglog::seeded",
    "seglog::sync_tsan",
    "seglog::testing",
    "shuttle::",
];
/// Texts that stand in it.
const TEXTS: [&str; 2] = ["SEGLOG_TEST_IO", "a planted defect"];

fn tool(name: &str, flags: &[&str], file: &Path) -> String {
    let args: Vec<_> = flags.iter().map(AsRef::as_ref).chain([file.as_os_str()]).collect();
    let done = common::run(name, &args);
    done.expect_success(name);
    done.stdout
}

/// What of these a program or library has in it, and how many names of ours are in it at all.
fn found_in(file: &Path) -> (Vec<&'static str>, usize) {
    // Not nm, which takes objects that have bitcode beside their code for its compiler's.
    let names = tool("readelf", &["-sWC"], file);
    let bytes = std::fs::read(file).unwrap();
    let has = |text: &&str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let found = NAMES.into_iter().filter(|part| names.contains(part)).chain(TEXTS.into_iter().filter(has)).collect();
    (found, names.lines().filter(|line| line.contains("seglog::sys::")).count())
}

fn libraries() -> [PathBuf; 2] {
    let dir = common::library_dir_of(Profile::Release);
    ["libseglog.so", "libseglog.a"].map(|name| dir.join(name))
}

#[test]
fn a_release_has_nothing_in_it_of_what_is_for_tests() {
    if !common::have("readelf") {
        return;
    }
    let [shared, archive] = libraries();
    let (found, ours) = found_in(&shared);
    assert!(ours > 20, "names of the library's own are there to be looked at: {ours}");
    assert_eq!(found, [""; 0]);
    // Functions that nothing calls stay in an archive until a program is linked with it.
    let (found, ours) = found_in(&archive);
    assert!(ours > 20, "names of the library's own are there to be looked at: {ours}");
    assert!(found.iter().all(|name| *name == NAMES[0]), "{found:?}");
}

/// That the one above looks in the right way: this program has the hook in it.
#[cfg(feature = "faults")]
#[test]
fn a_build_with_the_fault_hook_shows_it() {
    use seglog::faults::{Fault, Hook};
    if !common::have("readelf") {
        return;
    }
    Hook::new().with(Fault::Fail { nth: 0, os_error: 5 }).run(|| {
        let refused = seglog::Log::open(Path::new("/nowhere"), &seglog::Config::default());
        assert_eq!(refused.err().unwrap().detail().os_error, 5);
    });
    let (found, _) = found_in(&std::env::current_exe().unwrap());
    for name in ["seglog::sys::fault", "SEGLOG_TEST_IO", "a planted defect"] {
        assert!(found.contains(&name), "{name} is not seen: {found:?}");
    }
}

/// Functions of `sys` that do nothing before their system call, and the first thing that each of them calls in a release.
#[cfg(target_arch = "x86_64")]
const DIRECT: [(&str, &str); 7] = [
    ("seglog::sys::dir::Dir::sync", "fsync"),
    ("seglog::sys::file::File::sync", "<std::fs::File>::sync_data"),
    ("seglog::sys::file::File::allocate", "fallocate"),
    ("seglog::sys::file::File::seek_data", "lseek"),
    ("seglog::sys::file::File::copy_to", "copy_file_range"),
    ("<seglog::sys::file::File as seglog::sys::file::Lockable>::try_lock", "flock"),
    ("seglog::sys::os::random_bytes", "getrandom"),
];

#[cfg(target_arch = "x86_64")]
#[test]
fn a_release_asks_no_hook_before_a_system_call() {
    use std::collections::HashMap;
    if !["nm", "objdump", "readelf"].into_iter().all(common::have) {
        return;
    }
    let library = &libraries()[0];
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let names = tool("nm", &["-C"], library);
    let names: HashMap<u64, &str> =
        names.lines().filter_map(|line| Some((number(line.split(' ').next()?)?, line.get(19..)?))).collect();
    // Where calls go through a table, what stands in each of its places.
    let table = tool("readelf", &["-rW"], library);
    let table: HashMap<u64, &str> = table
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let to = match *words.get(2)? {
                "R_X86_64_RELATIVE" => *names.get(&number(words.get(3)?)?)?,
                _ => *words.get(4)?,
            };
            Some((number(words[0])?, to))
        })
        .collect();
    let code = tool("objdump", &["-d", "--no-show-raw-insn", "-C"], library);
    let mut looked_at = 0;
    for (function, call) in DIRECT {
        let start = format!(" <{function}>:");
        let body = code.lines().skip_while(|line| !line.ends_with(&start)).take_while(|line| !line.is_empty());
        // One that the compiler has built into who calls it cannot be looked at.
        let first = body.map(str::trim_end).find_map(|line| Some(line.split_once("\tcall ")?.1.trim()));
        let Some(first) = first else { continue };
        looked_at += 1;
        let place = first.split_once("# ").and_then(|(_, rest)| number(rest.split(' ').next()?));
        let called = place.and_then(|place| table.get(&place).copied()).unwrap_or(first);
        assert!(called.contains(call), "{function} calls {called} before {call}");
    }
    assert!(looked_at >= 4, "only {looked_at} of these functions are in the library, and call something");
}
