//! One byte budget over everything in flight: `limits.memory`, divided.
//!
//! A quarter is for records that librdkafka has fetched, half for batches being encoded, and a quarter
//! for sealed batches that still hold memory (a file on a local disk holds next to none).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory of a sealed batch.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.landing.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[derive(Debug)]
pub struct Budget {
    memory: usize,
    workers: usize,
    landing: AtomicUsize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Budget {
    pub fn new(memory: usize, workers: usize) -> Budget {
        Budget { memory, workers: workers.max(1), landing: AtomicUsize::new(0) }
    }

    pub fn workers(&self) -> usize {
        self.workers
    }

    /// What librdkafka may hold for one worker. More than a few MiB only makes it slower: what is fetched
    /// is to be read while it is still in the cache.
    pub fn queued_bytes(&self) -> usize {
        (self.memory / 4 / self.workers).clamp(MIB, 16 * MIB)
    }

    /// What one answer of a broker may hold.
    pub fn fetch_bytes(&self) -> usize {
        (self.memory / 8 / self.workers).clamp(256 * KIB, 4 * MIB)
    }

    /// How much one worker's batches may hold.
    pub fn writers_share(&self) -> usize {
        self.memory / 2 / self.workers
    }

    /// A batch that holds this much, although it was asked to give memory back, is ended.
    pub fn is_heavy(&self, memory: usize) -> bool {
        memory > self.writers_share() / 2
    }

    /// How many bytes of rows are handed to a batch at once: enough to encode well, little against the size of the
    /// file; and where many partitions are read, little enough that what waits leaves room for the batches.
    pub fn batch_bytes(&self, max_size: u64, partitions: usize) -> usize {
        let of_file = usize::try_from(max_size / 16).unwrap_or(MIB).clamp(4 * KIB, MIB);
        of_file.min((self.writers_share() / 4 / partitions.max(1)).max(16 * KIB))
    }

    /// Counts a sealed batch for as long as the returned value lives.
    pub fn hold(self: &Arc<Budget>, bytes: usize) -> Held {
        self.landing.fetch_add(bytes, Ordering::AcqRel);
        Held { budget: self.clone(), bytes }
    }

    pub fn landing_is_full(&self) -> bool {
        self.landing.load(Ordering::Acquire) > self.memory / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_little_against_the_share() {
        let budget = Budget::new(192 * MIB, 2);
        assert_eq!(budget.batch_bytes(128 << 20, 1), MIB);
        assert_eq!(budget.batch_bytes(128 << 20, 12), MIB, "a few partitions: as much as encodes well");
        for partitions in [13, 50, 500, 768] {
            assert!(budget.batch_bytes(128 << 20, partitions) * partitions <= budget.writers_share() / 4);
        }
        assert_eq!(budget.batch_bytes(128 << 20, 100_000), 16 * KIB);
        assert_eq!(budget.batch_bytes(1, 1), 4 * KIB, "small files");
    }
}
