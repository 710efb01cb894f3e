//! What all streams of a process share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use landfall_sink::{Layout, Sink, Stream};
use tokio::sync::mpsc;

use super::crew::Crew;
use super::identity::Identity;
use super::judge::Ends;
use super::trouble::Trouble;
use crate::checkpoint::CheckpointStore;
use crate::kafka::Kafka;
use crate::origin::Origin;
use crate::plan::Roll;
use crate::status::Board;

/// What happens where Kafka has dropped records before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// The stream stops and says which offsets are gone.
    Fail,
    /// The gap is written down in the file and in the checkpoint.
    Record,
}

/// What this process does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Plans it, on and on.
    Running,
    /// Another process plans it: this one takes pieces of its backlog.
    Helping,
    /// No new plan; batches under way are finished.
    Draining,
}

pub struct Works {
    pub kafka: Kafka,
    pub store: Arc<dyn CheckpointStore>,
    pub sink: Arc<dyn Sink>,
    pub origin: Arc<Origin>,
    pub identity: Identity,
    pub crew: Crew,
    pub roll: Roll,
    pub on_gap: OnGap,
    pub board: Arc<Board>,
    /// This process, as its plans name it.
    pub maker: String,
    /// How long a log may end below what was read before that is called a truncation.
    pub truncation_wait: Duration,
    /// What the broker last said of each partition, and when it was asked.
    pub ends: Mutex<HashMap<Stream, (Ends, Instant)>>,
    /// Streams whose topic may be gone, or be another one of the same name: each compares for itself.
    pub doubts: Mutex<HashSet<Stream>>,
    pub layouts: Mutex<HashMap<String, Arc<Layout>>>,
    /// Streams whose committed offset moved: to be announced. `None` where the stream has ended here.
    pub announce: mpsc::UnboundedSender<(Stream, Option<i64>)>,
    /// What ends the whole process.
    pub fatal: mpsc::UnboundedSender<String>,
}

impl Works {
    pub fn ends_of(&self, stream: &Stream) -> Option<(Ends, Instant)> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(stream).copied()
    }

    pub fn remember_ends(&self, stream: &Stream, ends: Ends, asked: Instant) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.clone(), (ends, asked));
        self.board.ends(stream, ends.end);
    }

    /// Of a stream that is still landed here: the question took a while.
    pub fn refresh_ends(&self, stream: &Stream, ends: Ends, asked: Instant) {
        let mut known = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = known.get_mut(stream) else { return };
        *entry = (ends, asked);
        self.board.ends(stream, ends.end);
    }

    /// Another process lands it.
    pub fn forget(&self, stream: &Stream) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
        self.board.forget(stream);
    }

    /// There is a sign that the stream's topic is not the one that was planned.
    pub fn doubt(&self, stream: &Stream) {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.clone());
    }

    /// Whether there was such a sign; it is taken away.
    pub fn take_doubt(&self, stream: &Stream) -> bool {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).remove(stream)
    }

    /// The layout that a plan froze; written to the lake before its first plan, so it must be there.
    pub async fn layout(&self, digest: &str) -> Result<Arc<Layout>, Trouble> {
        let known = self.layouts.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        if let Some(layout) = known {
            return Ok(layout);
        }
        let layout = self.origin.layout(digest).await?;
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), layout.clone());
        Ok(layout)
    }
}
