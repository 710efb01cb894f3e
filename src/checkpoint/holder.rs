//! How other commands reach a store that a running process holds: a unix socket in the state directory.
//!
//! `status`, `offsets`, `verify` and `resolve` ask whoever holds the store, or look into it when nobody does:
//! [`open_or_ask`]. One JSON object a line each way, with the version of this language:
//!
//! ```text
//! {"landfall":1,"request":{"ask":"resolve","with":{"topic":"t","partition":3,"span":[100,200],"as":"gap"}}}
//! {"landfall":1,"response":{"answer":"resolved","with":{…}}}
//! ```
//!
//! Only the user who runs the process can connect. The socket is put in place, and a dead one replaced, only
//! while the lock of the directory is held.

mod address;
mod ask;
mod serve;

use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use landfall_sink::{Resolution, Span};
use serde::{Deserialize, Serialize};

pub use ask::{Client, ask};
pub use serve::{Server, serve};

use super::lock::HeldBy;
use super::{Checkpoint, CheckpointStore, SledStore, StoreError};

/// The version of the language on the socket.
const VERSION: u32 = 1;
const SOCKET: &str = "socket";
/// How long a process that has just taken the lock may need to serve.
const STARTING: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", content = "with", rename_all = "snake_case")]
pub enum Request {
    /// Who holds the store.
    Who,
    /// Every record.
    Checkpoints,
    Resolve(Resolve),
    /// The engine's own view of its progress.
    Status,
}

/// An operator's decision about an exact range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    pub topic: String,
    pub partition: i32,
    pub span: Span,
    #[serde(rename = "as")]
    pub decision: Resolution,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "with", rename_all = "snake_case")]
pub enum Response {
    Who(HeldBy),
    Checkpoints(Vec<Checkpoint>),
    /// The record that holds the decision.
    Resolved(Box<Checkpoint>),
    Status(serde_json::Value),
    Failed(Failure),
}

/// Why the holder did not answer the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub happened: Happened,
    pub message: String,
}

/// "Did it happen?", for what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// It did not, and may later.
    No,
    Unknown,
    /// It did not, and never will like this.
    Refused,
}

impl Failure {
    pub fn refused(message: impl ToString) -> Failure {
        Failure { happened: Happened::Refused, message: message.to_string() }
    }

    fn into_store_error(self, store: String) -> StoreError {
        let message = self.message;
        match self.happened {
            Happened::No => StoreError::NotDone { store, message },
            Happened::Unknown => StoreError::Unknown { store, message },
            Happened::Refused => StoreError::Refused { store, message },
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let happened = match error {
            StoreError::NotDone { .. } => Happened::No,
            StoreError::Unknown { .. } => Happened::Unknown,
            StoreError::Locked { .. } | StoreError::Refused { .. } => Happened::Refused,
        };
        let (StoreError::NotDone { message, .. }
        | StoreError::Unknown { message, .. }
        | StoreError::Locked { holder: message, .. }
        | StoreError::Refused { message, .. }) = error;
        Failure { happened, message }
    }
}

/// What the engine answers. `Who` is answered from the lock.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, Failure>;

    /// Stores the decision durably, and carries it out by the normal path.
    async fn resolve(&self, resolve: Resolve) -> Result<Checkpoint, Failure>;

    async fn status(&self) -> Result<serde_json::Value, Failure>;
}

/// The store of a state directory, as another command finds it.
pub enum Inspection {
    /// A process holds it: ask that.
    Running(Client),
    /// Nobody held it: now this process does, and looks at a copy.
    Idle(SledStore),
    /// There is none.
    Absent,
}

impl Inspection {
    /// Every record, whoever holds it.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        match self {
            Inspection::Running(client) => client.checkpoints().await,
            Inspection::Idle(store) => every_checkpoint(store).await,
            Inspection::Absent => Ok(Vec::new()),
        }
    }
}

/// Looks into the store of a state directory, or reaches whoever holds it. Changes nothing.
pub async fn open_or_ask(path: &Path) -> Result<Inspection, StoreError> {
    let give_up = Instant::now() + STARTING;
    loop {
        if let Some(client) = Client::connect(path).await? {
            return Ok(Inspection::Running(client));
        }
        let directory = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || SledStore::look(&directory)).await;
        match opened {
            Ok(Ok(Some(store))) => return Ok(Inspection::Idle(store)),
            Ok(Ok(None)) => return Ok(Inspection::Absent),
            // It has only just started, or is only looking as we are.
            Ok(Err(StoreError::Locked { .. })) if Instant::now() < give_up => {}
            Ok(Err(error)) => return Err(error),
            Err(error) => {
                let (store, message) = (path.display().to_string(), format!("opening it: {error}"));
                return Err(StoreError::Refused { store, message });
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every record of a store, in order of stream. All are asked for at once, so that they share one round.
pub async fn every_checkpoint(store: &dyn CheckpointStore) -> Result<Vec<Checkpoint>, StoreError> {
    let streams = store.streams().await?;
    let loads = streams.iter().map(|stream| store.load(stream));
    let records = futures::future::try_join_all(loads).await?;
    Ok(records.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
