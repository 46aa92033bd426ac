//! What the integration tests share: the plain library as a C program finds it, C compilers, programs that are run with
//! a time-out, and directories that go away. It knows no test and nothing of a log's files.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take unless a test says otherwise. Far more than any needs, but for one that hangs.
pub(crate) const TIME_OUT: Duration = Duration::from_secs(600);

/// What a program that links the static library needs beside it.
pub(crate) const STATIC_LIBRARIES: &[&str] = &["-lpthread", "-ldl", "-lm"];

/// The folder of `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of the repository.
pub(crate) fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

// --- the library ---------------------------------------------------------------------------------------------------

/// Which build of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// The folder with `libseglog.so` (also under its soname) and `libseglog.a` of the debug build.
pub(crate) fn library_dir() -> &'static Path {
    library_dir_of(Profile::Debug)
}

/// The same of either build. Built once in a test process, without features: it is what a user would install, not
/// the build with fault hooks that `cargo test --features faults` leaves in the target directory.
pub(crate) fn library_dir_of(profile: Profile) -> &'static Path {
    static DIRS: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    DIRS[profile as usize].get_or_init(|| {
        let built = cargo_build(profile);
        let name = if profile == Profile::Debug { "lib-debug" } else { "lib-release" };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        for file in ["libseglog.so", "libseglog.a"] {
            let from = built.iter().find(|path| path.ends_with(file));
            let from = from.unwrap_or_else(|| panic!("cargo build made no {file}, but {built:?}"));
            replace(&dir.join(file), |new| {
                // A copy where the target directory lies on two file systems.
                if fs::hard_link(from, new).is_err() {
                    fs::copy(from, new).unwrap();
                }
            });
        }
        replace(&dir.join(soname()), |new| std::os::unix::fs::symlink("libseglog.so", new).unwrap());
        dir
    })
}

/// The soname that the crate's version asks for: before 1.0 each minor version has its own ABI.
pub(crate) fn soname() -> String {
    match env!("CARGO_PKG_VERSION_MAJOR") {
        "0" => format!("libseglog.so.0.{}", env!("CARGO_PKG_VERSION_MINOR")),
        major => format!("libseglog.so.{major}"),
    }
}

/// Puts what `make` makes at `place`, at once, so that another test binary never sees half of it.
fn replace(place: &Path, make: impl FnOnce(&Path)) {
    let mut new = place.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    let _ = fs::remove_file(&new);
    make(&new);
    fs::rename(&new, place).unwrap();
    let _ = fs::remove_file(&new); // rename leaves it where both are the same file
}

/// Builds the library and gives the files that cargo says it made.
fn cargo_build(profile: Profile) -> Vec<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--lib", "--message-format=json", "--manifest-path"]).arg(path("Cargo.toml"));
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    // What cargo set for this test process is not meant for another build.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let done = run_command(&mut cargo, TIME_OUT);
    done.expect_success("cargo build");
    let library =
        done.stdout.lines().filter(|line| line.contains("\"compiler-artifact\"") && line.contains("libseglog."));
    library.flat_map(|line| line.split('"')).filter(|part| part.contains("/libseglog.")).map(PathBuf::from).collect()
}

// --- compilers -----------------------------------------------------------------------------------------------------

/// Compiles C (or, by the flags, C++) with gcc against the header. The flags follow the sources, so libraries may be
/// among them. Fails the test with what the compiler said.
pub(crate) fn compile_c(sources: &[&Path], flags: &[&str], out: &Path) {
    compile_with("gcc", sources, flags, out);
}

/// The same with another compiler.
pub(crate) fn compile_with(compiler: &str, sources: &[&Path], flags: &[&str], out: &Path) {
    let mut command = Command::new(compiler);
    command.arg("-I").arg(path("include"));
    // -x holds for the files behind it, and libraries are not C++.
    let (language, flags): (Vec<&str>, Vec<&str>) = flags.iter().partition(|flag| flag.starts_with("-x"));
    command.args(&language).args(sources).args(language.first().map(|_| "-xnone")).args(&flags).arg("-o").arg(out);
    run_command(&mut command, TIME_OUT).expect_success(&format!("{command:?}"));
}

