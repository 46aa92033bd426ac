//! `examples-c/consumer.c`, killed with SIGKILL at random moments between its work and its `log_position_save`, and
//! started again, beside a writer that appends, rolls and trims: no record is ever skipped, and only those are repeated
//! that were worked on after the last save. A thousand kills (`SEGLOG_CONSUMER_KILLS` sets how many).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod support;

use common::{Profile, TempDir};
use seglog::{Config, Log, Sync, flags};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use support::{Random, Scratch};

const KILLS: u64 = 1000;

#[test]
fn a_consumer_that_is_killed_skips_no_record_and_repeats_only_what_it_had_not_saved() {
    let kills = std::env::var("SEGLOG_CONSUMER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let temp = TempDir::new("consumer");
    let program = temp.join("consumer");
    let linking = common::static_flags(common::library_dir_of(Profile::Release));
    let mut compiler_flags = vec!["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-pthread", "-static"];
    compiler_flags.extend(linking.iter().map(String::as_str));
    common::compile_c(&[&common::path("examples-c/consumer.c")], &compiler_flags, &program);

    let dir = Scratch::new();
    // What a consumer has not passed is held back, so that nothing which it needs is trimmed.
    let config = Config {
        segment_max_bytes: 4096,
        sync: Sync::Never,
        flags: flags::NO_THREAD | flags::KEEP_UNCONSUMED,
        ..Config::default()
    };
    let log = Log::open(dir.path(), &config).unwrap();
    log.position_save("consumer", 0).unwrap();
    let mut random = Random(11);
    let (mut appended, mut repeated, mut in_between, mut rounds) = (0_u64, 0_u64, 0_u64, 0_u64);
    // The next record that must be seen at the latest.
    let mut seen = 0;
    loop {
        // On a busy machine a kill often comes when all was done: then there are more of them.
        let is_killed = rounds < kills || in_between <= kills / 10 && rounds < 10 * kills;
        if !is_killed && seen >= appended {
            break;
        }
        let batch = if is_killed { 1 + random.next() % 8 } else { 1 };
        if is_killed {
            for _ in 0..20 + random.next() % 40 {
                log.append(appended.to_string().as_bytes()).unwrap();
                appended += 1;
            }
        }
        let before = log.position_load("consumer").unwrap();
        assert!(before <= seen, "position {before} was saved, and only records below {seen} were worked on");
        let mut child = Command::new(&program)
            .args(["--batch", &batch.to_string()])
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut worked = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        if is_killed {
            // When it has worked on so many, wherever it is by then.
            for _ in 0..random.next() % 20 {
                worked.read_line(&mut text).unwrap();
            }
            child.kill().unwrap();
        }
        worked.read_to_string(&mut text).unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.code().is_none_or(|code| code == 0), "{ended:?}");
        let whole = text.rfind('\n').map_or("", |at| &text[..=at]);
        let mut next = before;
        for line in whole.as_bytes().lines().map(Result::unwrap) {
            assert_eq!(line, next.to_string(), "round {rounds}: a record was skipped, or is none");
            repeated += u64::from(next < seen);
            next += 1;
        }
        seen = seen.max(next);
        let saved = log.position_load("consumer").unwrap();
        assert!(saved <= next, "round {rounds}: {saved} was saved before its work was done: {next}");
        assert!(next - saved <= batch, "round {rounds}: {next} were worked on, {saved} saved, at most {batch} unsaved");
        in_between += u64::from(saved < next);
        rounds += 1;
        log.trim(log.next_offset()).unwrap();
        assert!(log.first_offset() <= saved, "what was not consumed is gone");
    }
    assert_eq!(seen, appended);
    assert!(in_between > kills / 10, "only {in_between} of {kills} kills fell between the work and its save");
    assert!(repeated > 0 && log.first_offset() > 0);
    println!("{rounds} rounds, {appended} records, {in_between} kills between work and save, {repeated} repeated");
}
