//! librdkafka's log, as events of `tracing`: at most one line per subject in ten seconds, so that a broker
//! that is away does not fill a disk.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{c_char, c_int};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use super::native::text;

const QUIET: Duration = Duration::from_secs(10);

/// When a subject was last let through, and how many lines were held back since.
#[derive(Default)]
struct Limiter {
    subjects: HashMap<(c_int, String), (Option<Instant>, u64)>,
}

impl Limiter {
    /// `Some(held back)` if a line may pass now.
    fn admit(&mut self, level: c_int, subject: &str, now: Instant) -> Option<u64> {
        let entry = self.subjects.entry((level, subject.to_owned())).or_default();
        match entry.0 {
            Some(last) if now.duration_since(last) < QUIET => {
                entry.1 += 1;
                None
            }
            _ => {
                entry.0 = Some(now);
                Some(std::mem::take(&mut entry.1))
            }
        }
    }
}

/// Called by librdkafka's threads for each line of its log.
///
/// # Safety
/// Only librdkafka calls it, with strings that are alive during the call.
pub(super) unsafe extern "C" fn librdkafka_log(
    _rk: *const sys::rd_kafka_t,
    level: c_int,
    subject: *const c_char,
    line: *const c_char,
) {
    static LIMITER: LazyLock<Mutex<Limiter>> = LazyLock::new(Mutex::default);
    // SAFETY: by the contract of this function.
    let (subject, line) = unsafe { (text(subject), text(line)) };
    let admitted = LIMITER.lock().unwrap_or_else(PoisonError::into_inner).admit(level, &subject, Instant::now());
    let Some(held_back) = admitted else {
        return;
    };
    // Syslog's levels. What needs an operator is said by the engine itself, with topic and partition.
    match level {
        // A connection that cannot be made, or is lost: one line for each attempt. That the brokers are away, and
        // why, is said once.
        _ if matches!(subject.as_str(), "FAIL" | "ERROR") => {
            tracing::debug!(target: "librdkafka", subject, held_back, "{line}");
        }
        0..=3 => tracing::warn!(target: "librdkafka", subject, held_back, "{line}"),
        4 => tracing::info!(target: "librdkafka", subject, held_back, "{line}"),
        5 | 6 => tracing::debug!(target: "librdkafka", subject, held_back, "{line}"),
        _ => tracing::trace!(target: "librdkafka", subject, held_back, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_heard_once_in_ten_seconds() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(limiter.admit(3, "FAIL", start), Some(0));
        assert_eq!(limiter.admit(3, "FAIL", start + Duration::from_secs(1)), None);
        assert_eq!(limiter.admit(3, "FAIL", start + Duration::from_secs(2)), None);
        assert_eq!(limiter.admit(3, "ERROR", start + Duration::from_secs(2)), Some(0));
        assert_eq!(limiter.admit(3, "FAIL", start + Duration::from_secs(11)), Some(2));
        assert_eq!(limiter.admit(3, "FAIL", start + Duration::from_secs(30)), Some(0));
    }
}
