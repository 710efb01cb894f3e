//! When a batch ends, and how far a plan reaches: pure decisions, no clock and no I/O.

use std::time::Duration;

use landfall_sink::Span;

/// When a file is closed: whichever comes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Roll {
    /// Since data beyond `next` was first seen, on a monotonic clock.
    pub max_age: Duration,
    /// Bytes of the file written.
    pub max_size: u64,
    /// Offsets of a plan: an exact bound.
    pub max_records: i64,
}

/// What a batch under way looks like to the roll policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    pub from: i64,
    /// The offset behind everything that has been read.
    pub position: i64,
    /// What the file would measure if it ended here.
    pub size: u64,
    /// Since when there is something to land; `None` while there is nothing.
    pub age: Option<Duration>,
}

impl Roll {
    /// The exact end that `max_records` sets for a batch that begins at `from`.
    pub fn last_until(&self, from: i64) -> i64 {
        from.saturating_add(self.max_records)
    }

    /// Where the batch ends, if it ends now.
    pub fn due(&self, sight: &Sight) -> Option<i64> {
        if sight.position <= sight.from {
            return None;
        }
        let last = self.last_until(sight.from);
        if sight.position >= last {
            return Some(last);
        }
        let old = sight.age.is_some_and(|age| age >= self.max_age);
        (old || sight.size >= self.max_size).then_some(sight.position)
    }
}

/// Bytes of file per offset, learned from what was written: only used to cut a backlog into pieces
/// that several workers read at once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Learned {
    bytes_per_offset: Option<f64>,
}

impl Learned {
    pub fn observe(&mut self, span: Span, bytes: u64) {
        if span.is_empty() {
            return;
        }
        let now = bytes as f64 / span.len() as f64;
        self.bytes_per_offset = Some(self.bytes_per_offset.map_or(now, |old| old * 0.5 + now * 0.5));
    }

    /// What a file of these offsets would measure; `None` until something was learned.
    pub fn bytes(&self, span: Span) -> Option<u64> {
        self.bytes_per_offset.map(|per_offset| (per_offset * span.len().max(0) as f64) as u64)
    }

    /// How many offsets make one file; `None` until something was learned.
    pub fn chunk(&self, roll: &Roll) -> Option<i64> {
        let per_offset = self.bytes_per_offset?.max(0.001);
        let offsets = (roll.max_size as f64 / per_offset).clamp(1.0, 1e15) as i64;
        Some(offsets.min(roll.max_records).max(1))
    }

    /// The next piece of a backlog: `None` where what is left is not worth sharing (two chunks or less),
    /// because rows that are read ahead of their plan give files of the right size.
    pub fn piece(&self, roll: &Roll, next: i64, end: i64) -> Option<Span> {
        let chunk = self.chunk(roll)?;
        let lag = end.saturating_sub(next);
        (lag > chunk.saturating_mul(2)).then(|| Span::new(next, next + chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn roll() -> Roll {
        Roll { max_age: Duration::from_secs(60), max_size: 1000, max_records: 50 }
    }

    fn sight(position: i64, size: u64, age: u64) -> Sight {
        Sight { from: 10, position, size, age: Some(Duration::from_secs(age)) }
    }

    #[test]
    fn a_batch_ends_by_age_size_or_records_and_never_empty() {
        assert_eq!(roll().due(&sight(20, 0, 0)), None);
        assert_eq!(roll().due(&sight(20, 0, 60)), Some(20));
        assert_eq!(roll().due(&sight(20, 1000, 0)), Some(20));
        assert_eq!(roll().due(&sight(99, 0, 0)), Some(60));
        assert_eq!(roll().due(&sight(10, 5000, 999)), None);
    }

    #[test]
    fn a_backlog_of_two_chunks_or_less_is_not_shared() {
        let mut learned = Learned::default();
        assert_eq!(learned.piece(&roll(), 0, 1_000_000), None);
        learned.observe(Span::new(0, 10), 1000);
        assert_eq!(learned.chunk(&roll()), Some(10));
        assert_eq!(learned.piece(&roll(), 0, 20), None);
        assert_eq!(learned.piece(&roll(), 0, 21), Some(Span::new(0, 10)));
    }

    proptest! {
        #[test]
        fn no_batch_is_longer_than_max_records(position in 0i64..500, size in 0u64..2000, age in 0u64..100) {
            if let Some(until) = roll().due(&sight(position, size, age)) {
                prop_assert!(until > 10 && until <= position && until - 10 <= 50);
            }
        }
    }
}
