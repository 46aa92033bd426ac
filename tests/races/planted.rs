//! Orders that are wrong, planted in a copy of the source: the scenarios must find each. All of them stand in one build
//! of the copy, and the environment chooses one for a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Plant {
    name: &'static str,
    file: &'static str,
    /// As it stands in the source.
    right: &'static str,
    /// As it stands in the copy; `PLANTED` is true where this plant is the one that was chosen.
    wrong: &'static str,
    /// The scenario that must find it.
    found_by: &'static str,
}

const PLANTS: &[Plant] = &[
    Plant {
        name: "published before the frame is in the ring",
        file: "src/writer.rs",
        right: "parts.tail.put(self.end, head, payload);\n        self.count_in(timestamp_ns, payload.len());",
        wrong: "let at = self.end;
                if PLANTED { self.count_in(timestamp_ns, payload.len()); self.publish(parts); }
                parts.tail.put(at, head, payload);
                if !PLANTED { self.count_in(timestamp_ns, payload.len()); }",
        found_by: "what_is_published_reads_back",
    },
    Plant {
        name: "stored said before the pwrite",
        file: "src/commit.rs",
        right: "            tail.write_out(&store, stored, end)?;",
        wrong: "            if PLANTED { segment.set_stored(end); }
                tail.write_out(&store, stored, end)?;",
        found_by: "the_ring_comes_round_under_its_readers",
    },
    Plant {
        name: "the ring used again before its frames are stored",
        file: "src/writer.rs",
        right: "if waiting + bytes > RING_BYTES {",
        wrong: "if waiting + bytes > RING_BYTES * if PLANTED { 2 } else { 1 } {",
        found_by: "the_ring_comes_round_under_its_readers",
    },
    Plant {
        name: "the ring written out by two at once",
        file: "src/commit.rs",
        right: "let mut zeroed = lock(&self.writing_out);",
        wrong: "let mut elsewhere = Zeroed::new(false);
        let mut writing = (!PLANTED).then(|| lock(&self.writing_out));
        let zeroed = writing.as_deref_mut().unwrap_or(&mut elsewhere);",
        found_by: "the_ring_comes_round_under_its_readers",
    },
    Plant {
        name: "a copy out of the ring believed though it was stored meanwhile",
        file: "src/row.rs",
        right: "    Ok(segment.stored() <= position)",
        wrong: "    Ok(PLANTED || segment.stored() <= position)",
        found_by: "the_ring_comes_round_under_its_readers",
    },
    Plant {
        name: "durable said before the sync",
        file: "src/commit.rs",
        right: "        if leader.synced < slot.position && !seeded(Bug::AcknowledgedUnsynced) {",
        wrong: "        if PLANTED { self.advance(control, slot.next_offset); }
        if leader.synced < slot.position {",
        found_by: "no_append_is_acknowledged_before_the_sync_that_covers_it",
    },
    Plant {
        name: "whoever waits for a leader takes his sync for its own",
        file: "src/commit.rs",
        right: "                state = self.wait(state, target, left);
                continue;",
        wrong: "                state = self.wait(state, target, left);
                if PLANTED { return Ok(true); }
                continue;",
        found_by: "no_append_is_acknowledged_before_the_sync_that_covers_it",
    },
    Plant {
        name: "nobody is woken whom a sync did not cover",
        file: "src/commit.rs",
        right: "        self.commit.hand_on(&state);
        drop(state);",
        wrong: "        if !PLANTED { self.commit.hand_on(&state); }
        drop(state);",
        found_by: "no_append_is_acknowledged_before_the_sync_that_covers_it",
    },
    Plant {
        name: "who is woken to lead and need not tells nobody",
        file: "src/commit.rs",
        right: "if waited == Some(state.round_for(0)) {",
        wrong: "if !PLANTED && waited == Some(state.round_for(0)) {",
        found_by: "no_append_is_acknowledged_before_the_sync_that_covers_it",
    },
    Plant {
        name: "a truncation that readers hear of when it is over",
        file: "src/upkeep.rs",
        right: "parts.published.fetch_min(cut.offset, Ordering::AcqRel);",
        wrong: "if !PLANTED { parts.published.fetch_min(cut.offset, Ordering::AcqRel); }",
        found_by: "readers_beside_truncations_never_see_what_was_dropped",
    },
    Plant {
        name: "a trim that readers hear of when the files are gone",
        file: "src/upkeep.rs",
        right: "            parts.begin_at(&writer, self.offset, self.payload_bytes);",
        wrong: "            if PLANTED {
            for segment in &parts.rows.newest().segments {
                if segment.limit() <= self.offset { remove(parts.dir, segment); }
            }
        }
            parts.begin_at(&writer, self.offset, self.payload_bytes);",
        found_by: "readers_beside_trims_never_meet_damage",
    },
    Plant {
        name: "looked for sleepers before it published",
        file: "src/log.rs",
        right: "        let appended = inner.write()?.append(&inner.parts(), payload, payload_crc, now_ns)?;
        inner.after_append(&appended)?;
        Ok(appended.first_offset)",
        wrong: "        if PLANTED {
            let mut writer = inner.write()?;
            inner.control.alarm().ring_if_passed(Awaited::Records, writer.next_offset + 1);
            return Ok(writer.append(&inner.parts(), payload, payload_crc, now_ns)?.first_offset);
        }
        let appended = inner.write()?.append(&inner.parts(), payload, payload_crc, now_ns)?;
        inner.after_append(&appended)?;
        Ok(appended.first_offset)",
        found_by: "races::waits::whoever_waits_for_a_record_is_woken_by_its_append",
    },
    Plant {
        name: "asleep without a look behind the alarm",
        file: "src/waiting.rs",
        right: "        let found = look()?;
        let left",
        wrong: "        let found = if PLANTED { None } else { look()? };
        let left",
        found_by: "races::waits::whoever_waits_for_a_record_is_woken_by_its_append",
    },
    Plant {
        name: "asleep on a count that was read behind the look",
        file: "src/waiting.rs",
        right: "        match bed.sleep(what, rung, left.min(longest)) {",
        wrong: "        let rung = if PLANTED { bed.rung() } else { rung };
        match bed.sleep(what, rung, left.min(longest)) {",
        found_by: "races::waits::whoever_waits_for_a_record_is_woken_by_its_append",
    },
    Plant {
        name: "counted before the alarm is taken down",
        file: "src/waiting.rs",
        right: "        self.0.change_u64(at, |_| Some(NOBODY));
        self.count();",
        wrong: "        if PLANTED { self.count(); }
        self.0.change_u64(at, |_| Some(NOBODY));
        if !PLANTED { self.count(); }",
        found_by: "races::waits::whoever_waits_for_a_record_is_woken_by_its_append",
    },
    Plant {
        name: "places emptied without the barrier",
        file: "src/sys/places.rs",
        right: "let seen = self.barrier.heavy()",
        wrong: "let seen = PLANTED || self.barrier.heavy()",
        found_by: "races::places::readers_come_and_go_beside_one_who_empties_their_places",
    },
    Plant {
        name: "in a place without a second look at its owner",
        file: "src/sys/places.rs",
        right: "if self.owners.0[n].load(Ordering::Acquire) != me.number {",
        wrong: "if self.owners.0[n].load(Ordering::Acquire) != me.number && !PLANTED {",
        found_by: "races::places::readers_come_and_go_beside_one_who_empties_their_places",
    },
    Plant {
        name: "a place emptied though somebody may be in there",
        file: "src/sys/places.rs",
        right: "if seen && self.all[n].user.get(Ordering::Acquire) == 0 {",
        wrong: "if seen && (self.all[n].user.get(Ordering::Acquire) == 0 || PLANTED) {",
        found_by: "races::places::readers_come_and_go_beside_one_who_empties_their_places",
    },
    Plant {
        name: "a look for a newer row before the place is left",
        file: "src/row.rs",
        right: "        drop(reader);\n",
        wrong: "        if PLANTED {
            if generation != self.generation() { reader.row = None; }
            return result;
        }
        drop(reader);
",
        found_by: "races::places::readers_come_and_go_beside_one_who_empties_their_places",
    },
];

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

