//! What goes wrong, sorted by what a caller must do.

use std::fmt;
use std::io;
use std::sync::Arc;

use landfall_sink::Stream;

use super::damage::Damage;
use super::format::FormatError;

/// Why a log cannot be opened, read or closed.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("{op} {file} failed: {source}")]
    Io { op: &'static str, file: String, source: io::Error },
    #[error("the log in {directory} is in use{}{holder}: one process at a time may write it", if holder.is_empty() { "" } else { " by " })]
    Locked { directory: String, holder: String },
    /// Nothing was changed.
    #[error("{file}: {source}")]
    Format { file: String, source: FormatError },
    /// What had been durable is damaged. Nothing was changed.
    #[error("{}", damaged(.0))]
    Damaged(Vec<Damage>),
    #[error(
        "{stream} cannot be kept in a log: its topic id is none of Kafka's, or the names of cluster and topic are longer than 512 bytes"
    )]
    Stream { stream: Stream },
    /// Nothing was changed, or what was being copied stays where it is.
    #[error("the log cannot work with these options: {why}")]
    Options { why: String },
    #[error("{directory} holds no log")]
    NoLog { directory: String },
    #[error("the log does not hold offset {offset} of {stream}; it holds {}", shown(.held))]
    NotHeld { stream: Stream, offset: i64, held: Vec<(i64, i64)> },
    #[error("fetching {stream} offsets {from}-{until} again failed: {source}")]
    Refetch { stream: Stream, from: i64, until: i64, source: io::Error },
    #[error(transparent)]
    Poisoned(#[from] Poison),
    #[error("the log was closed")]
    Closed,
    #[error(transparent)]
    Append(AppendError),
}

impl WalError {
    pub(crate) fn io(op: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> WalError {
        let file = file.into();
        move |source| WalError::Io { op, file, source }
    }
}

fn damaged(damages: &[Damage]) -> String {
    let shown: Vec<String> = damages.iter().take(20).map(|damage| format!("\n  {damage}")).collect();
    let more = damages.len().saturating_sub(shown.len());
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    format!(
        "the log is damaged where it had been durable; nothing was changed:{}{more}\n\
         Open it with the policy \"refetch\" to take these offsets from Kafka again, or \"salvage\" to give them up",
        shown.concat()
    )
}

fn shown(held: &[(i64, i64)]) -> String {
    let shown: Vec<String> = held.iter().map(|(from, until)| format!("{from}-{until}")).collect();
    if shown.is_empty() { "nothing of it".into() } else { shown.join(", ") }
}

/// Why the log takes nothing more until the process is started again: the outcome of a write is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison(Arc<PoisonCause>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoisonCause {
    pub op: &'static str,
    pub file: String,
    pub lsn: u64,
    pub errno: Option<i32>,
    pub message: String,
}

impl Poison {
    pub(crate) fn new(op: &'static str, file: impl Into<String>, lsn: u64, error: &io::Error) -> Poison {
        let (errno, message) = (error.raw_os_error(), error.to_string());
        Poison(Arc::new(PoisonCause { op, file: file.into(), lsn, errno, message }))
    }

    pub fn cause(&self) -> &PoisonCause {
        &self.0
    }
}

impl std::error::Error for Poison {}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoisonCause { op, file, lsn, message, .. } = &*self.0;
        write!(
            f,
            "the log is stopped: {op} {file} failed at address {lsn:#x}: {message}. What was acknowledged is durable, what \
             was not is in doubt: start the process again"
        )
    }
}

/// Why a run was not taken. Only after [`AppendError::Poisoned`] is it unknown whether it will be found again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("{stream}: offset {base} was appended before; the next one is {next}")]
    Duplicate { stream: Stream, base: i64, next: i64 },
    #[error("{stream}: offset {base} does not follow {expected}: start a new run, or say that offsets are sparse")]
    Gap { stream: Stream, base: i64, expected: i64 },
    #[error("{stream}: no run was started")]
    NoRun { stream: Stream },
    #[error("{stream}: a run of {bytes} bytes is larger than the {most} that the log takes at once: split it")]
    TooLarge { stream: Stream, bytes: usize, most: usize },
    #[error("{stream}: {why}")]
    Invalid { stream: Stream, why: String },
    /// Only from [`super::Wal::try_append`].
    #[error("the log is behind: wait and append again")]
    Full,
    #[error("the log was closed")]
    Closed,
    #[error(transparent)]
    Poisoned(#[from] Poison),
}
