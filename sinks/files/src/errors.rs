//! How the errors of a lake and of Parquet become the errors of a sink.

use landfall_lake::LakeError;
use landfall_sink::SinkError;
use parquet::errors::ParquetError;

/// For calls that change or read something in the ordinary way: the lake has sorted it already.
pub(crate) fn sorted(error: LakeError) -> SinkError {
    match error {
        LakeError::NotDone { .. } => SinkError::NotDone(error.to_string()),
        LakeError::Unknown { .. } => SinkError::Unknown(error.to_string()),
        LakeError::Refused { .. } => SinkError::Refused(error.to_string()),
    }
}

/// For a read-back: whatever hindered it (no permission, a time-out), what stands there is still not
/// known. Taking it for "absent" would write a second time.
pub(crate) fn unread(error: LakeError) -> SinkError {
    SinkError::Unknown(format!("reading back: {error}"))
}

/// Encoding touches nothing outside this process, so a failure of it cannot become better by itself.
pub(crate) fn encoding(error: ParquetError) -> SinkError {
    SinkError::Refused(format!("encoding Parquet: {error}"))
}

/// A test asked this place to fail; nothing was done yet.
pub(crate) fn failpoint(error: std::io::Error) -> SinkError {
    SinkError::NotDone(error.to_string())
}

/// Runs the library's decoder over bytes of any origin. It returns errors for damage that it foresees; what it does not
/// foresee must be one damaged file in a report, and not the end of the program that reports.
pub(crate) fn decoding<T>(decode: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it is damaged in a way that the decoder does not survive".into()),
    }
}
