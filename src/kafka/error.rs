//! What can go wrong at the door to Kafka: few kinds, each of which is one action of the engine.

use super::native::code;

/// An error of a call to Kafka. The text names the topic, the partition or the brokers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// No answer, or one that says "not now": wait and ask again.
    #[error("{0}")]
    Unreachable(String),
    /// The topic or the partition does not exist.
    #[error("{0}")]
    Missing(String),
    /// The brokers refuse who we are or what we ask for: tell the operator.
    #[error("{0}")]
    NotAuthorized(String),
    /// librdkafka refuses the settings: tell the operator.
    #[error("{0}")]
    Config(String),
    /// The client can never work again: make a new one.
    #[error("{0}")]
    Fatal(String),
    /// Anything else; asking again may help or may not.
    #[error("{0}")]
    Other(String),
}

impl KafkaError {
    /// Sorts an error code of librdkafka or of a broker by what the engine does about it.
    pub(super) fn sort(code: i32, text: String) -> KafkaError {
        match code {
            code::ALL_BROKERS_DOWN | code::TRANSPORT | code::RESOLVE | code::TIMED_OUT | code::TIMED_OUT_QUEUE => {
                KafkaError::Unreachable(text)
            }
            code::WAIT_COORD | code::WAIT_CACHE | code::DESTROY_BROKER | code::UNKNOWN_BROKER => {
                KafkaError::Unreachable(text)
            }
            // Broker codes that mean "not now": leader, coordinator or log is being moved.
            5..=9 | 13..=16 | 41 | 56 | 72 | 74..=76 | 78 => KafkaError::Unreachable(text),
            code::UNKNOWN_TOPIC | code::UNKNOWN_PARTITION | code::UNKNOWN_TOPIC_OR_PART | 100 => {
                KafkaError::Missing(text)
            }
            // 29, 30, 31: topic, group, cluster; 34, 58: SASL; 53, 65: transactional id, delegation token.
            code::AUTHENTICATION | code::SSL | 29..=31 | 33 | 34 | 53 | 58 | 65 => KafkaError::NotAuthorized(text),
            code::INVALID_ARG | code::NOT_CONFIGURED => KafkaError::Config(text),
            code::FATAL | code::DESTROY => KafkaError::Fatal(text),
            _ => KafkaError::Other(text),
        }
    }

    /// Whether asking again can never help: somebody has to change something.
    pub fn is_permanent(&self) -> bool {
        matches!(self, KafkaError::NotAuthorized(_) | KafkaError::Config(_) | KafkaError::Fatal(_))
    }

    /// Whether it is worth waiting and asking again without telling anybody but the log.
    pub fn is_transient(&self) -> bool {
        matches!(self, KafkaError::Unreachable(_))
    }
}
