//! Runs a scenario under many orders of its threads' steps, each told by a number, so that a failed one can be run again.

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, Runner};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A number from 0 to below `below`, chosen by the schedule.
pub(crate) fn pick(below: u64) -> u64 {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().r#gen::<u64>() % below
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Runs `scenario` under `count` schedules, a hundred times as many with `SEGLOG_CAMPAIGN=1`, `SEGLOG_RACE_TIMES` times as
/// many with that. `SEGLOG_RACE` runs the one of that number.
#[expect(clippy::print_stderr, reason = "libtest shows it where the test fails")]
pub(crate) fn explore(count: u64, scenario: fn()) {
    let times = if variable("SEGLOG_CAMPAIGN").is_some() { 100 } else { variable("SEGLOG_RACE_TIMES").unwrap_or(1) };
    let count = times * count;
    let runs = variable("SEGLOG_RACE").map_or(0..count, |run| run..run + 1);
    for run in runs {
        let mut config = Config::default();
        config.stack_size = 256 << 10;
        config.silence_warnings = true;
        config.failure_persistence = shuttle::FailurePersistence::None;
        let once = || Runner::new(Chosen::new(run), config).run(scenario);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(once)) {
            eprintln!("schedule {run} of {count} fails; SEGLOG_RACE={run} runs it again");
            resume_unwind(panic);
        }
    }
}

/// How the next thread is chosen.
#[derive(Debug)]
enum Way {
    /// One thread goes on for so many steps on average, then any: one step is the finest mixture, and with thousands
    /// a thread is stopped at one place while others do all of their work.
    Bursts(u64),
    /// The thread of the highest priority, which at a few moments becomes the lowest (PCT: Burckhardt and others, "A
    /// Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010).
    Priorities(Vec<u64>),
}

/// The schedule of one number.
#[derive(Debug)]
struct Chosen {
    done: bool,
    random: u64,
    way: Way,
    steps: u64,
    priorities: BTreeMap<TaskId, u64>,
}

impl Chosen {
    fn new(run: u64) -> Self {
        let mut chosen = Self {
            done: false,
            random: run.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5EED,
            way: Way::Bursts(1),
            steps: 0,
            priorities: BTreeMap::new(),
        };
        chosen.way = if run.is_multiple_of(2) {
            Way::Bursts(1 << (run / 2 % 6 * 2))
        } else {
            let span = 1 << (7 + run / 2 % 5);
            Way::Priorities((0..=run % 5).map(|_| chosen.below(span)).collect())
        };
        chosen
    }

    fn below(&mut self, below: u64) -> u64 {
        self.next_u64() % below
    }

    fn most_important(&mut self, runnable: &[&Task], current: Option<TaskId>) -> TaskId {
        for task in runnable {
            if !self.priorities.contains_key(&task.id()) {
                let priority = (1 << 32) + self.below(1 << 32);
                self.priorities.insert(task.id(), priority);
            }
        }
        if let (Way::Priorities(changes), Some(current)) = (&self.way, current)
            && changes.contains(&self.steps)
        {
            // Below all that were changed before.
            self.priorities.insert(current, (1 << 31) - self.steps);
        }
        let id = |task: &&&Task| self.priorities[&task.id()];
        runnable.iter().max_by_key(id).unwrap().id()
    }
}

impl Scheduler for Chosen {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.done, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, _yields: bool) -> Option<TaskId> {
        if let [only] = runnable {
            return Some(only.id());
        }
        self.steps += 1;
        let Way::Bursts(len) = self.way else { return Some(self.most_important(runnable, current)) };
        let stays = current.filter(|current| runnable.iter().any(|task| task.id() == *current));
        match stays {
            Some(current) if self.below(len) != 0 => Some(current),
            _ => {
                let n = self.below(runnable.len() as u64);
                Some(runnable[usize::try_from(n).unwrap()].id())
            }
        }
    }

    /// `SplitMix64`.
    fn next_u64(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
