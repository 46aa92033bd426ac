//! Any sequence of calls against a plain vector: appends, batches, syncs, reads, cursors that live on, closes, kills and
//! reopens with other limits, drawn by a seeded generator. `SEGLOG_CAMPAIGN` makes it a hundred times as many.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use seglog::{Config, Cursor, Error, Io, Log, Status, Sync};
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Image, Random, Scratch, each, sized};

/// What the log should be.
#[derive(Default)]
struct Model {
    first: u64,
    records: Vec<Vec<u8>>,
    /// So many of them, from the first on, have been said to be durable.
    durable: u64,
    /// Of the handle that is open.
    appends: u64,
}

impl Model {
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn record(&self, offset: u64) -> &[u8] {
        &self.records[usize::try_from(offset - self.first).unwrap()]
    }

    fn payload_bytes(&self) -> u64 {
        self.records.iter().map(|record| record.len() as u64).sum()
    }
}

/// A log, its model, and cursors on it with the offsets that they should give next.
struct Run {
    dir: Scratch,
    config: Config,
    log: Option<Log>,
    cursors: Vec<Cursor>,
    model: Model,
    random: Random,
}

fn config(random: &mut Random, first: u64) -> Config {
    Config {
        segment_max_bytes: [4096, 4096, 20_000, 64 << 10, 1 << 20, 3 << 20][random.below(6)],
        index_max_bytes: [0, 0, 8, 64, 4000][random.below(5)],
        sync: if random.below(3) == 0 { Sync::Always } else { Sync::Never },
        initial_offset: first,
        io: [Io::Auto, Io::File][random.below(2)],
        ..Config::default()
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let first = [0, 0, 1, 1 << 40][random.below(4)];
        let config = config(&mut random, first);
        let dir = Scratch::new();
        let log = Some(Log::open(dir.path(), &config).unwrap());
        let model = Model { first, durable: first, ..Model::default() };
        Self { dir, config, log, cursors: Vec::new(), model, random }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn record(&mut self) -> Vec<u8> {
        let len = match self.random.below(100) {
            0 => 200_000 + self.random.below(200_000),
            1..=9 => self.random.below(20_000),
            10..=15 => 0,
            16..=50 => self.random.below(1500),
            _ => self.random.below(100),
        };
        sized(self.random.next(), len)
    }

    fn append(&mut self, records: Vec<Vec<u8>>, as_batch: bool) {
        let slices: Vec<_> = records.iter().map(Vec::as_slice).collect();
        let first = if as_batch { self.log().append_batch(&slices) } else { self.log().append(slices[0]) };
        assert_eq!(first.unwrap(), self.model.next());
        self.model.appends += records.len() as u64;
        self.model.records.extend(records);
        if self.config.sync == Sync::Always {
            self.model.durable = self.model.next();
        }
    }

    /// An offset in the log, now and then just outside.
    fn offset(&mut self) -> u64 {
        let (first, next) = (self.model.first, self.model.next());
        match self.random.below(12) {
            0 => first.wrapping_sub(1),
            1 => next,
            2 => next.wrapping_add(self.random.next() % 5),
            3 => u64::MAX,
            _ => first + self.random.next() % (next - first).max(1),
        }
    }

    fn read(&mut self) {
        let offset = self.offset();
        let found = self.log().read(offset, |bytes, _| bytes.to_vec());
        self.expect(offset, found.as_deref().map(Some), false);
    }

    /// What reading at this offset may say.
    fn expect(&self, offset: u64, found: Result<Option<&[u8]>, &Error>, next_is_fine: bool) {
        let (first, next) = (self.model.first, self.model.next());
        match found {
            Ok(bytes) if offset < next => assert_eq!(bytes, Some(self.model.record(offset)), "record {offset}"),
            Ok(bytes) => assert!(next_is_fine && offset == next && bytes.is_none(), "record {offset}"),
            Err(error) => {
                let expected = if offset < first { Status::Trimmed } else { Status::Beyond };
                assert_eq!((error.status(), error.detail().offset), (expected, offset), "{error}");
                assert!(offset < first || offset > next || offset == next && !next_is_fine, "{error}");
            }
        }
    }

    fn open_cursor(&mut self) {
        let offset = self.offset();
        match Cursor::open(self.log(), offset) {
            Ok(cursor) => {
                assert!((self.model.first..=self.model.next()).contains(&offset) && cursor.offset() == offset);
                self.cursors.push(cursor);
            }
            Err(error) => self.expect(offset, Err(&error), true),
        }
        if self.cursors.len() > 6 {
            let gone = self.random.below(6);
            self.cursors.swap_remove(gone);
        }
    }

    fn step(&mut self) {
        let Some(n) = self.random.below(self.cursors.len()).checked_rem(self.cursors.len()) else { return };
        let mut cursor = self.cursors.swap_remove(n);
        let at = cursor.offset();
        if self.random.below(2) == 0 {
            let record = cursor.next().unwrap();
            assert_eq!(record.map_or(at, |record| record.offset), at);
            self.expect(at, Ok(record.map(|record| record.payload)), true);
        } else {
            let capacity = [1, 2, 7, 100, 5000][self.random.below(5)];
            let mut views = Vec::new();
            let count = cursor.next_batch(capacity, |record| views.push(record)).unwrap();
            assert!(count == views.len() && count <= capacity && (count > 0 || at == self.model.next()));
            for (offset, record) in (at..).zip(&views) {
                assert_eq!(record.offset, offset);
                self.expect(offset, Ok(Some(record.payload)), false);
            }
        }
        self.cursors.push(cursor);
    }

    fn sync(&mut self) {
        self.log().sync().unwrap();
        self.model.durable = self.model.next();
    }

    fn stat(&self) {
        let (stat, model) = (self.log().stat().unwrap(), &self.model);
        assert_eq!((stat.first_offset, stat.next_offset), (model.first, model.next()));
        assert_eq!((self.log().first_offset(), self.log().next_offset()), (model.first, model.next()));
        assert_eq!((stat.payload_bytes, stat.appends), (model.payload_bytes(), model.appends));
        assert!((model.durable..=model.next()).contains(&stat.durable_offset), "{stat:?}");
        assert_eq!(stat.dropped_bytes, 0);
    }

    /// Closes it, or drops it, or kills it; cursors see what was there, then the end. Opens it again, perhaps with other limits.
    fn reopen(&mut self) {
        let way = self.random.below(4);
        let log = self.log.take().unwrap();
        if way == 0 {
            let killed = Image::of(self.dir.path());
            drop(log);
            self.dir = killed.place();
            self.cursors.clear();
        } else {
            if way == 1 {
                drop(log);
            } else {
                log.close().unwrap();
            }
            for _ in 0..self.random.below(10) {
                self.step();
            }
            if self.random.below(2) == 0 {
                self.cursors.clear();
            }
            self.model.durable = self.model.next();
        }
        if way == 2 {
            let mut image = Image::without_live(self.dir.path());
            if self.random.below(2) == 0 {
                image.0.retain(|name, _| support::is_store(name));
            }
            // Cursors may hold the old files.
            self.dir = image.place();
            self.cursors.clear();
        }
        if self.random.below(2) == 0 {
            self.config = config(&mut self.random, self.model.first);
        }
        let log = Log::open(self.dir.path(), &self.config).unwrap();
        let stat = log.stat().unwrap();
        assert!(way == 0 || stat.recovered_records == 0, "a closed log needs no recovery");
        assert_eq!(stat.durable_offset, self.model.next(), "what an open has found is durable");
        self.model.durable = self.model.next();
        self.model.appends = 0;
        // Cursors of the handle that was closed have seen all that they will see.
        self.cursors.retain(|cursor| cursor.offset() < self.model.first);
        self.log = Some(log);
        self.stat();
    }

    /// All of it, by a new cursor.
    fn check(&mut self) {
        let mut cursor = Cursor::open(self.log(), self.model.first).unwrap();
        for offset in self.model.first..self.model.next() {
            let record = cursor.next().unwrap().unwrap();
            assert!(record.offset == offset && record.payload == self.model.record(offset), "record {offset}");
        }
        assert!(cursor.next().unwrap().is_none());
        self.stat();
    }

    fn go(&mut self, steps: usize, calls: &AtomicU64) {
        for _ in 0..steps {
            match self.random.below(100) {
                0..=39 => {
                    let record = self.record();
                    self.append(vec![record], false);
                }
                40..=49 => {
                    let most = [3, 12, 40, 900][self.random.below(4)];
                    let count = self.random.below(most);
                    let records: Vec<_> = (0..count).map(|_| self.record()).collect();
                    let bytes = if count > 50 { 30 } else { usize::MAX };
                    let records = records.into_iter().map(|mut record| (record.truncate(bytes), record).1).collect();
                    self.append(records, true);
                }
                50..=69 => self.read(),
                70..=74 => self.open_cursor(),
                75..=91 => self.step(),
                92..=93 => self.sync(),
                94..=96 => self.stat(),
                97 => self.check(),
                _ => self.reopen(),
            }
            calls.fetch_add(1, Ordering::Relaxed);
        }
        self.check();
        self.reopen();
        self.check();
    }
}

#[test]
fn any_sequence_of_calls_is_as_with_a_vector() {
    let seeds = if std::env::var_os("SEGLOG_CAMPAIGN").is_some() { 4000 } else { 32 };
    let calls = AtomicU64::new(0);
    each(0..seeds, |seed, _| {
        let _seed = Seed(seed);
        Run::new(seed as u64).go(400, &calls);
    });
    assert_eq!(calls.into_inner(), seeds as u64 * 400);
}

/// Says in a failed test which one it was.
struct Seed(usize);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "a failed test says what it did")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with seed {}", self.0);
        }
    }
}
