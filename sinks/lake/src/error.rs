//! The errors of a lake, sorted by "did it happen?".

use thiserror::Error;

#[derive(Debug, Error)]
pub enum LakeError {
    /// It did not happen, and may work later: back off and repeat.
    #[error("{path}: {message}")]
    NotDone { path: String, message: String },
    /// It may have happened: read back.
    #[error("{path}: {message} (whether it happened is not known)")]
    Unknown { path: String, message: String },
    /// It can never work like this.
    #[error("{path}: {message}")]
    Refused { path: String, message: String },
}

impl LakeError {
    pub fn not_done(path: impl Into<String>, message: impl ToString) -> LakeError {
        LakeError::NotDone { path: path.into(), message: message.to_string() }
    }

    pub fn unknown(path: impl Into<String>, message: impl ToString) -> LakeError {
        LakeError::Unknown { path: path.into(), message: message.to_string() }
    }

    pub fn refused(path: impl Into<String>, message: impl ToString) -> LakeError {
        LakeError::Refused { path: path.into(), message: message.to_string() }
    }

    /// The error of a read-back: that it failed says nothing about what it was to find out.
    pub fn doubted(self) -> LakeError {
        match self {
            LakeError::NotDone { path, message } => LakeError::Unknown { path, message },
            other => other,
        }
    }
}
