//! The layout of `src/` and who may use whom: arrows point down only. The table below is the rule and
//! docs/ARCHITECTURE.md its explanation. Paths count however they are written: in a `use`, nested or not, inline, by
//! `crate::` or by `super::`. What stands in `#[cfg(test)]` is free.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod layout {
    pub(crate) mod paths;
}

use layout::paths::{Sources, Use};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file of `src/` without its ending (`sys/mod.rs` is `sys`), and the files that it may use. The rows are in layers,
/// lowest first: a file may use only what stands above it here, so that there is no way round.
const TABLE: &[(&str, &[&str])] = &[
    // What every file may use.
    ("error", &[]),
    ("config", &["error"]),
    ("memory", &["error"]),
    ("sync", &[]),
    ("sync_tsan", &[]),
    ("seeded", &[]),
    // Bytes, and nothing but bytes.
    ("checksum", &[]),
    ("record", &["checksum", "seeded"]),
    ("id", &[]),
    // The operating system.
    ("sys/history", &[]),
    ("sys/fault", &["sync", "sys/history"]),
    ("sys/file", &["error", "sys/fault", "sys/history"]),
    ("sys/futex", &["sync", "sys/fault"]),
    ("sys/map", &["error", "sync", "sys/fault", "sys/file", "sys/futex", "sys/history"]),
    ("sys/dir", &["error", "sys/fault", "sys/file", "sys/history"]),
    ("sys/os", &["error", "sys/fault"]),
    ("sys/fork", &["error", "sys/fault", "sys/file"]),
    ("sys/window", &["sync", "sys/file"]),
    ("sys/barrier", &["sync"]),
    ("sys/places", &["error", "memory", "sync", "sys/barrier", "sys/os"]),
    ("sys", &["sys/dir", "sys/file", "sys/fork", "sys/futex", "sys/map", "sys/os", "sys/places", "sys/window"]),
    // One file each.
    ("store", &["checksum", "error", "record", "seeded", "sync", "sys"]),
    ("entries", &["sync", "sys"]),
    ("index", &["checksum", "entries", "error", "id", "record", "sys"]),
    ("tail", &["checksum", "error", "record", "sync", "sys"]),
    ("waiting", &["error", "sync", "sys"]),
    ("event", &["error", "sync", "sys"]),
    ("page", &["error", "sync", "sys"]),
    ("control", &["checksum", "error", "id", "page", "seeded", "sync", "sys", "waiting"]),
    ("live", &["control", "error", "id", "memory", "record", "sync", "sys", "tail"]),
    ("slots", &["checksum", "error", "record", "seeded", "sys"]),
    ("start", &["error", "id", "slots", "sys"]),
    ("named", &["error", "memory", "slots", "sys"]),
    ("keeper", &["error", "sync", "sys"]),
    ("direct", &["error", "record", "sync", "sys"]),
    // A segment, and many.
    ("walk", &["error", "index", "record", "store", "sys"]),
    ("fresh", &["checksum", "error", "id", "index", "record", "store", "sys"]),
    ("guess", &["record", "sync"]),
    ("stretch", &["record"]),
    (
        "segment",
        &["error", "fresh", "guess", "id", "index", "live", "record", "store", "stretch", "sync", "sys", "walk"],
    ),
    ("run", &["error", "record", "segment"]),
    ("stat", &["config", "error", "id", "segment", "start", "sync", "sys"]),
    ("files", &["config", "control", "error", "id", "memory", "named", "record", "segment", "start", "sync", "sys"]),
    ("row", &["error", "memory", "record", "segment", "sync", "sys", "tail"]),
    ("retain", &["error", "row", "segment", "stat", "sync", "sys"]),
    ("view", &["config", "error", "record", "row", "segment", "stat", "sync", "sys", "tail", "waiting"]),
    ("position", &["error", "named", "segment", "slots", "sync", "sys", "view"]),
    ("time", &["error", "row", "view"]),
    ("ending", &["error", "files", "id", "memory", "record", "seeded", "start", "store", "sys", "tail"]),
    (
        "follow",
        &[
            "config", "control", "ending", "error", "event", "files", "id", "live", "memory", "record", "row", "run",
            "segment", "stat", "sync", "sys", "tail", "view", "waiting",
        ],
    ),
    ("ahead", &["error", "fresh", "sync", "sys"]),
    ("work", &[]),
    ("reservation", &["work"]),
    ("batch", &["error", "record"]),
    ("zeroed", &["id", "seeded", "sys"]),
    ("commit", &["control", "error", "id", "record", "seeded", "segment", "sync", "sys", "tail", "waiting", "zeroed"]),
    (
        "writer",
        &[
            "ahead",
            "batch",
            "checksum",
            "commit",
            "config",
            "control",
            "direct",
            "error",
            "fresh",
            "id",
            "record",
            "reservation",
            "row",
            "segment",
            "sync",
            "sys",
            "tail",
            "work",
        ],
    ),
    (
        "upkeep",
        &[
            "commit", "error", "fresh", "id", "record", "row", "run", "seeded", "segment", "start", "sync", "sys",
            "writer",
        ],
    ),
    (
        "recovery",
        &[
            "checksum", "config", "control", "ending", "error", "files", "fresh", "id", "memory", "record", "run",
            "seeded", "segment", "start", "store", "sync", "sys", "tail", "writer",
        ],
    ),
    ("rounds", &["fresh", "id", "record", "segment", "tail", "writer"]),
    // The log, and a place in it.
    (
        "log",
        &[
            "ahead", "batch", "checksum", "commit", "config", "control", "error", "event", "files", "follow", "keeper",
            "position", "record", "recovery", "rounds", "row", "stat", "sync", "sys", "tail", "view", "waiting",
            "work", "writer", "zeroed",
        ],
    ),
    (
        "backup",
        &["error", "files", "log", "named", "record", "row", "seeded", "segment", "start", "store", "sys", "view"],
    ),
    ("waits", &["error", "log", "sync", "sys", "view", "waiting", "work"]),
    ("names", &["error", "log", "named", "position", "slots", "time", "view"]),
    ("ends", &["commit", "config", "error", "log", "position", "retain", "sys", "upkeep", "view", "work"]),
    (
        "in_place",
        &["checksum", "error", "log", "memory", "record", "reservation", "sync", "sys", "tail", "work", "writer"],
    ),
    ("cursor", &["error", "follow", "log", "record", "row", "run", "segment", "sync", "tail", "view", "waiting"]),
    // The C ABI.
    ("ffi/types", &[]),
    ("ffi/status", &["error", "ffi/types"]),
    ("ffi/boundary", &["config", "error", "ffi/status", "ffi/types", "memory", "record"]),
    ("ffi/handle", &["error", "sys"]),
    ("ffi/log", &["config", "error", "ffi/boundary", "ffi/handle", "ffi/status", "ffi/types", "files", "log"]),
    ("ffi/in_place", &["ffi/boundary", "ffi/log", "ffi/types"]),
    ("ffi/cursor", &["cursor", "error", "ffi/boundary", "ffi/handle", "ffi/log", "ffi/types", "record", "view"]),
    ("ffi/named", &["error", "ffi/boundary", "ffi/log", "ffi/types"]),
    ("ffi/upkeep", &["ffi/boundary", "ffi/log", "ffi/types"]),
    ("ffi", &[]),
    // What the crate shows, and what its own tests share.
    ("testing", &["sys"]),
    (
        "lib",
        &["config", "cursor", "error", "files", "log", "record", "stat", "sync", "sys/fault", "sys/history", "view"],
    ),
];

