//! The properties of `[kafka.properties]`: handed to librdkafka as they are, except for those that the
//! protocol owns.

use std::collections::BTreeMap;
use std::fmt;

use landfall_sink::Isolation;

use super::KafkaError;
use super::native::{Conf, ConfRefusal};

/// The properties that may not be set, and why.
pub const OWNED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "reading must never create a topic"),
    ("auto.commit.enable", "positions live in the checkpoint store"),
    ("auto.commit.interval.ms", "positions live in the checkpoint store"),
    ("auto.offset.reset", "a position that Kafka no longer has is never replaced silently; use source.start"),
    ("check.crcs", "a damaged batch must be seen; it is always true"),
    ("consume.callback.max.messages", "records are taken in batches"),
    ("enable.auto.commit", "positions live in the checkpoint store"),
    ("enable.auto.offset.store", "positions live in the checkpoint store"),
    ("enable.partition.eof", "the end of a partition ends a batch; it is always true"),
    ("fetch.max.bytes", "limits.memory decides it"),
    ("fetch.queue.backoff.ms", "landfall sets it for speed"),
    ("fetch.wait.max.ms", "landfall sets it for speed"),
    ("offset.store.method", "positions live in the checkpoint store"),
    ("offset.store.path", "positions live in the checkpoint store"),
    ("group.protocol.type", "it is always consumer"),
    ("partition.assignment.strategy", "it is always cooperative-sticky"),
    ("queued.max.messages.kbytes", "limits.memory decides it"),
    ("queued.min.messages", "limits.memory decides it"),
    ("test.mock.num.brokers", "each client would start brokers of its own"),
];

/// What only a member of a consumer group has, see [`super::membership`].
const MEMBERS: &[&str] =
    &["group.instance.id", "group.protocol", "group.remote.assignor", "session.timeout.ms", "heartbeat.interval.ms"];

/// Why the properties cannot be used. Names the key and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("kafka.properties: {key:?} belongs to landfall ({why}); remove it")]
    Owned { key: String, why: &'static str },
    #[error("kafka.properties: {key:?} is not a property of librdkafka{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    Unknown { key: String, nearest: Option<String> },
    #[error("kafka.properties: {key:?}: {reason}")]
    Invalid { key: String, reason: String },
    #[error("kafka.properties: {key:?} is missing; set it to a list of host:port")]
    Missing { key: &'static str },
}

impl SettingsError {
    /// The property that the error is about.
    pub fn key(&self) -> &str {
        match self {
            SettingsError::Owned { key, .. }
            | SettingsError::Unknown { key, .. }
            | SettingsError::Invalid { key, .. } => key,
            SettingsError::Missing { key } => key,
        }
    }
}

/// Checked properties. Their values are shown nowhere but to librdkafka where they are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    properties: BTreeMap<String, String>,
    group_id: Option<String>,
    /// Those of [`MEMBERS`].
    membership: BTreeMap<String, String>,
    isolation: Isolation,
}

impl Settings {
    pub fn new(mut properties: BTreeMap<String, String>) -> Result<Settings, SettingsError> {
        for (key, why) in OWNED {
            if properties.contains_key(*key) {
                return Err(SettingsError::Owned { key: (*key).into(), why });
            }
        }
        let mut scratch = Conf::new();
        for (key, value) in &properties {
            scratch.set(key, value).map_err(|refusal| refused(key, value, refusal, &scratch))?;
        }
        let brokers = ["bootstrap.servers", "metadata.broker.list"];
        if !brokers.iter().any(|key| properties.get(*key).is_some_and(|value| !value.trim().is_empty())) {
            return Err(SettingsError::Missing { key: "bootstrap.servers" });
        }
        let isolation = match properties.remove("isolation.level").as_deref() {
            Some("read_uncommitted") => Isolation::ReadUncommitted,
            // librdkafka has refused every other word above.
            _ => Isolation::ReadCommitted,
        };
        let group_id = properties.remove("group.id").filter(|id| !id.is_empty());
        let membership: BTreeMap<String, String> = MEMBERS
            .iter()
            .filter_map(|key| properties.remove_entry(*key))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        refuse_what_the_broker_decides(&membership)?;
        Ok(Settings { properties, group_id, membership, isolation })
    }

