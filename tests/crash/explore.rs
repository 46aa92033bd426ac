//! Crashes at each moment of a past, each leaving any part of what was not durable; and what must hold of each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::beside::{self, Beside, Progress};
use super::past::{Past, Version, print_of, read};
use crate::support::disk::{Disk, Fate, Role, State, identity};
use crate::support::{Random, Scratch};
use seglog::faults::{Event, Hook};
use seglog::{Config, Io, Log, Sync, flags};
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How many states were looked at.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// Distinct ones.
    pub(crate) states: u64,
    /// Of them, those that a crash within a recovery left.
    pub(crate) within_recovery: u64,
    /// Crash points.
    pub(crate) moments: u64,
    pub(crate) pasts: u64,
    /// Plans that led to a state that was known.
    pub(crate) known: u64,
}

/// No open of such a small log takes longer, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(30);

/// One who looks at states, in directories of his own.
pub(crate) struct Explorer {
    scratch: Scratch,
    random: Random,
    pub(crate) counts: Counts,
    pub(crate) until: u64,
    /// So many plans of one past are followed, about: few workloads in depth, or many in breadth.
    plans_of_a_past: usize,
    /// How many of a thousand plans are followed.
    share: usize,
}

/// The fates of all open changes.
fn fates(roles: &[Role], mut fate: impl FnMut(usize, Role) -> Fate) -> Vec<Fate> {
    let mut core = 0;
    let each = roles.iter().map(|role| {
        let n = core;
        core += usize::from(*role == Role::Core);
        fate(n, *role)
    });
    each.collect()
}

fn there(is: bool) -> Fate {
    if is { Fate::There } else { Fate::Lost }
}

impl Explorer {
    pub(crate) fn new(seed: u64, until: u64) -> Self {
        let plans_of_a_past = usize::try_from(until / 50).unwrap().clamp(100, 3000);
        let scratch = Scratch::new();
        Self { scratch, random: Random(seed), counts: Counts::default(), until, plans_of_a_past, share: 1000 }
    }

