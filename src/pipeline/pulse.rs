//! What a worker shows of itself without being asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) struct Pulse {
    born: Instant,
    last_rows_ms: AtomicU64,
}

impl Pulse {
    pub fn new() -> Pulse {
        Pulse { born: Instant::now(), last_rows_ms: AtomicU64::new(0) }
    }

    pub fn beat(&self, rows: usize) {
        if rows > 0 {
            let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last_rows_ms.store(now, Ordering::Relaxed);
        }
    }

    /// No record for a while: this worker could read for somebody else.
    pub fn is_idle(&self, quiet: Duration) -> bool {
        let last = Duration::from_millis(self.last_rows_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(last) >= quiet
    }
}