    /// The name under which this process is a member of its group across restarts, where one is given.
    pub fn group_instance_id(&self) -> Option<&str> {
        self.membership.get("group.instance.id").map(String::as_str)
    }

    /// Whether the group is led by the broker (KIP-848) and not by one of its members.
    pub(super) fn is_led_by_the_broker(&self) -> bool {
        self.membership.get("group.protocol").is_some_and(|protocol| protocol == "consumer")
    }

    pub(super) fn membership(&self) -> impl Iterator<Item = (&str, String)> {
        self.membership.iter().map(|(key, value)| (key.as_str(), value.clone()))
    }

    /// The group to announce to, where one is given.
    pub fn group_id(&self) -> Option<&str> {
        self.group_id.as_deref()
    }

    /// Which records are read; `read_committed` unless the properties say otherwise.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The brokers as they were given, for messages.
    pub fn brokers(&self) -> &str {
        let given = |key: &str| self.properties.get(key).map(String::as_str);
        given("bootstrap.servers").or(given("metadata.broker.list")).unwrap_or_default()
    }

    /// The configuration of one client: the user's properties, then what the protocol needs, then `more`.
    pub(super) fn conf(&self, more: &[(&str, String)]) -> Result<Conf, KafkaError> {
        let mut conf = Conf::new();
        let user = self.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let ours = [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("check.crcs", "true"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
        ];
        let more = more.iter().map(|(key, value)| (*key, value.as_str()));
        for (key, value) in user.chain(ours).chain(more) {
            conf.set(key, value).map_err(|refusal| match refusal {
                ConfRefusal::Unknown(reason) | ConfRefusal::Invalid(reason) => {
                    KafkaError::Config(format!("{key}: {}", redact(key, value, reason)))
                }
            })?;
        }
        Ok(conf)
    }

    /// A number among the user's properties, where it is given.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.properties.get(key)?.trim().parse().ok()
    }

    pub(super) fn gives(&self, key: &str) -> bool {
        self.properties.contains_key(key)
    }
}

/// Secrets never appear in logs.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.properties.iter().map(|(key, value)| {
            let value = if is_secret(key) { "[redacted]" } else { value.as_str() };
            (key.as_str(), value)
        });
        f.debug_map()
            .entries(shown)
            .entries(&self.membership)
            .entry(&"group.id", &self.group_id)
            .entry(&"isolation.level", &self.isolation.as_str())
            .finish()
    }
}

/// librdkafka would refuse these only when the member is made.
fn refuse_what_the_broker_decides(membership: &BTreeMap<String, String>) -> Result<(), SettingsError> {
    if membership.get("group.protocol").is_none_or(|protocol| protocol != "consumer") {
        return Ok(());
    }
    let theirs = ["session.timeout.ms", "heartbeat.interval.ms"];
    match theirs.iter().find(|key| membership.contains_key(**key)) {
        Some(key) => Err(SettingsError::Invalid {
            key: (*key).into(),
            reason: format!(
                "with group.protocol = \"consumer\" it is the broker's: remove it, and set consumer.{key} of the group there"
            ),
        }),
        None => Ok(()),
    }
}

fn refused(key: &str, value: &str, refusal: ConfRefusal, conf: &Conf) -> SettingsError {
    match refusal {
        ConfRefusal::Unknown(_) => SettingsError::Unknown { key: key.into(), nearest: nearest(key, conf) },
        ConfRefusal::Invalid(reason) => SettingsError::Invalid { key: key.into(), reason: redact(key, value, reason) },
    }
}

