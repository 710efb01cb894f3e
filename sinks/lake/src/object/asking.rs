//! One request: it waits for its turn, has a time of its own, and is repeated with pauses where that is harmless.

use std::time::Duration;

use rand::Rng;

use super::answer::{Answer, Meaning};
use super::{Inner, wire};
use crate::LakeError;

/// Every request gets this, and the time for its bytes on a slow line.
const PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;
/// How often a question is asked.
const ATTEMPTS: u32 = 4;

/// When a request with so many bytes is given up.
pub(super) fn deadline(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes.div_ceil(SLOWEST_BYTES_PER_SECOND))
}

/// Waits before the next attempt, longer each time, and longer still where the store asked for it; never two
/// writers equally long.
pub(super) async fn pause(attempt: u32, answer: &Answer) {
    let first = if answer.throttled { 400 } else { 60 };
    let most = (first << (2 * attempt.min(4))).min(10_000);
    let wait = rand::rng().random_range(most / 2..=most);
    tokio::time::sleep(Duration::from_millis(wait)).await;
}

impl Inner {
    /// Makes one request, and once.
    pub(super) async fn once<T>(
        &self,
        within: Duration,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Answer> {
        // It is never closed.
        let _turn = self.requests.acquire().await;
        let (done, seen) = wire::watched(tokio::time::timeout(within, work)).await;
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Answer::of(&error, seen)),
            Err(_) => Err(Answer::timed_out(within, seen)),
        }
    }

    /// Asks until there is an answer: `None` where the object is known to be absent. For what changes nothing, or
    /// changes the same when it is done twice.
    pub(super) async fn asked<T, F>(&self, path: &str, ask: impl FnMut() -> F) -> Result<Option<T>, LakeError>
    where
        F: Future<Output = Result<T, Answer>>,
    {
        self.answered(path, ask).await.map_err(|answer| answer.unread(path))
    }

    /// The same, with the last answer as the store gave it.
    pub(super) async fn answered<T, F>(&self, path: &str, mut ask: impl FnMut() -> F) -> Result<Option<T>, Answer>
    where
        F: Future<Output = Result<T, Answer>>,
    {
        let mut attempt = 0;
        loop {
            match ask().await {
                Ok(told) => return Ok(Some(told)),
                Err(answer) if answer.meaning == Meaning::Absent => return Ok(None),
                Err(answer) => {
                    attempt += 1;
                    let final_word = matches!(answer.meaning, Meaning::Denied | Meaning::Never);
                    if final_word || attempt == ATTEMPTS {
                        return Err(answer);
                    }
                    tracing::debug!(path, attempt, "asking again: {answer}");
                    pause(attempt - 1, &answer).await;
                }
            }
        }
    }
}
