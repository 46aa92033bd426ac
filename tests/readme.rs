//! What the README shows and what `examples-c` offers works: the quickstart is printed there byte for byte, and each
//! program is made by the examples' own Makefile against the plain library and run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Finished, TIME_OUT, TempDir};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the quickstarts print for an empty directory.
const QUICKSTART_PRINTS: &str = "appended and read back at offset 0: hello\n0: hello\n1: world\n";

/// The code block behind the line that names its file.
fn printed_in_readme(marker: &str) -> String {
    let readme = fs::read_to_string(common::path("README.md")).unwrap();
    let (_, behind) = readme.split_once(&format!("{marker}\n")).unwrap_or_else(|| panic!("no line {marker}"));
    let block = behind.trim_start_matches('\n').strip_prefix("```c\n").expect("a C block follows the marker");
    let (code, _) = block.split_once("\n```").expect("the block ends");
    format!("{code}\n")
}

#[test]
fn quickstart_stands_in_the_readme_byte_for_byte() {
    let printed = printed_in_readme("<!-- examples-c/quickstart.c -->");
    let file = fs::read_to_string(common::path("examples-c/quickstart.c")).unwrap();
    assert!(printed == file, "README.md and examples-c/quickstart.c differ; README.md has:\n{printed}");
}

/// As a reader would: the text copied out of the README, compiled, and run twice on one log.
#[test]
fn quickstart_of_the_readme_runs() {
    let temp = TempDir::new("readme");
    let source = temp.join("quickstart.c");
    fs::write(&source, printed_in_readme("<!-- examples-c/quickstart.c -->")).unwrap();
    let library = common::library_dir();
    for linking in [common::shared_flags(library), common::static_flags(library)] {
        let program = temp.join("quickstart");
        let flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
        let flags: Vec<&str> = flags.into_iter().chain(linking.iter().map(String::as_str)).collect();
        common::compile_c(&[&source], &flags, &program);
        let first = run_in(temp.path(), &program, &[]); // in ./my-log
        first.expect_success("quickstart");
        assert_eq!(first.stdout, QUICKSTART_PRINTS);
        let second = run_in(temp.path(), &program, &[]);
        second.expect_success("quickstart, again");
        assert_eq!(
            second.stdout,
            "appended and read back at offset 2: hello\n0: hello\n1: world\n2: hello\n3: world\n"
        );
        fs::remove_dir_all(temp.join("my-log")).unwrap();
    }
}

fn run_in(folder: &Path, program: impl AsRef<std::ffi::OsStr>, args: &[&Path]) -> Finished {
    common::run_command(Command::new(program).args(args).current_dir(folder), TIME_OUT)
}

/// The examples made in a copy of their folder, so that what a user made in his own stays.
struct Examples {
    temp: TempDir,
}

impl Examples {
    /// Copies the folder and makes these programs with its Makefile.
    fn make(programs: &[&str]) -> Self {
        let temp = TempDir::new("examples");
        let library = common::library_dir();
        let copy = temp.join("examples-c");
        fs::create_dir(&copy).unwrap();
        for entry in common::path("examples-c").read_dir().unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() {
                fs::copy(&from, copy.join(from.file_name().expect("it is a file"))).unwrap();
            }
        }
        fs::create_dir(temp.join("include")).unwrap();
        for header in ["include/seglog.h", "include/seglog.hpp"] {
            fs::copy(common::path(header), temp.join(header)).unwrap();
        }
        let mut make = Command::new("make");
        make.arg("-C").arg(&copy).args(programs.iter().map(|program| format!("build/{program}")));
        // The folder of the plain library stands for target/debug.
        let target = library.parent().expect("it is in a folder").to_str().expect("it is UTF-8");
        make.arg(format!("TARGET_DIR={target}"));
        make.arg(format!("BUILD={}", library.file_name().and_then(|name| name.to_str()).expect("it has a name")));
        make.arg("CFLAGS=-O2 -g -Werror");
        for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "INSTALLED", "LDFLAGS", "CPPFLAGS"] {
            make.env_remove(name);
        }
        common::run_command(&mut make, TIME_OUT).expect_success(&format!("{make:?}"));
        Self { temp }
    }

    fn program(&self, name: &str) -> PathBuf {
        self.temp.join("examples-c/build").join(name)
    }

    fn run(&self, name: &str, args: &[&Path]) -> Finished {
        let done = run_in(self.temp.path(), self.program(name), args);
        done.expect_success(name);
        done
    }
}

