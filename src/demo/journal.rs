//! The producer's own journal: what the broker has acknowledged, and what of it is found in the lake.
//!
//! It shares nothing with the engine, so it can testify against it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::kafka::playground::Acknowledged;

type Key = (String, i32);

/// Of each partition, which record stands at which offset.
#[derive(Debug, Default)]
pub struct Journal {
    acknowledged: Mutex<BTreeMap<Key, Vec<Option<u64>>>>,
    failed: Mutex<Vec<String>>,
    /// How many are in `acknowledged`: asked for all the time.
    produced: AtomicU64,
}

/// What the lake holds against the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    pub produced: u64,
    pub landed: u64,
    pub lost: u64,
    pub repeated: u64,
    /// Rows that the journal knows nothing of.
    pub unknown: u64,
}

impl Acknowledged for Journal {
    fn acknowledged(&self, topic: &str, partition: i32, offset: i64, id: u64) {
        let mut all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let records = all.entry((topic.to_owned(), partition)).or_default();
        let at = usize::try_from(offset).unwrap_or(0);
        if records.len() <= at {
            records.resize(at + 1, None);
        }
        if records[at].replace(id).is_none() {
            self.produced.fetch_add(1, Relaxed);
        }
    }

    fn failed(&self, topic: &str, partition: i32, why: String) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{topic}/{partition}: {why}"));
    }
}

impl Journal {
    pub fn produced(&self) -> u64 {
        self.produced.load(Relaxed)
    }

    pub fn failures(&self) -> Vec<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Holds the rows that were found, as (topic, partition, offset), against what was acknowledged.
    pub fn judge(&self, rows: impl Iterator<Item = (Key, i64)>) -> Verdict {
        let all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen: BTreeMap<Key, Vec<bool>> = BTreeMap::new();
        let mut verdict = Verdict::default();
        for (key, offset) in rows {
            verdict.landed += 1;
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let known = all.get(&key).and_then(|records| records.get(at)).is_some_and(Option::is_some);
            if !known {
                verdict.unknown += 1;
                continue;
            }
            let seen = seen.entry(key).or_default();
            if seen.len() <= at {
                seen.resize(at + 1, false);
            }
            verdict.repeated += u64::from(std::mem::replace(&mut seen[at], true));
        }
        for (key, records) in all.iter() {
            let seen = seen.get(key);
            for (at, record) in records.iter().enumerate() {
                let found = seen.and_then(|seen| seen.get(at)).copied().unwrap_or(false);
                verdict.produced += u64::from(record.is_some());
                verdict.lost += u64::from(record.is_some() && !found);
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_repeated_and_unknown_are_told_apart() {
        let journal = Journal::default();
        (0..4).for_each(|offset| journal.acknowledged("t", 0, offset, 10 + offset as u64));
        let key = || ("t".to_owned(), 0);
        let rows = [(key(), 0), (key(), 1), (key(), 1), (key(), 9)];
        let verdict = journal.judge(rows.into_iter());
        assert_eq!(verdict, Verdict { produced: 4, landed: 4, lost: 2, repeated: 1, unknown: 1 });
        journal.acknowledged("t", 0, 3, 13);
        assert_eq!(journal.produced(), 4, "said twice, counted once");
    }
}