/// Neighbours in one folder that look back at each other, against the rule. A row that is not needed any more fails.
const TWINS: &[(&str, &str)] = &[];

/// Where a crate, or a part of `std` that asks the operating system, may be named; `sys/` stands for its files.
const FOREIGN: &[(&str, &[&str])] = &[
    ("libc", &["sys/", "error"]),
    ("memmap2", &["sys/"]),
    ("crc32c", &["checksum"]),
    ("thiserror", &["error"]),
    ("std::fs", &["sys/", "testing"]),
    ("std::process", &["sys/", "testing"]),
    ("std::env", &["seeded", "sys/fault", "testing"]),
    ("std::thread", &["sys/"]),
    (
        "std::sync",
        &["seeded", "sync", "sync_tsan", "sys/fault", "sys/fork", "sys/futex", "sys/map", "ffi/handle", "testing"],
    ),
    ("shuttle", &["sync", "sys/os"]),
    ("std::net", &[]),
];

/// Where `unsafe` may stand. (`#[unsafe(no_mangle)]` may stand in `ffi/`.)
const UNSAFE: &[&str] = &["sys/", "checksum", "ffi/boundary", "ffi/handle"];

const LINES: usize = 600;
const COLUMNS: usize = 120;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file of `src/` by its name in the table.
fn sources() -> BTreeMap<String, String> {
    fn collect(folder: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                collect(&path, &format!("{prefix}{stem}/"), into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name =
                    if stem == "mod" { prefix.trim_end_matches('/').to_owned() } else { prefix.to_owned() + &stem };
                into.insert(name, read(&path));
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&root().join("src"), "", &mut found);
    found
}

fn stands_in(places: &[&str], file: &str) -> bool {
    places.iter().any(|place| match place.strip_suffix('/') {
        Some(folder) => file == folder || file.starts_with(place),
        None => file == *place,
    })
}

/// What one use breaks; `None` if it is fine.
fn broken(file: &str, used: &Use) -> Option<String> {
    match used {
        Use::File(other) => {
            let allowed = TABLE.iter().find(|row| row.0 == file).map_or(&[][..], |row| row.1);
            let fine = allowed.contains(&other.as_str()) || TWINS.contains(&(file, other.as_str()));
            (!fine).then(|| format!("{file} must not use {other}"))
        }
        Use::Foreign(path) => {
            let named =
                |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            let (name, places) = FOREIGN.iter().find(|(name, _)| named(name))?;
            // Of libc, the errors know the error numbers, and nothing else.
            let number = |part: &str| {
                part.starts_with('E') && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            };
            let beyond_numbers = file == "error" && *name == "libc" && !path.strip_prefix("libc::").is_some_and(number);
            (!stands_in(places, file) || beyond_numbers).then(|| format!("{file} must not name {path}"))
        }
        Use::Unsafe => (!stands_in(UNSAFE, file)).then(|| format!("{file} must not be unsafe")),
        Use::Export => (!stands_in(&["ffi/"], file)).then(|| format!("{file} must not export a symbol")),
    }
}

/// What these files of the tree break.
fn all_broken<'a>(files: &BTreeMap<String, String>, which: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let sources = Sources::new(files);
    let mut broken = BTreeSet::new();
    for file in which {
        broken.extend(sources.uses_of(file).iter().filter_map(|used| self::broken(file, used)));
    }
    broken.into_iter().collect()
}