/// The property that was probably meant.
fn nearest(key: &str, conf: &Conf) -> Option<String> {
    let far = |name: &String| strsim::damerau_levenshtein(key, name);
    // Properties without a value, and aliases, are not in librdkafka's list.
    let known = ["bootstrap.servers", "group.id", "sasl.mechanism", "sasl.username", "sasl.password"];
    let names = known.into_iter().map(String::from).chain(conf.names());
    names.filter(|name| far(name) <= 3).min_by_key(far)
}

/// librdkafka quotes the value that it refuses; a secret must not come out that way.
fn redact(key: &str, value: &str, reason: String) -> String {
    if is_secret(key) && !value.is_empty() { reason.replace(value, "[redacted]") } else { reason }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "token", "jaas", ".pem", "oauthbearer.config", "client.assertion", "private"]
        .iter()
        .any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (String::from(*key), String::from(*value))).collect()
    }

    fn with(key: &str, value: &str) -> Result<Settings, SettingsError> {
        Settings::new(properties(&[("bootstrap.servers", "b:9092"), (key, value)]))
    }

    #[test]
    fn what_the_protocol_owns_is_refused_by_name() {
        for (key, _) in OWNED {
            let error = with(key, "true").expect_err(key);
            assert_eq!(error.key(), *key);
            assert!(error.to_string().contains("remove it"), "{error}");
        }
    }

    #[test]
    fn an_unknown_property_names_the_nearest_one() {
        let error = with("sasl.mechanisn", "PLAIN").unwrap_err();
        assert_eq!(
            error,
            SettingsError::Unknown { key: "sasl.mechanisn".into(), nearest: Some("sasl.mechanism".into()) }
        );
        let error = with("nothing.like.it.at.all", "1").unwrap_err();
        assert_eq!(error.key(), "nothing.like.it.at.all");
    }

    #[test]
    fn a_refused_value_is_told_but_a_secret_is_not() {
        let error = with("isolation.level", "chaos").unwrap_err();
        assert!(matches!(error, SettingsError::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("chaos"), "{error}");
        let settings = with("sasl.password", "hunter2").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(format!("{settings:?}").contains("b:9092"));
    }

    #[test]
    fn without_brokers_there_is_nothing_to_connect_to() {
        assert_eq!(Settings::new(properties(&[])), Err(SettingsError::Missing { key: "bootstrap.servers" }));
        assert!(Settings::new(properties(&[("metadata.broker.list", "b:9092")])).is_ok());
    }

    #[test]
    fn group_and_isolation_are_taken_out() {
        let settings = with("group.id", "lake").unwrap();
        assert_eq!(settings.group_id(), Some("lake"));
        assert!(!settings.gives("group.id"));
        assert_eq!(settings.isolation(), Isolation::ReadCommitted);
        assert_eq!(with("isolation.level", "read_uncommitted").unwrap().isolation(), Isolation::ReadUncommitted);
    }

    #[test]
    fn what_only_a_member_has_is_kept_apart() {
        let settings = with("group.instance.id", "landfall-0").unwrap();
        assert_eq!(settings.group_instance_id(), Some("landfall-0"));
        assert!(!settings.gives("group.instance.id"));
        assert_eq!(with("group.instance.id", "").unwrap().group_instance_id(), None);
        assert!(with("group.protocol", "consumer").unwrap().is_led_by_the_broker());
        assert!(!with("session.timeout.ms", "7000").unwrap().gives("session.timeout.ms"));
        let both = properties(&[
            ("bootstrap.servers", "b:9092"),
            ("group.protocol", "consumer"),
            ("session.timeout.ms", "7000"),
        ]);
        let error = Settings::new(both).unwrap_err();
        assert_eq!(error.key(), "session.timeout.ms");
        assert!(error.to_string().contains("remove it"), "{error}");
    }

    #[test]
    fn tls_and_sasl_are_in_the_build() {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let settings = Settings::new(properties(&[
                ("bootstrap.servers", "127.0.0.1:1"),
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", mechanism),
                ("sasl.username", "u"),
                ("sasl.password", "p"),
            ]))
            .unwrap();
            super::super::Kafka::connect(&settings).unwrap();
        }
    }
}
