//! The segmented write-ahead log of receiver mode: what it has acknowledged is durable, what it recovers is what was
//! appended, and damage is named by topic, partition and offsets.
//!
//! ```text
//! run ─► stage ─► commit ─► rotate ─► (volume)          appending
//! survey (walk, scan, ledger) ─► recover ─► repair      opening
//! cursor · retire · copy · inspect                      reading, giving back, looking
//! ```
//!
//! The core is synchronous: appenders encode and checksum on their own threads, one committer writes. No runtime, no
//! Kafka. `docs/wal-format.md` has the bytes, `docs/wal.md` what is promised and what is not.
//!
//! ```no_run
//! use landfall::wal::{AssignReason, Isolation, Options, Record, Run, Stream, Wal};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (wal, recovery) = Wal::open("./wal".as_ref(), Options::default())?;
//! println!("{:?}", recovery.tail);
//! let stream = Stream { cluster: "c".into(), topic: "orders".into(), topic_id: None, partition: 3 };
//! let id = wal.stream(&stream, Isolation::ReadCommitted)?;
//! wal.start_run(id, 100, AssignReason::Start)?;
//! let record = Record { offset: 100, value: Some(b"hello"), ..Record::default() };
//! let ticket = wal.append(id, Run::new(&[record], 101))?;
//! wal.wait(ticket)?; // durable: now the source may forget it
//! for frame in wal.cursor(id, 100, 101)? {
//!     for record in frame?.records() {
//!         println!("{}", record?.offset);
//!     }
//! }
//! wal.close()?;
//! # Ok(())
//! # }
//! ```

mod catalog;
mod commit;
mod copy;
mod cursor;
mod damage;
mod error;
pub mod format;
mod inspect;
mod ledger;
mod meta_file;
mod metrics;
mod options;
mod prepare;
mod ranges;
mod recover;
mod repair;
mod retire;
mod rotate;
mod run;
mod scan;
mod stage;
mod survey;
pub mod volume;
mod walk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub use landfall_sink::{Isolation, Stream};

pub use cursor::{Cursor, Frame};
pub use damage::{Damage, Lost};
pub use error::{AppendError, Poison, PoisonCause, WalError};
pub use format::{AssignReason, Header, Record, TimestampType};
pub use inspect::{Check, SegmentLine, check, check_on, frames, frames_on, segments};
pub use metrics::Metrics;
pub use options::{Acked, Options, Policy, Refetch};
pub use recover::{Recovery, StreamState, Tail};
pub use retire::{Floor, Retired};
pub use run::Run;
pub use stage::{Durable, StreamId, Ticket};

use catalog::Catalog;
use commit::Committer;
use meta_file::MetaFile;
use metrics::Counters;
use prepare::Preparer;
use stage::Stage;
use volume::{LogVolume, RealVolume};

/// Every rule of the log that can be broken on purpose, so that the tests can show that they would notice.
pub const SABOTAGES: &[&str] = &[
    "wal_ack_before_sync",
    "wal_skip_dir_fsync",
    "wal_retry_sync",
    "wal_cut_at_first_bad",
    "wal_refuse_on_later_group",
    "wal_go_on_after_error",
    "wal_rotate_without_seal",
    "wal_no_lsn_check",
    "wal_reuse_segment",
    "wal_unlink_before_floor",
    "wal_leave_waiters",
    "wal_forget_topic_id",
    "wal_read_unsynced",
    "wal_unlink_newest_first",
];

/// The names of a stream's cluster and topic together; Kafka's topics have at most 249 bytes.
const MOST_NAMES: usize = 512;

/// What the threads of an open log share.
struct Core {
    volume: Arc<dyn LogVolume>,
    options: Options,
    meta: MetaFile,
    stage: Arc<Stage>,
    catalog: Catalog,
    preparer: Preparer,
    counters: Counters,
    retiring: Mutex<()>,
    pinned_by: Mutex<Option<Stream>>,
}

