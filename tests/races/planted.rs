//! Orders that are wrong, planted in a copy of the source: the scenarios must find each. All of them stand in one build
//! of the copy, and the environment chooses one for a run.

use std::path::{Path, PathBuf};
use std::process::Command;

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
        right: "            tail.write_out(&*segment.store()?.file()?, stored, end)?;",
        wrong: "            if PLANTED { segment.set_stored(end); }
                tail.write_out(&*segment.store()?.file()?, stored, end)?;",
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
        right: "let _writing = lock(&self.writing_out);",
        wrong: "let _writing = (!PLANTED).then(|| lock(&self.writing_out));",
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
        right: "        if leader.synced < slot.position {",
        wrong: "        if PLANTED { self.advance(control, slot.next_offset); }
        if leader.synced < slot.position {",
        found_by: "no_append_is_acknowledged_before_the_sync_that_covers_it",
    },
    Plant {
        name: "whoever waits for a leader takes his sync for its own",
        file: "src/commit.rs",
        right: "            if state.leading {\n                waited = true;",
        wrong: "            if PLANTED && waited { return Ok(true); }
            if state.leading {
                waited = true;",
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
        cargo.env("SEGLOG_PLANTED", plant.to_string());
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
    let missed: Vec<_> = (0..PLANTS.len())
        .filter(|n| {
            let (passes, text) = run(&to, Some(*n), PLANTS[*n].found_by);
            let found = text.lines().find(|line| line.contains("SEGLOG_RACE"));
            println!("{}: {}", PLANTS[*n].name, found.unwrap_or(if passes { "not found" } else { "found" }));
            passes
        })
        .map(|n| PLANTS[n].name)
        .collect();
    assert!(missed.is_empty(), "no schedule found: {missed:#?}");
    let _ = std::fs::remove_dir_all(to);
}