/// The flags that link a program with the shared library of this folder, and make it find that when it runs.
pub(crate) fn shared_flags(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("the target directory's path is UTF-8");
    vec![format!("-L{dir}"), "-lseglog".to_owned(), format!("-Wl,-rpath,{dir}")]
}

/// The flags that link a program with the static library of this folder.
pub(crate) fn static_flags(dir: &Path) -> Vec<String> {
    let library = dir.join("libseglog.a").to_str().expect("the target directory's path is UTF-8").to_owned();
    std::iter::once(library).chain(STATIC_LIBRARIES.iter().map(|&flag| flag.to_owned())).collect()
}

/// Whether a tool is there. Where it is not, the test says that it was skipped; in CI, which installs all tools, it
/// fails.
pub(crate) fn have(tool: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file()));
    if !found {
        skip(&format!("{tool} is not installed"));
    }
    found
}

/// Whether strace is there and may trace.
pub(crate) fn can_trace() -> bool {
    if !have("strace") {
        return false;
    }
    let tried = run("strace", &["-f", "-o", "/dev/null", "true"]);
    if !tried.success() {
        skip(&format!("strace may not trace here: {}", tried.stderr));
    }
    tried.success()
}

/// Says that a test was skipped, and why; in CI that is a failure.
#[allow(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn skip(why: &str) {
    assert!(!in_ci(), "skipped in CI: {why}");
    println!("skipped: {why}");
}

/// Whether this run stands for a release: the variable `CI` is set and not empty.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Whether file modes stop this process from nothing.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

// --- programs ------------------------------------------------------------------------------------------------------

/// What a program has said and how it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) timed_out: bool,
}

impl Finished {
    pub(crate) fn success(&self) -> bool {
        self.status.success() && !self.timed_out
    }

    /// Fails the test, with all that the program said, if it did not end with status 0 in time.
    pub(crate) fn expect_success(&self, what: &str) {
        assert!(self.success(), "{what} failed:\n{}", self.report());
    }

    /// How it ended and what it said, for the message of a failed test.
    pub(crate) fn report(&self) -> String {
        let mut report = String::new();
        let end = match (self.timed_out, self.status.signal()) {
            (true, _) => "it took too long and was killed".to_owned(),
            (false, Some(signal)) => format!("it was ended by signal {signal}"),
            (false, None) => format!("it ended with {}", self.status),
        };
        let _ = writeln!(report, "{end}\n--- standard output\n{}--- standard error\n{}---", self.stdout, self.stderr);
        report
    }
}

/// Runs a program to its end, but no longer than [`TIME_OUT`], with its output captured.
pub(crate) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Finished {
    run_command(Command::new(program).args(args), TIME_OUT)
}

/// The same for a prepared command. When time is up, the program is killed with all that it has started.
pub(crate) fn run_command(command: &mut Command, limit: Duration) -> Finished {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let stdout = drain(child.stdout.take().expect("it is piped"));
    let stderr = drain(child.stderr.take().expect("it is piped"));
    let started = Instant::now();
    let mut timed_out = false;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > limit {
            timed_out = true;
            kill_group(child.id());
            break child.wait().unwrap();
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    let (stdout, stderr) = (stdout.join().expect("drained"), stderr.join().expect("drained"));
    Finished { status, stdout, stderr, timed_out }
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// `kill` of the shell, since std has none for a group.
fn kill_group(leader: u32) {
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{leader}")]).status();
}

// --- directories ---------------------------------------------------------------------------------------------------

/// A directory of its own under the system's folder for temporary files, removed with all in it when dropped. Anybody
/// may enter it, since some tests run as another user.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        Self::under(&std::env::temp_dir(), name)
    }

    /// One in memory, if there is such a place: for what is done on disks as well, where the waits for disks are most of the time.
    pub(crate) fn in_memory(name: &str) -> Self {
        let memory = PathBuf::from("/dev/shm");
        Self::under(&if memory.is_dir() { memory } else { std::env::temp_dir() }, name)
    }

    fn under(parent: &Path, name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("seglog-{name}-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            // Rights that a test took away from its own user.
            let chmod: [OsString; 4] = ["-R".into(), "u+rwX".into(), "--".into(), self.0.clone().into()];
            let _ = Command::new("chmod").args(chmod).stderr(Stdio::null()).status();
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