/// What a file of the real tree breaks when this text stands at its end.
fn planted(file: &str, text: &str) -> Vec<String> {
    let mut files = sources();
    let source = files.get_mut(file).unwrap_or_else(|| panic!("there is no {file}"));
    source.push('\n');
    source.push_str(text);
    all_broken(&files, [file])
}

#[test]
fn arrows_point_down_only() {
    let files = sources();
    assert_eq!(all_broken(&files, files.keys().map(String::as_str)), Vec::<String>::new());
}

#[test]
fn the_table_has_no_way_round() {
    for (n, (file, uses)) in TABLE.iter().enumerate() {
        for used in *uses {
            assert!(
                TABLE[..n].iter().any(|row| row.0 == *used),
                "{file} may use {used}, which does not stand above it"
            );
        }
    }
    for (a, b) in TWINS {
        let folder = |file: &str| file.split_once('/').map(|(folder, _)| folder.to_owned());
        assert!(folder(a).is_some() && folder(a) == folder(b), "{a} and {b} are no neighbours");
    }
}

#[test]
fn every_file_stands_in_the_table_once_and_needs_what_it_may_use() {
    let files = sources();
    let named: Vec<_> = TABLE.iter().map(|row| row.0).collect();
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "a file stands in the table twice");
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), files.keys().map(String::as_str).collect());
    let sources = Sources::new(&files);
    let twins = TWINS.iter().map(|(file, used)| (*file, *used));
    for (file, used) in TABLE.iter().flat_map(|(file, uses)| uses.iter().map(move |used| (*file, *used))).chain(twins) {
        let needed = sources.uses_of(file).contains(&Use::File(used.to_owned()));
        assert!(needed, "{file} may use {used} and does not: take it out of the table");
    }
}

#[test]
fn a_planted_violation_fails() {
    for (file, text, complaint) in [
        ("record", "use crate::log::Log;", "record must not use log"),
        ("record", "pub(crate) use crate::log as other;", "record must not use log"),
        ("store", "use crate::{error::Error, sys::{Dir, File}, segment::{self, Id}};", "store must not use segment"),
        ("store", "fn f() { fn g() { use crate::{row::*}; } }", "store must not use row"),
        ("index", "fn f() -> crate::log::Stat { todo!() }", "index must not use log"),
        ("index", "fn f(x: Vec<Option<crate :: commit :: Mark>>) {}", "index must not use commit"),
        ("tail", "macro_rules! m { () => { $crate::log::remove } }", "tail must not use log"),
        ("tail", "use super::keeper::Bell;", "tail must not use keeper"),
        ("tail", "mod inner { use super::super::keeper::Bell; }", "tail must not use keeper"),
        ("tail", "#[cfg(not(test))] fn f() { crate::keeper::x() }", "tail must not use keeper"),
        ("row", "fn f() -> sys::Dir { crate::Log::open() }", "row must not use log"),
        ("row", "use crate as all;", "row must not use lib"),
        ("log", "fn f() { sys::fault::ask(); }", "log must not use sys/fault"),
        ("sys/os", "use super::dir::Dir;", "sys/os must not use sys/dir"),
        ("sys/os", "use super::*;", "sys/os must not use sys"),
        ("sys/fault", "fn f() { super::super::record::frame_bytes(0); }", "sys/fault must not use record"),
        ("ffi/types", "use super::log::log_t;", "ffi/types must not use ffi/log"),
        ("segment", "fn f() { unsafe { g() } }", "segment must not be unsafe"),
        ("segment", "unsafe impl Send for Segment {}", "segment must not be unsafe"),
        ("segment", "#[unsafe(no_mangle)] fn f() {}", "segment must not export a symbol"),
        ("ffi/log", "fn f() { unsafe { g() } }", "ffi/log must not be unsafe"),
        ("control", "use libc::{flock, LOCK_EX};", "control must not name libc::flock"),
        ("control", "extern crate libc as c;", "control must not name libc"),
        ("error", "fn f() { libc::abort() }", "error must not name libc::abort"),
        ("store", "fn f(map: ::memmap2::Mmap) {}", "store must not name memmap2::Mmap"),
        ("record", "fn f() { crc32c::crc32c(b\"\"); }", "record must not name crc32c::crc32c"),
        ("keeper", "use std::{sync::Arc, thread::{self, spawn}};", "keeper must not name std::thread"),
        ("recovery", "fn f() { std::fs::read(p) }", "recovery must not name std::fs::read"),
        ("row", "use std::sync::{Arc, atomic::AtomicU64};", "row must not name std::sync::Arc"),
    ] {
        let broken = planted(file, text);
        assert!(broken.iter().any(|found| found == complaint), "{file}: {text}\n found {broken:?}");
    }
}

