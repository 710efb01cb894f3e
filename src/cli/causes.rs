//! The errors of the rooms below, as exit codes: one table, so that equal causes end equally in every command.

use landfall_lake::LakeError;
use landfall_sink::SinkError;

use super::{Exit, Failure};
use crate::checkpoint::StoreError;
use crate::wal::WalError;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match &error {
            StoreError::NotDone { .. } | StoreError::Unknown { .. } => Failure::new(Exit::Io, &error)
                .way_out("see that the disk has space and can be written, then call it again: nothing is lost"),
            StoreError::Locked { .. } => Failure::new(Exit::Owned, &error)
                .way_out("stop that process, or give this one a lake and a store of its own"),
            // Its message says what to do.
            StoreError::Refused { .. } => Failure::new(Exit::Io, &error),
        }
    }
}

impl From<LakeError> for Failure {
    fn from(error: LakeError) -> Failure {
        let hint = match &error {
            LakeError::NotDone { .. } | LakeError::Unknown { .. } => {
                "see that the lake has space and can be written, then call it again: nothing is lost"
            }
            LakeError::Refused { .. } => {
                "as the message says, correct lake.url, lake.options or the store that they name"
            }
        };
        Failure::new(Exit::Io, &error).way_out(hint)
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Failure {
        match &error {
            SinkError::NotDone(_) | SinkError::Unknown(_) => Failure::new(Exit::Io, &error)
                .way_out("see that the lake has space and can be written, then call it again: nothing is lost"),
            SinkError::Fenced(_) => {
                Failure::new(Exit::Owned, &error).way_out("another owner took the lake over; end this one for good")
            }
            SinkError::Conflict(_) | SinkError::Refused(_) => Failure::new(Exit::Failure, &error),
        }
    }
}

impl From<WalError> for Failure {
    fn from(error: WalError) -> Failure {
        match &error {
            WalError::NoLog { .. } => {
                Failure::new(Exit::Failure, &error).way_out("name the directory in which the log's META lies")
            }
            WalError::Format { .. } => {
                Failure::new(Exit::Failure, &error).way_out("use the landfall that wrote it, or a newer one")
            }
            WalError::Damaged(_) => Failure::new(Exit::Damage, &error),
            WalError::Locked { .. } => Failure::new(Exit::Owned, &error).way_out("stop that process"),
            WalError::Io { .. } | WalError::Poisoned(_) => Failure::new(Exit::Io, &error)
                .way_out("see that the log's directory is the right one, and that its disk can be read"),
            _ => Failure::new(Exit::Failure, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_causes_end_equally() {
        let store = || ("./state".to_string(), "no space".to_string());
        let (name, message) = store();
        assert_eq!(Failure::from(StoreError::NotDone { store: name, message }).code, Exit::Io);
        let held = StoreError::Locked { store: "./state".into(), holder: "process 7".into() };
        let held = Failure::from(held);
        assert_eq!(held.code, Exit::Owned);
        assert!(held.what.contains("process 7") && held.hint.is_some());
        let (store, message) = store();
        assert_eq!(Failure::from(StoreError::Refused { store, message }).code, Exit::Io);
        assert_eq!(Failure::from(LakeError::refused("/lake", "permission denied")).code, Exit::Io);
        assert_eq!(Failure::from(SinkError::Fenced("x".into())).code, Exit::Owned);
        assert_eq!(Failure::from(SinkError::Conflict("x".into())).code, Exit::Failure);
        assert_eq!(Failure::from(SinkError::Unknown("x".into())).code, Exit::Io);
    }
}
