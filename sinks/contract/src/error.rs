//! The errors of a sink: few kinds, each of which is one action of the engine.

/// Every foreign error is sorted by "did it happen?". What is not known to have failed is
/// [`SinkError::Unknown`], and the engine reads back before it does anything else.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It did not happen: back off and repeat.
    #[error("{0}")]
    NotDone(String),
    /// It may have happened: ask [`crate::Sink::standing`], never guess.
    #[error("{0}")]
    Unknown(String),
    /// Something else stands under the name: stop the stream loudly.
    #[error("{0}")]
    Conflict(String),
    /// Another owner has taken the destination over: end.
    #[error("{0}")]
    Fenced(String),
    /// It can never work like this: tell the operator.
    #[error("{0}")]
    Refused(String),
}