#[test]
fn quickstart_runs() {
    let examples = Examples::make(&["quickstart"]);
    assert_eq!(examples.run("quickstart", &[]).stdout, QUICKSTART_PRINTS);
}

#[test]
fn threads_runs() {
    let examples = Examples::make(&["threads"]);
    let done = examples.run("threads", &["--records".as_ref(), "200".as_ref(), "log".as_ref()]);
    assert!(done.stdout.ends_with("all in order\n"), "{}", done.report());
    let again = examples.run("threads", &["--records".as_ref(), "50".as_ref(), "log".as_ref()]);
    assert!(again.stdout.ends_with("all in order\n"), "{}", again.report());
}

/// It goes on where it had saved its position, each consumer by its own name.
#[test]
fn consumer_runs() {
    let examples = Examples::make(&["quickstart", "consumer"]);
    examples.run("quickstart", &[]);
    let log = examples.temp.join("my-log");
    assert_eq!(examples.run("consumer", &[&log]).stdout, "hello\nworld\n");
    assert_eq!(examples.run("consumer", &[&log]).stdout, "");
    examples.run("quickstart", &[]);
    assert_eq!(examples.run("consumer", &[&log]).stdout, "hello\nworld\n");
    let other: [&Path; 5] = ["--name".as_ref(), "other".as_ref(), "--batch".as_ref(), "3".as_ref(), &log];
    assert_eq!(examples.run("consumer", &other).stdout, "hello\nworld\nhello\nworld\n");
}

/// Each checks its own steps, and makes its directory anew.
#[test]
fn raft_log_and_event_store_run() {
    let examples = Examples::make(&["raft_log", "event_store"]);
    for program in ["raft_log", "event_store"] {
        for _ in 0..2 {
            let done = examples.run(program, &[program.as_ref()]);
            assert!(done.stdout.lines().count() > 3 && done.stderr.is_empty(), "{}", done.report());
        }
    }
}

#[test]
fn dlopen_runs() {
    let examples = Examples::make(&["dlopen"]);
    let library = common::library_dir().join("libseglog.so");
    let done = examples.run("dlopen", &[&library, "log".as_ref()]);
    assert!(done.stdout.ends_with(QUICKSTART_PRINTS), "{}", done.report());
    let by_soname = examples.run("dlopen", &[]);
    assert!(by_soname.stdout.ends_with(QUICKSTART_PRINTS), "{}", by_soname.report());
}

/// What dlopen.c and quickstart.py rely on: the library needs nothing that its host has not.
#[test]
fn dlopen_is_not_linked_with_the_library() {
    let examples = Examples::make(&["dlopen"]);
    let done = common::run("readelf", &["-d".as_ref(), examples.program("dlopen").as_os_str()]);
    done.expect_success("readelf");
    assert!(!done.stdout.contains("seglog.so"), "{}", done.stdout);
}

/// Every line of a file comes back byte for byte, and a second run takes none twice.
#[test]
fn ingest_and_dump_are_inverse() {
    let examples = Examples::make(&["ingest", "dump"]);
    let input = common::path("examples-c/data/earthquakes.ndjson");
    let log = examples.temp.join("log");
    let args: [&Path; 6] =
        ["--sync".as_ref(), "never".as_ref(), "--segment-bytes".as_ref(), "65536".as_ref(), &log, &input];
    examples.run("ingest", &args);
    let dumped = examples.run("dump", &[&log]);
    assert!(dumped.stdout == fs::read_to_string(&input).unwrap(), "what was dumped is not what was ingested");
    examples.run("ingest", &["--skip-existing".as_ref(), &log, &input]);
    assert!(examples.run("dump", &[&log]).stdout == dumped.stdout, "--skip-existing took some lines again");
}

