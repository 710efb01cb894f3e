//! What a log may be told.

use std::fmt;
use std::io;
use std::time::Duration;

use landfall_sink::Stream;

use super::error::WalError;
use super::run::Run;

/// Sizes and habits of a log. Every one of them may change from one opening to the next.
#[derive(Debug)]
pub struct Options {
    /// Bytes of a segment's groups, 16 KiB to 1 TiB. Default 128 MiB.
    pub segment_bytes: u64,
    /// Bytes of one write and one fdatasync, unless a single run is longer; at most half a segment, half of
    /// `staging_bytes`, and 1 GiB. Default 1 MiB.
    pub group_bytes: usize,
    /// Bytes that were appended and are not durable yet; whoever appends more waits. Default 4 MiB: what waits
    /// longer is out of the processor's caches when it is written.
    pub staging_bytes: usize,
    /// The longest run. Default 32 MiB, and at most half a segment and 1 GiB.
    pub run_bytes: usize,
    /// The segments of the whole log, at least two of them; files that are kept to be written again, the ballast and
    /// the quarantine are not counted. At the limit appends wait until segments are retired; nothing is ever deleted to
    /// get below it. Default 64 GiB.
    pub max_bytes: u64,
    /// A file that is there only to be deleted when the disk is full, so that commits which free space can be made.
    /// Default 64 MiB; 0: none.
    pub ballast_bytes: u64,
    /// How many retired segments are kept to be written again. Default 4.
    pub recycled: usize,
    /// How long after the last group an empty one proves it durable. Default 50 ms.
    pub heartbeat: Duration,
    /// A sync that takes longer is reported. Default 1 s.
    pub slow_sync: Duration,
    /// What to do about damage in what had been durable.
    pub policy: Policy,
    /// What the source was told is safe here: commits whose metadata name this log, plans that name it. Only what lies
    /// above the checkpoint: of a stream whose segments were all retired the log knows nothing, and names `[0, until)`
    /// as lost.
    pub acked: Vec<Acked>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 128 << 20,
            group_bytes: 1 << 20,
            staging_bytes: 4 << 20,
            run_bytes: 32 << 20,
            max_bytes: 64 << 30,
            ballast_bytes: 64 << 20,
            recycled: 4,
            heartbeat: Duration::from_millis(50),
            slow_sync: Duration::from_secs(1),
            policy: Policy::Fail,
            acked: Vec::new(),
        }
    }
}

/// No write is longer: the kernel takes less than 2 GiB at once, and a group's length has 32 bits.
const LONGEST: u64 = 1 << 30;
/// A run of one record, its definition with the longest names, the seal and a heartbeat.
const LEAST_SEGMENT: u64 = 16 << 10;
const MOST_SEGMENT: u64 = 1 << 40;

impl Options {
    /// What no log can work with is said before anything is touched.
    pub(super) fn check(&self) -> Result<(), WalError> {
        let Options { segment_bytes, max_bytes, .. } = *self;
        let why = match () {
            () if !(LEAST_SEGMENT..=MOST_SEGMENT).contains(&segment_bytes) => {
                format!("segment_bytes is {segment_bytes}, and must be {LEAST_SEGMENT} to {MOST_SEGMENT}")
            }
            // The newest segment is never given back: with less than two the log would wait for room for ever.
            () if max_bytes < 2 * segment_bytes => {
                format!("max_bytes is {max_bytes}, and must be at least two segments, {}", 2 * segment_bytes)
            }
            () => return Ok(()),
        };
        Err(WalError::Options { why })
    }

    /// The longest frame that fits with its definition and the seal into half a segment.
    pub(super) fn longest(&self) -> usize {
        (self.segment_bytes / 2).min(LONGEST) as usize
    }

    pub(super) fn max_frame(&self) -> usize {
        self.run_bytes.min(self.longest())
    }

    /// Frames that are gathered into one group: a segment must have room for them, whatever was asked for, and while
    /// one group is written the next must find room.
    pub(super) fn max_gathered(&self) -> usize {
        self.group_bytes.min(self.longest()).min((self.staging_bytes / 2).max(1))
    }
}

/// An offset of a stream up to which somebody was told that this log has everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    pub stream: Stream,
    pub until: i64,
}

/// What to do about damage in what had been durable.
#[derive(Default)]
pub enum Policy {
    /// Do not open, name the damage, change nothing.
    #[default]
    Fail,
    /// Take the lost offsets from their source again; what it no longer has fails the opening.
    Refetch(Box<dyn Refetch>),
    /// Take what the source still has, if there is one, and give up the rest, with a note in the log.
    Salvage(Option<Box<dyn Refetch>>),
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Fail => "Fail",
            Policy::Refetch(_) => "Refetch",
            Policy::Salvage(_) => "Salvage",
        })
    }
}

/// The source of a log, asked for offsets again.
pub trait Refetch: Send + Sync {
    /// The runs of `[from, until)`, in order and without overlap; `until` is `None` where it is not known how far the
    /// log went. Fewer where the source no longer has them.
    fn refetch(&mut self, stream: &Stream, from: i64, until: Option<i64>) -> io::Result<Vec<Run>>;
}
