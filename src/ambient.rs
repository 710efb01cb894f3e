//! The only door to the clock and to randomness, so that a test can stand in for both.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 in UTC.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// 128 random bits as 32 hexadecimal digits: for ids and nonces.
pub fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A wait between half of `around` and one and a half of it, so that streams do not retry in step.
pub fn jitter(around: Duration) -> Duration {
    around.mul_f64(0.5 + rand::random::<f64>())
}