fn edit(path: &Path, right: &str, wrong: &str) {
    let source = std::fs::read_to_string(path).unwrap();
    assert_eq!(source.matches(right).count(), 1, "not once in {}: {right}", path.display());
    std::fs::write(path, source.replace(right, wrong)).unwrap();
}

/// Makes the copy, with all plants in it.
fn plant_all(to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to.join("tests")).unwrap();
    for part in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "tests/races.rs", "tests/races", "tests/support"] {
        copy(&root.join(part), &to.join(part));
    }
    edit(&to.join("Cargo.toml"), "crate-type = [\"cdylib\", \"staticlib\", \"lib\"]", "crate-type = [\"lib\"]");
    let sync = to.join("src/sync.rs");
    let chosen = "/// Whether this plant was chosen.
        pub(crate) fn planted(n: usize) -> bool {
            static CHOSEN: OnceLock<Option<usize>> = OnceLock::new();
            *CHOSEN.get_or_init(|| std::env::var(\"SEGLOG_PLANTED\").ok()?.parse().ok()) == Some(n)
        }";
    std::fs::write(&sync, std::fs::read_to_string(&sync).unwrap() + chosen).unwrap();
    for (n, plant) in PLANTS.iter().enumerate() {
        let wrong = plant.wrong.replace("PLANTED", &format!("crate::sync::planted({n})"));
        edit(&to.join(plant.file), plant.right, &wrong);
    }
}

/// The copy's tests of this name, with this plant: what they print, and whether they pass.
fn run(copy: &Path, plant: Option<usize>, test: &str) -> (bool, String) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(copy).env("CARGO_TARGET_DIR", target).env_remove("SEGLOG_CAMPAIGN").env_remove("RUST_BACKTRACE");
    cargo.args(["test", "--quiet", "--offline", "--locked", "--features", "model,faults", "--test", "races"]);
    cargo.args(["--", "--exact", test]);
    if let Some(plant) = plant {
        // The first schedule that meets it ends the search; which that is changes with each step of any thread.
        cargo.env("SEGLOG_PLANTED", plant.to_string()).env("SEGLOG_RACE_TIMES", "40");
    }
    let output = cargo.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn each_planted_reordering_is_found() {
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("planted");
    plant_all(&to);
    let (passes, text) = run(&to, None, "what_is_published_reads_back");
    assert!(passes && text.contains("1 passed"), "the copy does not pass without a plant:\n{text}");
    // Two at a time: most are found at once, and a few take long.
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let look = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(plant) = PLANTS.get(n) else { return };
            let (passes, text) = run(&to, Some(n), plant.found_by);
            let found = text.lines().find(|line| line.contains("SEGLOG_RACE"));
            println!("{}: {}", plant.name, found.unwrap_or(if passes { "not found" } else { "found" }));
            if passes {
                missed.lock().unwrap().push(plant.name);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(look);
        look();
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "no schedule found: {missed:#?}");
    let _ = std::fs::remove_dir_all(to);
}
