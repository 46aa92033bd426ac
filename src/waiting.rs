//! Waiting for what a log does not have yet. Whoever waits says so in three words of the control page, and sleeps on
//! one of them; whoever has stored what others may wait for looks at these words, and makes a system call only if
//! somebody does. It knows no log: what is awaited is a number that goes up.

use crate::error::Result;
use crate::sync::{Ordering, compiler_fence, fence};
use crate::sys::{self, Slept, WordMap};
use std::time::{Duration, Instant};

// On the line of the page that each append writes anyway.
const RECORDS_AT: usize = 152;
const RUNG_AT: usize = 160;
const DURABLE_AT: usize = 168;
/// In the place of an offset: nobody waits.
const NOBODY: u64 = u64::MAX;
/// A sleep takes so long at most: nobody rings when LIVE is another file, and a page may be of any bytes.
const SLEEP: Duration = Duration::from_millis(2500);
/// Where nobody rings it is looked again when a quarter more has been waited than at the last look, but not sooner nor
/// later than this: who waits hears of a record late by a quarter of the silence before it, and makes some ten looks in
/// ten seconds when that is long.
const POLL_SHARE: u32 = 4;
const POLL_FIRST: Duration = Duration::from_micros(200);
const POLL_LAST: Duration = Duration::from_millis(1250);
/// Where records come all the time, who has read them all looks again after so long before it sets the alarm: else
/// whoever writes would wake it for every few of them. Twice as long each time, up to eight times, as long as that goes
/// on: who wakes by itself may take the processor from whoever writes.
const NAP: Duration = Duration::from_micros(50);
const NAP_DOUBLINGS: u32 = 3;
/// Records come all the time when there were so many since the last wait, and one in so long on average.
const FLOOD_RECORDS: u64 = 4;
const FLOOD_GAP: Duration = Duration::from_micros(5);
/// So often a sleeper may be told at once that somebody has rung, and find nothing, before it takes a rest.
const FALSE_ALARMS: u32 = 64;
const REST: Duration = Duration::from_millis(1);

/// What can be waited for: that it passes an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The next offset.
    Records,
    /// The durable offset.
    Durable,
}

impl Awaited {
    /// Where the lowest offset stands for which somebody waits, and who is woken by which bit.
    fn word(self) -> (usize, u32) {
        match self {
            Self::Records => (RECORDS_AT, 1),
            Self::Durable => (DURABLE_AT, 2),
        }
    }
}

/// The words of a control page by which sleepers are woken.
#[derive(Clone, Copy)]
pub(crate) struct Alarm<'a>(pub &'a WordMap);

impl Alarm<'_> {
    /// A writer begins: nobody is known to wait, and whoever does looks again. `random` differs from the count of every
    /// session before, so that nobody goes to sleep on a count that was read in another one.
    pub(crate) fn begin(self, random: u64) {
        for (at, value) in [(RECORDS_AT, NOBODY), (DURABLE_AT, NOBODY), (RUNG_AT, random | 1)] {
            self.0.store_u64(at, value, Ordering::SeqCst);
        }
        self.wake(u32::MAX);
    }

    /// How often it has rung, to be asked before it is set.
    pub(crate) fn rung(self) -> u64 {
        self.0.load_u64(RUNG_AT, Ordering::SeqCst)
    }

    /// Sets it to ring once what is awaited has passed `offset`. Then it must be looked once more whether it has.
    pub(crate) fn set(self, what: Awaited, offset: u64) {
        self.0.change_u64(what.word().0, |lowest| (lowest > offset).then_some(offset));
        // Between the alarm and the look that follows; pairs with the one in `ring_if_passed`.
        fence(Ordering::SeqCst);
    }

    /// Sleeps for so long at most, until it rings for this; not at all if it has rung since `rung` was asked.
    pub(crate) fn sleep(self, what: Awaited, rung: u64, time: Duration) -> Slept {
        self.0.sleep_at(RUNG_AT, rung, what.word().1, time).unwrap_or_else(|_| {
            sys::pause(time.min(REST));
            Slept::TimeUp
        })
    }

    /// What is awaited stands at `next` now: rings if somebody waits for that. To be called after a locked instruction
    /// that came after `next` was stored.
    #[inline(always)]
    pub(crate) fn ring_if_passed(self, what: Awaited, next: u64) {
        // Here stands the store-load order that the alarm rests on. On x86-64 each locked instruction orders all before
        // it with all behind it; elsewhere that is a fence.
        if cfg!(target_arch = "x86_64") {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        if next > self.0.load_u64(what.word().0, Ordering::Relaxed) {
            self.ring(what);
        }
    }

    #[cold]
    #[inline(never)]
    fn ring(self, what: Awaited) {
        let (at, bit) = what.word();
        // First the alarm is taken down, then it is counted: one that is set on the new count stays, and whoever set
        // one that is taken down unseen goes to sleep on an older count, which is no sleep.
        self.0.change_u64(at, |_| Some(NOBODY));
        self.count();
        self.wake(bit);
    }

    /// Rings for all who wait for anything.
    pub(crate) fn ring_all(self) {
        fence(Ordering::SeqCst);
        for what in [Awaited::Records, Awaited::Durable] {
            if self.0.load_u64(what.word().0, Ordering::Relaxed) != NOBODY {
                self.ring(what);
            }
        }
    }

    /// Wakes all who sleep, so that they look. Where the words can only be read, who is about to go to sleep is not
    /// told.
    pub(crate) fn wake_all(self) {
        self.count();
        self.wake(u32::MAX);
    }

    fn count(self) {
        self.0.change_u64(RUNG_AT, |rung| Some(rung.wrapping_add(1)));
    }

    fn wake(self, bits: u32) {
        // Who is not woken looks again after `SLEEP`.
        let _ = self.0.wake_at(RUNG_AT, bits);
    }
}