/// An open log: one process writes it, any number of its threads append and read.
pub struct Wal {
    core: Arc<Core>,
    threads: Vec<JoinHandle<()>>,
    closed: AtomicBool,
    /// Let go of last, when nobody can write any more.
    _lock: Box<dyn Send + Sync>,
}

impl Wal {
    /// Opens the log in a directory of a local disk, which is made where it is missing.
    pub fn open(directory: &Path, options: Options) -> Result<(Wal, Recovery), WalError> {
        let volume = RealVolume::create(directory).map_err(WalError::io("opening", directory.display().to_string()))?;
        Wal::open_on(Arc::new(volume), options)
    }

    /// Opens the log on a volume of one's own.
    pub fn open_on(volume: Arc<dyn LogVolume>, mut options: Options) -> Result<(Wal, Recovery), WalError> {
        options.check()?;
        let lock = volume.lock().map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => {
                WalError::Locked { directory: volume.display(""), holder: source.to_string() }
            }
            _ => WalError::Io { op: "locking", file: volume.display("LOCK"), source },
        })?;
        let opened = recover::recover(&*volume, &options)?;
        let policy = std::mem::take(&mut options.policy);
        let (max_frame, group, max_id) = (options.max_frame(), options.max_gathered(), opened.survey.ledger.max_id);
        let stage = Stage::new(opened.meta.uuid(), options.staging_bytes, max_frame, group, opened.doors, max_id);
        let next = opened.survey.ledger.streams.iter().map(|(id, known)| (*id, known.next)).collect::<BTreeMap<_, _>>();
        let core = Arc::new(Core {
            volume,
            options,
            meta: opened.meta,
            stage: Arc::new(stage),
            catalog: Catalog::new(opened.survey.segments),
            preparer: Preparer::new(opened.survey.free),
            counters: Counters::default(),
            retiring: Mutex::new(()),
            pinned_by: Mutex::new(None),
        });
        core.counters.durable_lsn.store(opened.end.lsn, Ordering::Release);
        core.counters.quarantined.store(opened.quarantined, Ordering::Relaxed);
        let committer =
            Committer { core: core.clone(), end: opened.end, synced_lsn: opened.end.lsn, active: None, next };
        let preparer = core.clone();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = std::thread::Builder::new().name(name.into()).spawn(run);
            spawned.map_err(WalError::io("starting a thread for", core.volume.display("")))
        };
        let threads = vec![
            spawn("wal-prepare", Box::new(move || Preparer::run(&preparer)))?,
            spawn("wal-commit", Box::new(move || committer.run()))?,
        ];
        let wal = Wal { core, threads, closed: AtomicBool::new(false), _lock: lock };
        if !opened.recovery.damages.is_empty() {
            wal.core.repair(&opened.recovery.damages, policy)?;
        }
        Ok((wal, opened.recovery))
    }

    /// The log's id: group commits that rely on this log name it.
    pub fn uuid(&self) -> String {
        self.core.meta.uuid().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Counts openings for writing.
    pub fn incarnation(&self) -> u64 {
        self.core.meta.incarnation()
    }

    /// A stream by its name; the same id for the same name as long as the log is open.
    pub fn stream(&self, stream: &Stream, isolation: Isolation) -> Result<StreamId, WalError> {
        // A segment keeps so much room for a definition, and again for the index.
        let short = stream.cluster.len() + stream.topic.len() <= MOST_NAMES;
        let known = short.then(|| self.core.stage.stream(stream, isolation)).flatten();
        known.ok_or_else(|| WalError::Stream { stream: stream.clone() })
    }

    /// Where an append of the stream must go on; `None` before its first run.
    pub fn next_offset(&self, id: StreamId) -> Option<i64> {
        self.core.stage.door(id)?.next
    }

    /// What can be read back of a stream, `[from, until)`, each a run; only what is durable.
    pub fn held(&self, id: StreamId) -> Vec<(i64, i64)> {
        self.core.catalog.held(id.0)
    }

    /// Lets a stream go on at `offset`, which may lie behind its next one. A jump is a new run, never a hole.
    pub fn start_run(&self, id: StreamId, offset: i64, reason: AssignReason) -> Result<Ticket, AppendError> {
        self.core.stage.start_run(id, offset, reason)
    }

    /// Takes a run; waits only while too much is not durable yet. It may be lost until [`Wal::wait`] returns.
    pub fn append(&self, id: StreamId, run: Run) -> Result<Ticket, AppendError> {
        self.core.stage.append(id, run, true)
    }

    /// [`Wal::append`] that returns [`AppendError::Full`] where that would wait.
    pub fn try_append(&self, id: StreamId, run: Run) -> Result<Ticket, AppendError> {
        self.core.stage.append(id, run, false)
    }

    /// Returns when the append, and every one before it, is durable.
    pub fn wait(&self, ticket: Ticket) -> Result<(), AppendError> {
        self.core.stage.wait(ticket)
    }

    /// [`Wal::wait`] for a task.
    pub fn durable(&self, ticket: Ticket) -> Durable {
        Durable { stage: self.core.stage.clone(), ticket }
    }

    /// Reads `[from, until)` of a stream, which must lie within one of the runs of [`Wal::held`].
    pub fn cursor(&self, id: StreamId, from: i64, until: i64) -> Result<Cursor, WalError> {
        self.core.cursor(id, from, until)
    }

    /// Gives back the oldest segments in which every stream is below its floor. A stream that no floor names keeps its
    /// segments.
    pub fn retire(&self, floors: &[Floor]) -> Result<Retired, WalError> {
        self.core.retire(floors)
    }

    /// Copies what a stream that stopped or lags still needs from closed segments to the log's end, so that it keeps
    /// no segment of the others. Returns the bytes that were copied.
    pub fn copy_forward(&self, id: StreamId, committed: i64) -> Result<u64, WalError> {
        self.core.copy_forward(id, committed)
    }

    pub fn metrics(&self) -> Metrics {
        self.core.metrics()
    }

    /// Makes durable what was appended, seals the log and says so in it.
    pub fn close(mut self) -> Result<(), WalError> {
        self.end();
        if let Some(poison) = self.core.stage.poison() {
            return Err(poison.into());
        }
        match self.core.stage.unfinished() {
            0 => Ok(()),
            left => {
                let source =
                    std::io::Error::new(std::io::ErrorKind::StorageFull, format!("{left} frames found no room"));
                Err(WalError::Io { op: "closing", file: self.core.volume.display(""), source })
            }
        }
    }

    fn end(&mut self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.core.stage.close();
        // With no room for a segment what is queued cannot be written: nobody waits for room that may never come.
        if self.core.counters.waiting_for_space.load(Ordering::Relaxed) {
            self.core.preparer.stop();
        }
        for thread in self.threads.drain(..).rev() {
            let _ = thread.join();
        }
    }
}