/// `ingest` appends in one process; `follow` and `epoll` in others print what comes, and end when they have seen it.
#[test]
fn follow_and_epoll_print_what_another_process_appends() {
    let examples = Examples::make(&["ingest", "follow", "epoll"]);
    let lines = |from: u32| (from..from + 300).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
    let input = examples.temp.join("lines");
    let dirs = ["one", "two"];
    let ingest = |dir: &str, text: &str| {
        fs::write(&input, text).unwrap();
        examples.run("ingest", &["--sync".as_ref(), "never".as_ref(), dir.as_ref(), &input]);
    };
    for dir in dirs {
        ingest(dir, &lines(0));
    }
    let started = |program: &str, args: &[&str]| {
        let mut command = Command::new(examples.program(program));
        command.args(args).current_dir(examples.temp.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let follow = started("follow", &["--from", "0", "--count", "600", "one"]);
    let epoll = started("epoll", &["--from-start", "--count", "1200", "one", "two"]);
    // Both have what was there, and wait for more, or come later: it is the same to them.
    std::thread::sleep(Duration::from_millis(100));
    for dir in dirs {
        ingest(dir, &lines(300));
    }
    let followed = follow.wait_with_output().unwrap();
    assert!(followed.status.success(), "{}", String::from_utf8_lossy(&followed.stderr));
    assert!(String::from_utf8(followed.stdout).unwrap() == lines(0) + &lines(300));
    let heard = epoll.wait_with_output().unwrap();
    assert!(heard.status.success(), "{}", String::from_utf8_lossy(&heard.stderr));
    let heard = String::from_utf8(heard.stdout).unwrap();
    for dir in dirs {
        let of_it: Vec<_> = heard.lines().filter(|line| line.starts_with(dir)).collect();
        assert_eq!(of_it, (0..600).map(|n| format!("{dir} {n} line {n}")).collect::<Vec<_>>());
    }
    let idle = examples.run("follow", &["--idle-ms".as_ref(), "1".as_ref(), "two".as_ref()]);
    assert_eq!(idle.stdout, "");
}

/// Workers of two names each do every job, in order; one that was killed does at most its last job again.
#[test]
fn queue_gives_each_worker_every_job() {
    let examples = Examples::make(&["queue"]);
    let text = |done: &Finished| {
        done.expect_success("queue");
        done.stdout.clone()
    };
    let queue = |args: &[&str]| {
        let args: Vec<&Path> = std::iter::once("jobs").chain(args.iter().copied()).map(Path::new).collect();
        run_in(examples.temp.path(), examples.program("queue"), &args)
    };
    assert_eq!(text(&queue(&["push", "a", "b", "c"])), "job 0\njob 1\njob 2\n");
    assert_eq!(text(&queue(&["work", "first", "2"])), "first does job 0: a\nfirst does job 1: b\n");
    let mut waiting = Command::new(examples.program("queue"));
    waiting.args(["jobs", "work", "first", "2"]).current_dir(examples.temp.path()).stdout(Stdio::piped());
    let waiting = waiting.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(text(&queue(&["push", "d"])), "job 3\n");
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(waited.stdout).unwrap(), "first does job 2: c\nfirst does job 3: d\n");
    assert_eq!(text(&queue(&["work", "second", "1"])), "second does job 0: a\n");
    assert_eq!(text(&queue(&["show"])), "jobs 0 to 4\nfirst: 0 to do\nsecond: 3 to do\n");
    assert!(!queue(&["work"]).success() && !queue(&["work", "no/name", "1"]).success());
}

#[test]
fn quickstart_py_runs() {
    if !common::have("python3") {
        return;
    }
    let temp = TempDir::new("quickstart-py");
    let mut python = Command::new("python3");
    python.arg("-B").arg(common::path("examples-c/quickstart.py")).arg("my-log").current_dir(temp.path());
    python.env("SEGLOG_LIBRARY", common::library_dir().join("libseglog.so"));
    let done = common::run_command(&mut python, TIME_OUT);
    done.expect_success("quickstart.py");
    assert_eq!(done.stdout, QUICKSTART_PRINTS);
}