/// Who rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Whoever stores what is awaited.
    Alarm,
    /// Nobody: one must look oneself.
    Nothing,
}

/// Where one sleeps who waits.
pub(crate) trait Bed {
    /// As [`Alarm::rung`].
    fn rung(&self) -> u64;
    /// As [`Alarm::set`], if somebody hears it.
    fn set_alarm(&self, what: Awaited, offset: u64) -> Heard;
    /// As [`Alarm::sleep`].
    fn sleep(&self, what: Awaited, rung: u64, time: Duration) -> Slept;
}

/// Waits in a row before each of which records came all the time.
#[derive(Default)]
pub(crate) struct Flood(u32);

impl Flood {
    /// So many records came in so long, since the wait before.
    pub(crate) fn count(&mut self, records: u64, time: Duration) {
        let comes = records >= FLOOD_RECORDS && time.as_nanos() < u128::from(records) * FLOOD_GAP.as_nanos();
        // One break does not end it: whoever writes may have lost its processor, and would have to wake all who read
        // for the first record that it then appends.
        self.0 = if comes { (self.0 + 1).min(NAP_DOUBLINGS + 1) } else { self.0.saturating_sub(1) };
    }

    /// How long the next wait is to nap.
    pub(crate) fn nap(&self) -> Option<Duration> {
        // (In the model no sleep ends by itself.)
        let doublings = self.0.checked_sub(1).filter(|_| !cfg!(feature = "model"))?;
        Some(NAP * (1 << doublings))
    }
}

