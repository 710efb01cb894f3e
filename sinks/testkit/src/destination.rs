//! What a sink shows the suite, and the suite itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use landfall_sink::{Plan, Sink};

use crate::cases;

/// What becomes of a write whose answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Happened,
    DidNotHappen,
}

/// An empty place for one case, and the reader's and the saboteur's view of it.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The sink, opened as another process would: two of them share nothing but the destination.
    fn open(&self) -> Arc<dyn Sink>;

    /// What a reader of the destination sees in the range of a plan, in order of offset, without asking
    /// the sink. `None` where nothing of the plan can be seen.
    async fn read(&self, plan: &Plan) -> Option<Vec<RecordBatch>>;

    /// How many things a reader can see in the whole destination: files, or rows, or objects.
    async fn visible(&self) -> usize;

    /// The answer to the next write that makes something visible is lost. `false` if this destination cannot do that.
    fn lose_next_answer(&self, _effect: Effect) -> bool {
        false
    }

    /// Puts bytes of a stranger where the plan would go. `false` if this destination cannot do that.
    async fn squat(&self, _plan: &Plan) -> bool {
        false
    }
}

/// An obligation that a sink does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub case: &'static str,
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.what)
    }
}

/// No case takes longer than a moment, so one that does has stopped.
const LONGEST: Duration = Duration::from_secs(120);

/// Runs every case on a destination of its own and returns the ones that failed.
pub async fn check(fresh: impl Fn() -> Box<dyn Destination>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (case, run) in cases::ALL {
        let destination = fresh();
        let what = match tokio::time::timeout(LONGEST, run(&*destination)).await {
            Ok(Ok(())) => continue,
            Ok(Err(what)) => what,
            Err(_) => format!("it did not end within {} s", LONGEST.as_secs()),
        };
        failures.push(Failure { case, what });
    }
    failures
}

/// Runs every case and panics with the list of the ones that failed.
pub async fn conformance(fresh: impl Fn() -> Box<dyn Destination>) {
    let failures = check(fresh).await;
    let list: Vec<String> = failures.iter().map(Failure::to_string).collect();
    assert!(failures.is_empty(), "the sink does not keep the contract:\n  {}", list.join("\n  "));
}
