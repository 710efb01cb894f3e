//! Faults of reading in a row: the same one often enough is not a passing one.

use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use crate::kafka::Fault;

/// How often the newest fault has come: one of another kind, one further on in the log, and one after a quiet time
/// are each the first of their row.
#[derive(Debug, Default)]
pub(super) struct Faults {
    row: Option<Row>,
}

#[derive(Debug)]
struct Row {
    kind: Discriminant<Fault>,
    at: i64,
    last: Instant,
    count: u32,
}

impl Faults {
    /// One more, at this offset; how many they are.
    pub fn count(&mut self, fault: &Fault, at: i64, now: Instant, quiet: Duration) -> u32 {
        let kind = discriminant(fault);
        let goes_on = |row: &Row| row.kind == kind && at <= row.at && now.saturating_duration_since(row.last) < quiet;
        let before = self.row.take().filter(goes_on);
        let (count, furthest) = before.map_or((1, at), |row| (row.count + 1, row.at));
        self.row = Some(Row { kind, at: furthest, last: now, count });
        count
    }

    pub fn forget(&mut self) {
        self.row = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_fault_at_the_same_place_adds_up() {
        let quiet = Duration::from_secs(100);
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let (corrupt, other) = (|| Fault::Corrupt("x".into()), || Fault::Other("y".into()));
        let mut faults = Faults::default();
        assert_eq!(faults.count(&corrupt(), 50, after(0), quiet), 1);
        assert_eq!(faults.count(&corrupt(), 50, after(1), quiet), 2);
        // The next attempt may fail earlier: it has not got past the damage.
        assert_eq!(faults.count(&corrupt(), 40, after(2), quiet), 3);
        assert_eq!(faults.count(&corrupt(), 50, after(3), quiet), 4);
        assert_eq!(faults.count(&other(), 50, after(4), quiet), 1);
        assert_eq!(faults.count(&corrupt(), 50, after(5), quiet), 1);
        assert_eq!(faults.count(&corrupt(), 60, after(6), quiet), 1, "it got further");
        assert_eq!(faults.count(&corrupt(), 60, after(7), quiet), 2);
        assert_eq!(faults.count(&corrupt(), 60, after(107), quiet), 1, "a quiet time");
        faults.count(&corrupt(), 60, after(108), quiet);
        faults.forget();
        assert_eq!(faults.count(&corrupt(), 60, after(109), quiet), 1);
    }
}
