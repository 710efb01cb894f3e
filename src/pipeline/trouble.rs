//! Why a stream does not go on, sorted by what is done about it.

use landfall_sink::SinkError;

use crate::checkpoint::{Refusal, StoreError};
use crate::kafka::KafkaError;
use crate::origin::OriginError;

#[derive(Debug)]
pub enum Trouble {
    /// Begin again from the checkpoint, at once: what is to be done has changed.
    Anew,
    /// Wait a little and begin again from the checkpoint.
    Again(String),
    /// This stream stops, loudly; the others go on.
    Stop { why: String, way_out: String },
    /// Nothing in this process may go on.
    Fatal(String),
}

impl Trouble {
    pub fn again(why: impl Into<String>) -> Trouble {
        Trouble::Again(why.into())
    }

    pub fn stop(why: impl Into<String>, way_out: impl Into<String>) -> Trouble {
        Trouble::Stop { why: why.into(), way_out: way_out.into() }
    }
}

impl From<SinkError> for Trouble {
    fn from(error: SinkError) -> Trouble {
        match error {
            SinkError::NotDone(why) | SinkError::Unknown(why) => Trouble::Again(why),
            SinkError::Conflict(why) => Trouble::stop(
                why,
                "nothing was overwritten; find out who wrote it, and `landfall verify` what stands there",
            ),
            SinkError::Fenced(why) => Trouble::Fatal(why),
            SinkError::Refused(why) => {
                Trouble::stop(why, "see the message; the range stays planned and nothing is lost")
            }
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        match error {
            StoreError::NotDone { .. } | StoreError::Unknown { .. } => Trouble::Again(error.to_string()),
            StoreError::Locked { .. } | StoreError::Refused { .. } => Trouble::Fatal(error.to_string()),
        }
    }
}

impl From<KafkaError> for Trouble {
    fn from(error: KafkaError) -> Trouble {
        if error.is_permanent() {
            Trouble::stop(error.to_string(), "check kafka.properties and the permissions of this principal")
        } else {
            Trouble::Again(error.to_string())
        }
    }
}

impl From<OriginError> for Trouble {
    fn from(error: OriginError) -> Trouble {
        if error.is_transient() {
            Trouble::Again(error.to_string())
        } else {
            let way_out = error.way_out().unwrap_or_else(|| "see the message; nothing was changed".into());
            Trouble::stop(error.to_string(), way_out)
        }
    }
}

/// A transition that the record refuses is a bug or an interference, never something to paper over (I9).
impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        Trouble::stop(
            format!("the checkpoint refused a change: {refusal}"),
            "nothing was changed; `landfall status` and `landfall verify` show what stands",
        )
    }
}
