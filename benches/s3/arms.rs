//! The arms. Each runs in a process of its own, so that its CPU seconds and its memory are its own.

use std::path::PathBuf;
use std::time::Duration;

use landfall::Landfall;
use landfall::config::StoreKind;
use serde::{Deserialize, Serialize};

use crate::rig::work::Work;
use crate::store::Place;
use crate::{landing, listener, member, starts, steady};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Encoding alone, of batches that were read before the clock started, to nowhere.
    Encode,
    /// `landfall run --once` with the checkpoints in memory, to nowhere: reading and encoding.
    Dry,
    /// The objects that stand below a directory, from memory into the store, many at a time.
    Put { from: PathBuf },
    /// Gives the lake its owner and births to the streams, so that [`Kind::Land`] measures landing alone.
    Prepare,
    /// `landfall run --once`.
    Land,
    /// `landfall run` for so many seconds; how long batches take, and what is asked of the store where that
    /// is counted. It begins when there were `warm` batches in each partition.
    Steady { seconds: u64, warm: usize, counted: bool },
    /// `landfall run --once`, and the same.
    Backlog { warm: usize, counted: bool },
    /// `landfall run` until all streams run and have landed.
    Start { counted: bool },
    /// `landfall run` as a member of a group, until its standard input ends.
    Share { group: String, instance: String },
}

/// What the parent asks of an arm: one argument, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub kind: Kind,
    #[serde(flatten)]
    pub work: Work,
    pub place: Place,
    pub max_age: Duration,
    pub max_records: u64,
    /// For the spool and the like, on the disk that is measured.
    pub dir: PathBuf,
}

impl Order {
    /// The product, open, with its checkpoints in the lake.
    pub async fn open(&self, place: &Place) -> anyhow::Result<Landfall> {
        let (work, options) = (&self.work, place.properties());
        let mut landfall = Landfall::builder()
            .property("bootstrap.servers", &work.bootstrap)
            .topic(&work.topic)
            .lake(&place.url)
            .state(self.dir.join("state"))
            .max_size(work.max_size)
            .max_age(self.max_age)
            .max_records(self.max_records)
            .memory(work.memory)
            .workers(work.workers)
            .with(|config| {
                config.checkpoint.store = if self.kind == Kind::Dry { StoreKind::Memory } else { StoreKind::Lake };
                config.lake.options = options;
            });
        if let Kind::Share { group, instance } = &self.kind {
            landfall = landfall.property("group.id", group).property("group.instance.id", instance);
        }
        Ok(landfall.open().await?)
    }
}

/// Prints the answer of the arm.
pub fn run(order: &Order) -> anyhow::Result<()> {
    let heard = listener::listen()?;
    let answer = match &order.kind {
        Kind::Encode => serde_json::to_string(&landing::encode(order)?),
        Kind::Dry => serde_json::to_string(&landing::dry(order)?),
        Kind::Put { from } => serde_json::to_string(&landing::put(order, from)?),
        Kind::Prepare => serde_json::to_string(&landing::prepare(order)?),
        Kind::Land => serde_json::to_string(&landing::land(order)?),
        Kind::Steady { seconds, warm, counted } => {
            serde_json::to_string(&steady::run(order, &heard, Some(*seconds), *warm, *counted)?)
        }
        Kind::Backlog { warm, counted } => serde_json::to_string(&steady::run(order, &heard, None, *warm, *counted)?),
        Kind::Start { counted } => serde_json::to_string(&starts::start(order, *counted)?),
        Kind::Share { .. } => serde_json::to_string(&member::run(order)?),
    };
    println!("{}", answer?);
    Ok(())
}
