//! What an operator asks of a running process: how the streams stand, and decisions about ranges that can
//! never be read again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use landfall_sink::{Resolution, Span, Stream};
use tokio::sync::{mpsc, oneshot};

use crate::ambient;
use crate::checkpoint::holder::{self, Failure, Handler};
use crate::checkpoint::{Checkpoint, CheckpointStore, StoreError, Swap};
use crate::pipeline::Nudge;
use crate::status::Board;

/// Knows the tasks of the streams. Cheap to clone.
#[derive(Clone, Default)]
pub struct Operator(Arc<Mutex<Doors>>);

/// By topic and partition: where a running stream is told a decision.
type Doors = BTreeMap<(String, i32), mpsc::UnboundedSender<Nudge>>;

impl Operator {
    pub(super) fn introduce(&self, stream: &Stream, nudges: mpsc::UnboundedSender<Nudge>) {
        let key = (stream.topic.clone(), stream.partition);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, nudges);
    }

    /// Tells the stream's task; returns the checkpoint with the decision in it, or `None` where this process
    /// does not land the stream.
    pub async fn resolve(
        &self,
        topic: &str,
        partition: i32,
        span: Span,
        resolution: Resolution,
    ) -> Option<Result<Checkpoint, String>> {
        let key = (topic.to_owned(), partition);
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?;
        let (answer, told) = oneshot::channel();
        task.send(Nudge { span, resolution, answer }).ok()?;
        told.await.ok()
    }
}

/// How often a decision is tried against processes that land the stream.
const TRIES: usize = 8;

/// Where other commands are answered.
pub struct Desk {
    pub store: Arc<dyn CheckpointStore>,
    pub board: Arc<Board>,
    pub operator: Operator,
    /// What a new plan takes, where a decision needs one.
    pub layout: String,
}

impl Desk {
    /// Stores a decision about a stream that no task of this process lands.
    pub async fn decide(
        &self,
        topic: &str,
        partition: i32,
        span: Span,
        decision: Resolution,
    ) -> Result<Checkpoint, StoreError> {
        let refused = |message: String| StoreError::Refused { store: self.store.id().to_owned(), message };
        for _ in 0..TRIES {
            let old = self.find(topic, partition, span).await?;
            let old = old.ok_or_else(|| {
                refused(format!("{topic}/{partition} has no checkpoint here; `landfall status` lists the streams"))
            })?;
            if old.open_plan(span).is_some_and(|plan| plan.resolved == Some(decision)) {
                return Ok(old);
            }
            let new = old.resolve(span, decision, &self.layout, ambient::random_id());
            let new = new.map_err(|refusal| refused(refusal.to_string()))?;
            // Where other processes land the stream, the decision is made again from what they left.
            if self.store.swap(Some(old.version), &new).await? == Swap::Won {
                return Ok(new);
            }
        }
        Err(refused(format!("{topic}/{partition} changed meanwhile: look again and decide again")))
    }

    /// The stream of that name; of several histories of a re-created topic the one that has this plan open.
    async fn find(&self, topic: &str, partition: i32, span: Span) -> Result<Option<Checkpoint>, StoreError> {
        let all = holder::every_checkpoint(self.store.as_ref()).await?;
        let mut named: Vec<Checkpoint> =
            all.into_iter().filter(|c| c.stream.topic == topic && c.stream.partition == partition).collect();
        let open = named.iter().position(|checkpoint| checkpoint.open_plan(span).is_some());
        Ok(match open {
            Some(at) => Some(named.swap_remove(at)),
            None => named.pop(),
        })
    }
}

#[async_trait]
impl Handler for Desk {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, Failure> {
        Ok(holder::every_checkpoint(self.store.as_ref()).await?)
    }

    async fn resolve(&self, ask: holder::Resolve) -> Result<Checkpoint, Failure> {
        match self.operator.resolve(&ask.topic, ask.partition, ask.span, ask.decision).await {
            Some(answer) => answer.map_err(Failure::refused),
            None => Ok(self.decide(&ask.topic, ask.partition, ask.span, ask.decision).await?),
        }
    }

    async fn status(&self) -> Result<serde_json::Value, Failure> {
        serde_json::to_value(self.board.rows()).map_err(Failure::refused)
    }
}
