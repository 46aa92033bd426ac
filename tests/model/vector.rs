//! The plain vector that a log is compared with: which records it should hold, and what of them must outlive what.

use proptest::test_runner::TestCaseError;
use seglog::Record;

/// What is known of a record's time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Time {
    Exactly(u64),
    /// The log's own, which never goes back.
    AtLeast(u64),
}

/// A record.
pub(crate) struct Kept {
    pub(crate) time: Time,
    pub(crate) payload: Vec<u8>,
    /// Its batch goes on behind it.
    more: bool,
}

/// What the log should hold.
pub(crate) struct Model {
    pub(crate) first: u64,
    pub(crate) records: Vec<Kept>,
    /// What is below it must outlive a power loss.
    pub(crate) durable: u64,
    /// The latest time that any record has had, those that were dropped counted.
    latest_ns: u64,
    payloads: u64,
}

impl Model {
    pub(crate) fn new(first: u64) -> Self {
        Self { first, records: Vec::new(), durable: first, latest_ns: 0, payloads: 0 }
    }

    pub(crate) fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// A new payload, unlike every other one.
    pub(crate) fn payload(&mut self, len: usize) -> Vec<u8> {
        self.payloads += 1;
        let seed = self.payloads.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let words = len.div_ceil(8) as u64;
        let mut bytes: Vec<u8> = (0..words).flat_map(|n| (seed ^ n).to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }

    /// Appends a batch, or a record alone.
    pub(crate) fn push(&mut self, payloads: Vec<Vec<u8>>) {
        let time = Time::AtLeast(self.latest_ns);
        self.push_at(payloads.into_iter().map(|payload| (time, payload)).collect());
    }

    /// Appends a batch with times of its own.
    pub(crate) fn push_at(&mut self, batch: Vec<(Time, Vec<u8>)>) {
        let last = batch.len().saturating_sub(1);
        for (n, (time, payload)) in batch.into_iter().enumerate() {
            let (Time::Exactly(ns) | Time::AtLeast(ns)) = time;
            self.latest_ns = self.latest_ns.max(ns);
            self.records.push(Kept { time, payload, more: n < last });
        }
    }

    pub(crate) fn trim(&mut self, before: u64) {
        if before > self.first {
            self.records.drain(..(before - self.first) as usize);
            self.first = before;
        }
    }

    pub(crate) fn truncate(&mut self, from: u64) {
        self.records.truncate((from - self.first) as usize);
        // Half of a batch is whole where it was cut on purpose.
        if let Some(last) = self.records.last_mut() {
            last.more = false;
        }
    }

    /// A power loss: of what was not durable, whole batches are gone from the end on.
    pub(crate) fn lose_from(&mut self, next: u64) -> Result<(), TestCaseError> {
        if next < self.durable || next > self.next() {
            let text = format!("{next} is left of {}, of which {} were durable", self.next(), self.durable);
            return Err(TestCaseError::fail(text));
        }
        self.records.truncate((next - self.first) as usize);
        if self.records.last().is_some_and(|last| last.more) {
            return Err(TestCaseError::fail(format!("half a batch is left: the log ends at {next}")));
        }
        // How late the lost ones were is not known any more.
        let times = self.records.iter().map(|kept| match kept.time {
            Time::Exactly(ns) | Time::AtLeast(ns) => ns,
        });
        self.latest_ns = times.max().unwrap_or(0);
        self.durable = next;
        Ok(())
    }

    pub(crate) fn reset(&mut self, to: u64) {
        self.records.clear();
        self.first = to;
    }

    /// An offset from one below the first to one behind the next.
    pub(crate) fn offset_at(&self, thousandth: u64) -> u64 {
        let span = self.records.len() as u64 + 2;
        (self.first + span * thousandth / 1000).saturating_sub(1)
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Kept> {
        self.records.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    /// Whether this is the record of its offset, byte for byte.
    pub(crate) fn expect(&self, record: &Record<'_>) -> Result<(), TestCaseError> {
        let fail = |what: &str| Err(TestCaseError::fail(format!("record {} {what}", record.offset)));
        let Some(Kept { time, payload, .. }) = self.get(record.offset) else { return fail("should not be there") };
        if record.payload != payload {
            return fail("has other bytes");
        }
        match *time {
            Time::Exactly(time) if time != record.timestamp_ns => fail("has another time"),
            Time::AtLeast(time) if time > record.timestamp_ns => fail("has an earlier time than one before it"),
            _ => Ok(()),
        }
    }
}