/// As [`Wal::close`], with nobody to tell how it went.
impl Drop for Wal {
    fn drop(&mut self) {
        self.end();
    }
}

impl Core {
    fn metrics(&self) -> Metrics {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let us = |counter| std::time::Duration::from_micros(count(counter));
        let segments = self.catalog.segments();
        Metrics {
            durable_lsn: self.counters.durable_lsn.load(Ordering::Acquire),
            groups: count(&self.counters.groups),
            frames: count(&self.counters.frames),
            bytes: count(&self.counters.bytes),
            fsyncs: count(&self.counters.fsyncs),
            fsync_total: us(&self.counters.fsync_us),
            fsync_longest: us(&self.counters.fsync_longest_us),
            fsync_slow: count(&self.counters.fsync_slow),
            staged_bytes: self.stage.staged_bytes() as u64,
            segments: segments.len() as u64,
            disk_bytes: segments.iter().map(|live| live.bytes()).sum(),
            waiting_for_space: self.counters.waiting_for_space.load(Ordering::Relaxed),
            oldest_unretired_ms: segments.first().map(|live| live.header.created_ms),
            pinned_by: self.pinned_by.lock().unwrap_or_else(|dead| dead.into_inner()).clone(),
            quarantined_bytes: count(&self.counters.quarantined),
            poisoned: self.stage.poison().is_some(),
        }
    }
}