#[test]
fn what_is_no_use_is_let_pass() {
    for (file, text) in [
        ("record", "// use crate::log::Log; unsafe {}\n/* libc::open /* nested */ unsafe */"),
        ("record", "const A: &str = \"use crate::log; unsafe \\\" libc::x\"; const B: &str = r#\"crate::log \" \"#;"),
        ("record", "fn f<'a>(c: char, x: &'a str) -> bool { c == '\"' || c == '\\'' || c == '{' }"),
        ("record", "#[cfg(test)]\nmod more { use crate::log::Log; fn f() { unsafe { libc::abort() } } }"),
        ("record", "#[cfg(test)] #[allow(unused)] use crate::testing::TempDir;"),
        ("record", "pub(crate) fn f() {} pub(super) fn crc32c() {} fn g() { f::<u8>(); self::f(); }"),
        ("error", "const FULL: i32 = libc::ENOSPC;"),
        ("ffi/cursor", "#[unsafe(no_mangle)] pub extern \"C\" fn f() {}"),
    ] {
        assert_eq!(planted(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "{file} does not begin with what it is");
        let lines = text.lines().count();
        assert!(lines <= LINES, "{file} has {lines} lines; split it by noun");
        let long = |line: &&str| line.chars().count() > COLUMNS;
        let long: Vec<_> = text.lines().filter(long).collect();
        assert!(long.is_empty(), "{file} has lines of more than {COLUMNS} columns: {long:#?}");
    }
}

/// What stands in docs/GUARANTEES.md as `path::name`: the tests that hold the promises.
fn tests_named_in(text: &str) -> Vec<(String, String)> {
    let spans = text.split('`').skip(1).step_by(2);
    let tests = spans.filter(|span| span.starts_with("tests/") || span.starts_with("src/"));
    tests.filter_map(|span| span.split_once("::")).map(|(path, name)| (path.to_owned(), name.to_owned())).collect()
}

/// Whether this text defines a function, or names one in a macro that does.
fn defines(text: &str, name: &str) -> bool {
    let word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&text[..at], text[at + name.len()..].trim_start());
        let whole = !word(before.as_bytes().last()) && !word(text.as_bytes().get(at + name.len()));
        let line = before.rsplit('\n').next().unwrap_or("").trim_start();
        let function = line.ends_with("fn ") || line.ends_with("void ");
        whole && !line.starts_with("//") && (function || behind.starts_with("=>") || behind.starts_with(": "))
    })
}

#[test]
fn every_test_that_a_guarantee_names_exists() {
    let named = tests_named_in(&read(&root().join("docs/GUARANTEES.md")));
    assert!(named.len() > 20, "only {} tests are named", named.len());
    let exists =
        |path: &str, name: &str| std::fs::read_to_string(root().join(path)).is_ok_and(|text| defines(&text, name));
    let missing: Vec<_> = named.iter().filter(|(path, name)| !exists(path, name)).collect();
    assert!(missing.is_empty(), "docs/GUARANTEES.md names tests that do not exist: {missing:#?}");
}

#[test]
fn a_guarantee_without_its_test_is_noticed() {
    assert_eq!(tests_named_in("a `tests/x.rs::f`, b `no::test` `src/y.rs`").len(), 1);
    assert!(defines("#[test]\nfn holds() {}", "holds"));
    assert!(defines("    holds: \"gcc\";", "holds") && defines("static void holds(void) {}", "holds"));
    assert!(!defines("fn holds_more() {}", "holds") && !defines("// fn holds() {}", "holds"));
    assert!(!defines("holds();", "holds"));
}