/// Sleeps until `look` finds something, which is asked when what is awaited may have passed `offset`; `None` when the
/// time is up. Without a timeout it waits for ever; one of zero looks once. With a nap it looks once more when that is
/// over, before it asks to be woken.
pub(crate) fn wait<R>(
    bed: &(impl Bed + ?Sized),
    what: Awaited,
    offset: u64,
    timeout: Option<Duration>,
    nap: Option<Duration>,
    mut look: impl FnMut() -> Result<Option<R>>,
) -> Result<Option<R>> {
    let found = look()?;
    if found.is_some() || timeout == Some(Duration::ZERO) {
        return Ok(found);
    }
    let began = Instant::now();
    // One that no clock reaches is for ever.
    let deadline = timeout.and_then(|timeout| began.checked_add(timeout));
    if let Some(nap) = nap {
        sys::pause(nap.min(timeout.unwrap_or(nap)));
        let found = look()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let mut false_alarms = 0;
    loop {
        let rung = bed.rung();
        let heard = bed.set_alarm(what, offset);
        let found = look()?;
        let left = deadline.map_or(SLEEP, |deadline| deadline.saturating_duration_since(Instant::now()));
        if found.is_some() || left.is_zero() {
            return Ok(found);
        }
        let longest = match heard {
            Heard::Alarm => SLEEP,
            Heard::Nothing => (began.elapsed() / POLL_SHARE).clamp(POLL_FIRST, POLL_LAST),
        };
        match bed.sleep(what, rung, left.min(longest)) {
            Slept::TimeUp => false_alarms = 0,
            Slept::Woken => {
                // At once, before all else: somebody waits for what comes of it.
                let found = look()?;
                if found.is_some() {
                    return Ok(found);
                }
                false_alarms = 0;
            }
            Slept::NotAtAll if false_alarms == FALSE_ALARMS => sys::pause(left.min(REST)),
            Slept::NotAtAll => false_alarms += 1,
        }
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicU64, Mutex};
    use std::thread;

    /// One burst is 50 microseconds late at most; a flood that goes on is heard of less and less often, to some point.
    #[test]
    fn naps_grow_while_records_come_all_the_time() {
        let mut flood = Flood::default();
        assert_eq!(flood.nap(), None);
        let naps = [50, 100, 200, 400, 400].map(|micros| {
            flood.count(100, Duration::from_micros(100));
            (flood.nap(), Some(Duration::from_micros(micros)))
        });
        assert!(cfg!(feature = "model") || naps.iter().all(|(nap, expected)| nap == expected), "{naps:?}");
        // A break ends it by and by, and records that come one at a time make none.
        for (records, micros, nap) in [(100, 600, 200), (3, 1, 100), (0, 0, 50), (1, 90, 0), (2, 9, 0)] {
            flood.count(records, Duration::from_micros(micros));
            let nap = (nap > 0 && cfg!(not(feature = "model"))).then_some(Duration::from_micros(nap));
            assert_eq!(flood.nap(), nap, "{records} records in {micros} microseconds");
        }
    }

    /// Where nobody rings, and what is asked each time to sleep.
    #[derive(Default)]
    struct Silent(Mutex<Vec<Duration>>);

    impl Bed for Silent {
        fn rung(&self) -> u64 {
            0
        }

        fn set_alarm(&self, _: Awaited, _: u64) -> Heard {
            Heard::Nothing
        }

        fn sleep(&self, _: Awaited, _: u64, time: Duration) -> Slept {
            self.0.lock().expect("nobody panics").push(time);
            thread::sleep(time);
            Slept::TimeUp
        }
    }

    /// What is there after a while is found when a quarter more has passed; a long silence costs few looks.
    #[test]
    fn where_nobody_rings_it_is_looked_again_after_a_quarter_of_the_wait() {
        let time = Duration::from_millis(200);
        let sleeps = || {
            let (bed, began) = (Silent::default(), Instant::now());
            let there = || Ok((began.elapsed() >= time).then_some(()));
            assert_eq!(wait(&bed, Awaited::Records, 0, None, None, there).expect("it looks"), Some(()));
            let (whole, sleeps) = (began.elapsed(), bed.0.into_inner().expect("nobody panics"));
            let mut before = Duration::ZERO;
            for (n, slept) in sleeps.iter().enumerate() {
                // No sleep is shorter than it was asked for.
                assert!(*slept >= before / 4 && *slept >= POLL_FIRST, "sleep {n} is {slept:?} after {before:?}");
                assert!(*slept <= POLL_FIRST.max(whole / 4), "sleep {n} is {slept:?}");
                before += *slept;
            }
            sleeps.len()
        };
        // On a busy machine a sleep may last until the time is over.
        let number = (0..20).map(|_| sleeps()).find(|number| *number >= 3);
        assert!(number.is_some_and(|number| number < 40), "{number:?}");
        // When the time is up, it is.
        let bed = Silent::default();
        let never = || Ok(None::<()>);
        assert_eq!(wait(&bed, Awaited::Records, 0, Some(time), None, never).expect("it looks"), None);
        let slept: Duration = bed.0.into_inner().expect("nobody panics").iter().sum();
        assert!(slept <= time, "it slept {slept:?}");
    }

    /// A word on a line of its own.
    #[repr(align(128))]
    #[derive(Default)]
    struct Line(AtomicU64);

    #[derive(Default)]
    struct Lines {
        published: Line,
        alarm: Line,
        /// How often each of the two has come to the round's begin, and to its end.
        begun: Line,
        ended: Line,
    }

    impl Lines {
        /// Both are here.
        fn meet(place: &Line, round: u64) {
            place.0.fetch_add(1, Ordering::AcqRel);
            for tried in 0_u32.. {
                if place.0.load(Ordering::Acquire) >= 2 * round {
                    return;
                }
                if tried % 1024 == 1023 {
                    thread::yield_now();
                }
            }
        }
    }

    /// In so many rounds one thread publishes and looks for an alarm, the other sets one and looks for what was
    /// published; returns how often both saw nothing. `give_up` is how the first one publishes.
    fn both_missed(rounds: u64, give_up: impl Fn(&mut dyn FnMut()) + Send + 'static) -> u64 {
        let lines = Arc::new(Lines::default());
        let shared = Arc::clone(&lines);
        let appender = thread::spawn(move || {
            let mut missed = Vec::new();
            for round in 1..=rounds {
                Lines::meet(&shared.begun, round);
                give_up(&mut || shared.published.0.store(round, Ordering::Release));
                compiler_fence(Ordering::SeqCst);
                missed.push(shared.alarm.0.load(Ordering::Relaxed) < round);
                Lines::meet(&shared.ended, round);
            }
            missed
        });
        let mut missed = Vec::new();
        for round in 1..=rounds {
            Lines::meet(&lines.begun, round);
            lines.alarm.0.store(round, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            missed.push(lines.published.0.load(Ordering::Relaxed) < round);
            Lines::meet(&lines.ended, round);
        }
        let of_appender = appender.join().expect("it does not panic");
        of_appender.into_iter().zip(missed).filter(|(one, other)| *one && *other).count() as u64
    }

    /// What `ring_if_passed` rests on where it makes no fence: std gives a mutex up by a locked instruction. Without
    /// one the two miss each other: in 10 of so many rounds on two busy cores.
    #[test]
    fn an_unlock_keeps_a_look_behind_it() {
        let mutex = Mutex::new(());
        let under_mutex = move |publish: &mut dyn FnMut()| {
            let _guard = mutex.lock();
            publish();
        };
        assert_eq!(both_missed(100_000, under_mutex), 0);
    }
}
