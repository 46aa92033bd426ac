//! Tests with processes of their own: the test binary starts itself again as one that writes or reads, and both sides know
//! what a record must be.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use seglog::{Config, Sync, flags};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// Marsaglia's xorshift64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A record tells its offset and its version, which goes up with each cut of the log, and every byte of it depends on
/// both. `len` chooses its length.
pub(crate) fn record(offset: u64, version: u64, len: impl FnOnce(&mut Random) -> usize) -> Vec<u8> {
    let mut random = Random::new(offset << 20 ^ version);
    let len = len(&mut random);
    let mut bytes = Vec::with_capacity(len + 8);
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The version of a record that must be the one of this offset, with its exact bytes.
pub(crate) fn version_of(payload: &[u8], offset: u64, record: impl FnOnce(u64, u64) -> Vec<u8>) -> u64 {
    let word = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    assert!(payload.len() >= 16, "record {offset} has {} bytes", payload.len());
    assert_eq!(word(0), offset, "it is the record of another offset");
    assert!(payload == record(offset, word(8)), "record {offset}, version {}: its bytes are others", word(8));
    word(8)
}

pub(crate) fn quick(segment_max_bytes: u64) -> Config {
    Config { segment_max_bytes, sync: Sync::Never, ..Config::default() }
}

pub(crate) fn reading() -> Config {
    Config { flags: flags::READ_ONLY, ..Config::default() }
}

/// In the ignored test `the_other_process`: what [`Other::start`] asks of this process, if it is one.
pub(crate) fn asked() -> Option<(String, PathBuf, u64)> {
    let asked = |what| std::env::var(format!("SEGLOG_OTHER_{what}"));
    let dir = std::env::var_os("SEGLOG_OTHER_DIR");
    Some((asked("VERB").ok()?, dir.unwrap().into(), asked("SEED").unwrap().parse().unwrap()))
}

/// This binary again, as a process that does what `verb` says: its ignored test `the_other_process`, which finds the verb
/// and the rest in its environment.
pub(crate) struct Other {
    pub(crate) child: Child,
    pub(crate) says: BufReader<ChildStdout>,
}

impl Other {
    pub(crate) fn start(verb: &str, dir: &Path, seed: u64) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), verb, dir, seed)
    }

    /// The same by a command to which the arguments are added.
    pub(crate) fn start_by(mut command: Command, verb: &str, dir: &Path, seed: u64) -> Self {
        let mut child = command
            .args(["--exact", "the_other_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env("SEGLOG_OTHER_VERB", verb)
            .env("SEGLOG_OTHER_DIR", dir)
            .env("SEGLOG_OTHER_SEED", seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// What it says behind this word.
    pub(crate) fn wait_for(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.says.read_line(&mut line).unwrap() > 0, "the other process ended before it said {word}");
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().unwrap()
    }

    /// Waits until it has done what it was started for.
    pub(crate) fn end(&mut self) {
        assert!(self.child.wait().unwrap().success(), "the other process failed");
    }
}

impl Drop for Other {
    /// However a test ends.
    fn drop(&mut self) {
        self.kill();
    }
}
