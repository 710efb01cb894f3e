//! What stands in frames that are no data: the definition of a stream, the start of a run, an accepted loss.

use landfall_sink::{Isolation, Stream};

use super::FormatError;
use super::bytes::Fields;

/// Names a stream for one segment: each segment can be read on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDef {
    pub stream: Stream,
    pub isolation: Isolation,
    /// The stream's next offset before its first frame in this segment.
    pub first_next: i64,
}

const KAFKA: u16 = 1;
const WHAT: &str = "the definition of a stream";

impl StreamDef {
    /// `None` where the topic id is not one of Kafka's, or a name is too long for its length field.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let topic_id = match &self.stream.topic_id {
            None => [0; 16],
            Some(text) => topic_id_bytes(text)?,
        };
        let (cluster, topic) = (self.stream.cluster.as_bytes(), self.stream.topic.as_bytes());
        let mut bytes = Vec::with_capacity(40 + cluster.len() + topic.len());
        bytes.extend(KAFKA.to_le_bytes());
        bytes.extend(u16::try_from(cluster.len()).ok()?.to_le_bytes());
        bytes.extend(u16::try_from(topic.len()).ok()?.to_le_bytes());
        bytes.extend(u16::from(self.isolation == Isolation::ReadCommitted).to_le_bytes());
        bytes.extend(self.stream.partition.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(topic_id);
        bytes.extend(self.first_next.to_le_bytes());
        bytes.extend(cluster);
        bytes.extend(topic);
        Some(bytes)
    }

    pub fn decode(payload: &[u8]) -> Result<StreamDef, FormatError> {
        let mut fields = Fields::new(WHAT, payload);
        if fields.u16()? != KAFKA {
            return Err(FormatError::damaged(WHAT, "its kind of source is none of this release"));
        }
        let (cluster, topic) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
        let isolation = match fields.u16()? {
            0 => Isolation::ReadUncommitted,
            1 => Isolation::ReadCommitted,
            other => return Err(FormatError::damaged(WHAT, format!("isolation level {other} does not exist"))),
        };
        let partition = fields.u32()? as i32;
        fields.u32()?;
        let topic_id = topic_id_text(fields.take(16)?);
        let first_next = fields.i64()?;
        let (cluster, topic) = (fields.text(cluster)?, fields.text(topic)?);
        if !fields.is_empty() {
            return Err(FormatError::damaged(WHAT, "bytes follow its names"));
        }
        Ok(StreamDef { stream: Stream { cluster, topic, topic_id, partition }, isolation, first_next })
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka writes an id of 128 bits as 22 digits of base 64; the last one holds two bits.
fn topic_id_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> =
        text.bytes().map(|c| DIGITS.iter().position(|d| *d == c).map(|at| at as u8)).collect::<Option<_>>()?;
    if digits.len() != 22 || digits[21] & 15 != 0 {
        return None;
    }
    let high = digits[..21].iter().fold(0u128, |bits, digit| (bits << 6) | u128::from(*digit));
    let bits = (high << 2) | u128::from(digits[21] >> 4);
    (bits != 0).then(|| bits.to_be_bytes())
}

fn topic_id_text(bytes: &[u8]) -> Option<String> {
    let bits = bytes.iter().fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    if bits == 0 {
        return None;
    }
    let digit = |at: u32| if at < 21 { (bits >> (122 - 6 * at)) & 63 } else { (bits << 4) & 63 };
    Some((0..22).map(|at| char::from(DIGITS[digit(at) as usize])).collect())
}

/// Why a run of a stream starts where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignReason {
    /// The stream was never here before.
    Start,
    /// A rebalance gave the partition (back).
    Assigned,
    /// An operator or the checkpoint moved the position.
    Repositioned,
    /// What was damaged was fetched again.
    Repaired,
}

impl AssignReason {
    pub fn code(self) -> u8 {
        match self {
            AssignReason::Start => 1,
            AssignReason::Assigned => 2,
            AssignReason::Repositioned => 3,
            AssignReason::Repaired => 4,
        }
    }

    pub fn from_code(code: u8) -> Option<AssignReason> {
        [AssignReason::Start, AssignReason::Assigned, AssignReason::Repositioned, AssignReason::Repaired]
            .into_iter()
            .find(|reason| reason.code() == code)
    }
}

/// Offsets that an operator gave up when the log was salvaged; the frame's own range. The text says where they stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapNote {
    pub note: String,
}

impl GapNote {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.note.len() as u32).to_le_bytes().to_vec();
        bytes.extend(self.note.as_bytes());
        bytes
    }

    pub fn decode(payload: &[u8]) -> Result<GapNote, FormatError> {
        let mut fields = Fields::new("the note of a loss", payload);
        let len = fields.u32()? as usize;
        Ok(GapNote { note: fields.text(len)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_is_written_as_kafka_writes_it() {
        for text in ["AAAAAAAAAAAAAAAAAAAAAQ", "LYP5H4qeS_mDcS7xPnMQ-w", "__________________________"] {
            match topic_id_bytes(text) {
                Some(bytes) => assert_eq!(topic_id_text(&bytes).as_deref(), Some(text)),
                None => assert_eq!(text.len(), 26),
            }
        }
        assert_eq!(topic_id_bytes("AAAAAAAAAAAAAAAAAAAAAB"), None, "bits beyond the 128th");
    }
}