    /// A directory that is not there, for a workload.
    pub(crate) fn workload_dir(&self) -> PathBuf {
        let dir = self.scratch.join("workload");
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn rest(&mut self, roles: &[Role], core: impl Fn(usize) -> bool, chance: bool) -> Vec<Fate> {
        // The ring and the index reach the disk when they like.
        let lives = roles.iter().filter(|role| **role != Role::Core).count();
        let mode = if chance { self.random.below(5) } else { 0 };
        let upto = self.random.below(lives + 1);
        let random = &mut self.random;
        let mut n = 0;
        fates(roles, |at, role| {
            if role == Role::Core {
                return there(core(at));
            }
            n += 1;
            match mode {
                0 => Fate::There,
                1 => Fate::Lost,
                2 => there(n <= upto),
                3 => there(n > upto),
                _ => there(random.below(2) == 0),
            }
        })
    }

    /// What may become of the open changes in a crash at this moment.
    fn plans(&mut self, roles: &[Role], thorough: bool) -> Vec<Vec<Fate>> {
        let cores = roles.iter().filter(|role| **role == Role::Core).count();
        let mut plans = vec![vec![Fate::There; roles.len()], vec![Fate::Lost; roles.len()]];
        if !thorough {
            for _ in 0..6 {
                let mask = self.random.next();
                plans.push(self.rest(roles, |n| mask >> (n % 64) & 1 == 1, true));
            }
        } else if cores <= 8 {
            for mask in 0..1_u64 << cores {
                for chance in [false, true] {
                    plans.push(self.rest(roles, |n| mask >> n & 1 == 1, chance));
                }
            }
        } else {
            for one in 0..cores {
                plans.push(self.rest(roles, |n| n != one, true));
                plans.push(self.rest(roles, |n| n == one, true));
                plans.push(self.rest(roles, |n| n < one, true));
            }
        }
        for _ in 0..if thorough { 24 } else { 4 } {
            let often = 1 + self.random.below(6);
            let random = &mut self.random;
            plans.push(fates(roles, |_, role| match random.below(often + 5) {
                0 => Fate::Lost,
                1 => Fate::Torn { piece: 512, bits: random.next() },
                2 => Fate::Torn { piece: if role == Role::Core { 4096 } else { 8 }, bits: random.next() },
                3 => Fate::SizeOnly,
                4 => Fate::Junk,
                _ => Fate::There,
            }));
        }
        plans
    }

    /// Crashes at each moment of a past that began with an empty disk.
    pub(crate) fn explore(&mut self, past: &Past, disk: &Disk) {
        self.counts.pasts += 1;
        // How many plans there are in all; of those a share is followed, so that no past takes all the time.
        let mut disk_then = disk.clone();
        let mut plans = 0;
        for event in &past.events {
            disk_then.take(event);
            if !matches!(event, Event::Issued(_)) {
                plans += self.plans(&disk_then.open(), !matches!(event, Event::Store { .. })).len();
            }
        }
        self.share = (self.plans_of_a_past * 1000 / plans.max(1)).max(1);
        self.crash_at_each(past, disk.clone(), &mut HashMap::new(), None);
    }

    fn crash_at_each(&mut self, past: &Past, mut disk: Disk, known: &mut HashMap<u64, Found>, within: Option<&str>) {
        let (mut low, mut high) = (0, 0);
        let mut progress = past.progress.clone();
        let dir = self.scratch.join(if within.is_some() { "again" } else { "state" });
        for (n, event) in past.events.iter().enumerate() {
            disk.take(event);
            progress.take(event);
            match event {
                Event::Acknowledged(version) => low = low.max(usize::try_from(*version).unwrap()),
                Event::Issued(version) => {
                    // Nothing has happened yet.
                    high = high.max(usize::try_from(*version).unwrap().min(past.versions.len() - 1));
                    continue;
                }
                _ => {}
            }
            // In a recovery some moments, in a workload all.
            if within.is_some() && self.random.below(past.events.len()) >= 8 {
                continue;
            }
            self.counts.moments += 1;
            let roles = disk.open();
            let mapped = matches!(event, Event::Store { .. });
            let mut plans = self.plans(&roles, !mapped && within.is_none());
            if within.is_some() {
                let keep = self.random.below(plans.len());
                plans = plans.into_iter().cycle().skip(keep).take(3).collect();
            }
            for (n_plan, fates) in plans.into_iter().enumerate() {
                // All that is open, and nothing of it, always.
                if within.is_none() && n_plan >= 2 && self.random.below(1000) >= self.share {
                    continue;
                }
                if self.counts.states >= self.until {
                    return;
                }
                let state = disk.after(&fates);
                let hash = state.hash();
                let at =
                    At { past, disk: &disk, fates: &fates, n, within, legal: low..high.max(low) + 1, state: &state };
                let found = if let Some(found) = known.get(&hash) {
                    self.counts.known += 1;
                    found.clone()
                } else {
                    self.counts.states += 1;
                    self.counts.within_recovery += u64::from(within.is_some());
                    let found = self.look(&at, &dir, within.is_none() && hash.is_multiple_of(20), hash);
                    known.insert(hash, found.clone());
                    found
                };
                let Found { version: found, beside } = found;
                let legal = |n: &usize| past.versions[*n] == found && !past.illegal.contains(n);
                if !at.legal.clone().any(|n| legal(&n)) {
                    at.fail(&format!("{found:?} is none of {:?}", &past.versions[at.legal.clone()]));
                }
                if let Some(why) = beside.wrong(&past.tasks, &progress, found.next) {
                    at.fail(&why);
                }
                let keeps = past.config.flags & flags::KEEP_UNCONSUMED != 0;
                if beside.position.is_some_and(|position| keeps && position < found.first) {
                    at.fail("what was not consumed is gone");
                }
            }
        }
    }

    /// Opens a state, and goes on with it. Returns what was found.
    fn look(&mut self, at: &At<'_>, dir: &PathBuf, again: bool, hash: u64) -> Found {
        let began = Instant::now();
        let workload = self.scratch.join("workload").join("LIVE");
        let was = workload.exists().then(|| identity(&workload));
        at.state.put(dir, was);
        let config = Config {
            flags: at.past.config.flags | flags::NO_THREAD,
            sync: Sync::Always,
            sync_interval_ms: 0,
            // Each open may have the other way.
            io: if hash & 128 == 0 { Io::Mapped } else { Io::File },
            retain_bytes: 0,
            ..at.past.config.clone()
        };
        let mut hook = Hook::new().in_boot([2; 16]);
        let disk = again.then(|| {
            hook = hook.clone().with_history();
            if !dir.exists() {
                std::fs::create_dir(dir).unwrap();
            }
            Disk::of(dir)
        });
        let open = |hook: &Hook| {
            hook.run(|| Log::open(dir, &config)).unwrap_or_else(|error| panic!("it does not open: {error}"))
        };
        let end = |hook: &Hook, log: Log, kill: bool| {
            if kill {
                hook.kill();
                hook.run(|| drop(log));
                hook.revive();
            } else {
                hook.run(|| log.close()).unwrap();
            }
        };
        let guard = Guard(at);
        let log = open(&hook);
        let found = read(&log);
        let stat = log.stat().unwrap();
        assert_eq!(stat.durable_offset, found.next, "all that was found is durable");
        let beside = beside::find(&at.past.tasks, &log, dir);
        let mut versions = vec![found];
        hook.mark(Event::Acknowledged(0));
        if again {
            // Recovery's own writes, and what comes behind them.
            hook.mark(Event::Issued(1));
            versions.push(append(&hook, &log, found, hash));
            hook.mark(Event::Acknowledged(1));
        }
        end(&hook, log, hash & 32 == 0);
        let mut found_now = versions[versions.len() - 1];
        let log = open(&hook);
        let stat = log.stat().unwrap();
        assert_eq!(read(&log), found_now, "a second open finds the same");
        assert_eq!(beside::find(&at.past.tasks, &log, dir), beside, "a second open finds the same beside");
        if again {
            end(&hook, log, false);
        } else {
            assert_eq!((stat.recovered_records, stat.dropped_bytes), (0, 0), "a second open has nothing to report");
            found_now = append(&hook, &log, found_now, hash);
            end(&hook, log, hash & 64 == 0);
            let log = open(&hook);
            assert_eq!(read(&log), found_now, "what was appended is there");
            assert_eq!(log.stat().unwrap().dropped_bytes, 0);
            end(&hook, log, false);
        }
        let took = began.elapsed();
        assert!(took < LONGEST, "it took {took:?}");
        drop(guard);
        if let Some(disk) = disk {
            let past = Past {
                versions,
                illegal: std::collections::BTreeSet::new(),
                events: hook.take_history(),
                config: at.past.config.clone(),
                story: at.past.story.clone(),
                progress: Progress::all(beside.tasks(&at.past.tasks).len()),
                tasks: beside.tasks(&at.past.tasks),
            };
            let before = format!("{}{}", at.words(), at.disk.describe(at.fates));
            self.crash_at_each(&past, disk, &mut HashMap::new(), Some(&before));
        }
        Found { version: found, beside }
    }
}

/// What an open finds.
#[derive(Debug, Clone)]
struct Found {
    version: Version,
    beside: Beside,
}

/// Appends a record of these bytes; what the log holds then.
fn append(hook: &Hook, log: &Log, found: Version, word: u64) -> Version {
    let offset = hook.run(|| log.append(&word.to_le_bytes())).unwrap();
    assert_eq!(offset, found.next);
    let print = log.read(offset, |bytes, time| print_of(offset, time, bytes)).unwrap();
    Version { next: offset + 1, sum: found.sum.wrapping_add(print), ..found }
}

/// One crash.
struct At<'a> {
    past: &'a Past,
    disk: &'a Disk,
    fates: &'a [Fate],
    n: usize,
    /// The crash before this one, when this one is within a recovery.
    within: Option<&'a str>,
    legal: Range<usize>,
    state: &'a State,
}

impl At<'_> {
    fn words(&self) -> String {
        let event = |event: &Event| {
            let mut text = format!("{event:?}");
            text.truncate(160);
            text
        };
        let last: Vec<_> = self.past.events[..=self.n].iter().rev().take(6).map(event).collect();
        format!(
            "{}crash behind event {} of {} {:?}\nlast events, newest first: {last:#?}\nlegal: versions {:?}: {:?}\n",
            self.within.unwrap_or(""),
            self.n,
            self.past.events.len(),
            self.past.story,
            self.legal,
            self.past.versions.get(self.legal.clone()),
        )
    }

    /// Keeps the state, and fails.
    fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}", self.report());
    }

    fn report(&self) -> String {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{}-{}", std::process::id(), self.n));
        let _ = std::fs::remove_dir_all(&dir);
        self.state.put(&dir, None);
        format!("{}what was open:\n{}the state: {}", self.words(), self.disk.describe(self.fates), dir.display())
    }
}

/// Says what the crash was when a check of it fails.
struct Guard<'a, 'b>(&'a At<'b>);

impl Drop for Guard<'_, '_> {
    #[expect(clippy::print_stderr, reason = "a failed test says what it did")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.report());
        }
    }
}
