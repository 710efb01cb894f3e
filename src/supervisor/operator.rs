//! What an operator asks of a running process: how the streams stand, and decisions about ranges that can
//! never be read again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use landfall_sink::{Resolution, Span, Stream};
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::Checkpoint;
use crate::pipeline::Nudge;

/// Knows the tasks of the streams. Cheap to clone.
#[derive(Clone, Default)]
pub struct Operator(Arc<Mutex<BTreeMap<(String, i32), mpsc::UnboundedSender<Nudge>>>>);

impl Operator {
    pub(super) fn introduce(&self, stream: &Stream, nudges: mpsc::UnboundedSender<Nudge>) {
        let key = (stream.topic.clone(), stream.partition);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, nudges);
    }

    /// Tells the stream's task; returns the checkpoint with the decision in it.
    pub async fn resolve(&self, topic: &str, partition: i32, span: Span, resolution: Resolution) -> Result<Checkpoint, String> {
        let key = (topic.to_owned(), partition);
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let gone = || format!("{topic}/{partition} is not being landed by this process");
        let (answer, told) = oneshot::channel();
        task.ok_or_else(gone)?.send(Nudge { span, resolution, answer }).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}
