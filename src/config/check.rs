//! What a configuration as a whole must keep: asked after loading a file, and of what a program built.

use landfall_lake::{ObjectUrl, OptionError};
use landfall_sink::{Isolation, Layout, LayoutError};

use super::error::{ConfigError, Place, Problem, ProblemKind};
use super::properties::Properties;
use super::settings::{Codec, Config, Start, StoreKind};
use super::{suggest, topics};
use crate::kafka::{OWNED, Settings, SettingsError};

/// Names of Java clients with what librdkafka has in their place.
const JAVA: &[(&str, &str)] = &[
    ("key.deserializer", "nothing: landfall lands the bytes"),
    ("value.deserializer", "nothing: landfall lands the bytes"),
    ("sasl.jaas.config", "\"sasl.username\" and \"sasl.password\""),
    ("ssl.truststore.location", "\"ssl.ca.location\", a PEM file"),
    ("ssl.truststore.password", "\"ssl.ca.location\", a PEM file"),
    ("ssl.truststore.type", "\"ssl.ca.location\", a PEM file"),
    ("ssl.keystore.type", "\"ssl.keystore.location\", a PKCS#12 file"),
    ("max.poll.records", "lake.roll.max_records"),
    ("request.timeout.ms", "\"socket.timeout.ms\""),
];

impl Config {
    /// Checks what a program built; a file is checked when it is loaded.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = problems(self);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { file: String::new(), problems }) }
    }

    /// `isolation.level` of the properties, or the default: committed records only.
    pub fn isolation(&self) -> Isolation {
        match self.kafka.properties.get("isolation.level") {
            Some("read_uncommitted") => Isolation::ReadUncommitted,
            _ => Isolation::ReadCommitted,
        }
    }

    /// The group that offsets are announced to, if it was named.
    pub fn group_id(&self) -> Option<&str> {
        self.kafka.properties.get("group.id")
    }

    /// Why this topic can never be landed under this configuration: its files would stand in a place that
    /// landfall keeps for itself. Asked of topics that a pattern finds, too.
    pub fn collision(&self, topic: &str) -> Option<String> {
        let first = self.lake.path.replace("{topic}", topic);
        let reserved = first.split('/').next() == Some("_landfall");
        reserved.then(|| {
            format!("the files of topic {topic} would stand below _landfall, which belongs to landfall itself")
        })
    }

    /// What a reader of the lake will not see of a topic, although it is landed.
    pub fn hidden(&self, topic: &str) -> Option<String> {
        let path = self.lake.path.replace("{topic}", topic);
        let hidden = path.split('/').find(|segment| segment.starts_with(['_', '.']))?;
        Some(format!(
            "topic {topic} is landed below {hidden:?}: Spark, Hive, DuckDB and others skip folders that start with '_' or '.'; \
             another lake.path, such as \"topic={{topic}}/{{partition}}\", shows it"
        ))
    }

    /// What is allowed, and probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.kafka.named_topics().filter_map(|topic| self.hidden(topic)).collect();
        let lake = self.lake.url.local_path().filter(|path| !path.as_os_str().is_empty());
        if self.checkpoint.store == StoreKind::Sled && lake.is_some_and(|lake| self.checkpoint.path.starts_with(lake)) {
            warnings.push(format!(
                "checkpoint.path {} is inside the lake: readers may trip over its files",
                self.checkpoint.path.display()
            ));
        }
        warnings
    }
}

fn problem(kind: ProblemKind, key: &str, what: String, hint: Option<&str>) -> Problem {
    Problem { kind, place: Place::Nowhere, key: key.into(), what, hint: hint.map(str::to_string) }
}

pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    missing(config, &mut found);
    properties(config, &mut found);
    names(config, &mut found);
    numbers(config, &mut found);
    found
}

fn missing(config: &Config, found: &mut Vec<Problem>) {
    let mut missing = |key: &str, example: &str| {
        let hint = format!("add it: {example}");
        found.push(problem(ProblemKind::Missing, key, format!("{key} is missing"), Some(&hint)));
    };
    if config.kafka.topics.is_empty() {
        missing("kafka.topics", "[kafka] topics = [\"orders\"]");
    }
    let given = |name: &str| config.kafka.properties.get(name).is_some_and(|servers| !servers.trim().is_empty());
    if !given("bootstrap.servers") && !given("metadata.broker.list") {
        missing("kafka.properties.bootstrap.servers", "[kafka.properties] \"bootstrap.servers\" = \"localhost:9092\"");
    }
    if config.lake.url.is_empty() {
        missing("lake.url", "[lake] url = \"file:///data/lake\"");
    }
}

fn properties(config: &Config, found: &mut Vec<Problem>) {
    for (name, value) in config.kafka.properties.iter() {
        let key = format!("kafka.properties.{name}");
        if let Some((_, why)) = OWNED.iter().find(|(owned, _)| *owned == name) {
            let what = format!("the property {name:?} belongs to landfall: {why}");
            found.push(problem(ProblemKind::Owned, &key, what, Some(&format!("remove {name:?}"))));
        }
        if let Some((_, instead)) = JAVA.iter().find(|(java, _)| *java == name) {
            let what = format!("the property {name:?} is of Kafka's Java clients; landfall uses librdkafka");
            found.push(problem(ProblemKind::Value, &key, what, Some(&format!("in its place: {instead}"))));
        }
        if name == "isolation.level" && !["read_committed", "read_uncommitted"].contains(&value) {
            let what = format!("{key} is {value:?}; expected \"read_committed\" or \"read_uncommitted\"");
            found.push(problem(ProblemKind::Value, &key, what, None));
        }
        if ["bootstrap.servers", "metadata.broker.list"].contains(&name) {
            let visible = config.kafka.properties.shown().any(|shown| shown == (name, value));
            for (broker, why) in value.split(',').filter_map(|broker| Some((broker.trim(), no_broker(broker.trim())?)))
            {
                let shown = if visible { format!("{broker:?}") } else { "one of its brokers".into() };
                let hint = Some("write host:port, as in \"localhost:9092\", with commas between several");
                found.push(problem(ProblemKind::Value, &key, format!("{key}: {shown} {why}"), hint));
            }
        }
        if !found.iter().any(|problem| problem.key == key) {
            found.extend(refused_by_librdkafka(&config.kafka.properties, name, value, key));
        }
    }
    lake_options(config, found);
}

/// The object store's own words for what is wrong, but never a value: it may be a secret.
fn lake_options(config: &Config, found: &mut Vec<Problem>) {
    let Some(url) = config.lake.url.object() else {
        if let Some((name, _)) = config.lake.options.iter().next() {
            let what = format!("lake.options.{name}: a lake on a local disk has no options");
            found.push(problem(ProblemKind::Value, "lake.options", what, Some("remove the section [lake.options]")));
        }
        return;
    };
    let options = &config.lake.options;
    // Names one by one, so that all of the wrong ones are told at once; values only together do they make sense.
    let of_names = options.iter().filter_map(|(name, _)| landfall_lake::check_object_option(url, name).err());
    let mut errors: Vec<OptionError> = of_names.collect();
    if errors.is_empty() {
        errors.extend(landfall_lake::check_object_options(url, options.iter()).err());
    }
    // Told once, not for every option.
    errors.dedup();
    found.extend(errors.into_iter().map(|error| option_problem(config, url, error)));
}

fn option_problem(config: &Config, url: &ObjectUrl, error: OptionError) -> Problem {
    let said = |key: &str, what: String, kind, hint: Option<String>| problem(kind, key, what, hint.as_deref());
    match &error {
        OptionError::NotBuiltIn { .. } => {
            let hint = Some("or use a lake on file:// or s3://".into());
            said("lake.url", format!("lake.url: {error}"), ProblemKind::NotInThisRelease, hint)
        }
        OptionError::Unknown { name } => {
            let near = suggest::nearest(name, landfall_lake::object_option_names(url).into_iter());
            let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            let (key, hint) = (format!("lake.options.{name}"), format!("correct {name:?} or remove it"));
            said(&key, format!("lake.options: {error}{near}"), ProblemKind::UnknownKey, Some(hint))
        }
        OptionError::Fixed { name, .. } => {
            let (key, hint) = (format!("lake.options.{name}"), format!("remove {name:?}"));
            said(&key, format!("lake.options: {error}"), ProblemKind::Value, Some(hint))
        }
        OptionError::Value { message } => {
            let pairs = config.lake.options.shown().zip(config.lake.options.iter());
            let mut secrets = pairs.filter(|((_, shown), (_, value))| shown != value).map(|(_, (_, value))| value);
            let message = if secrets.any(|secret| message.contains(secret)) {
                "the value of a secret is refused"
            } else {
                message
            };
            said("lake.options", format!("lake.options: {message}"), ProblemKind::Value, None)
        }
    }
}

/// Why a text is no broker. librdkafka takes any, cuts a port off at 16 bits, and looks for `http://x` for ever.
fn no_broker(broker: &str) -> Option<String> {
    const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
    let place = match broker.split_once("://") {
        Some((protocol, _)) if !PROTOCOLS.contains(&protocol.to_ascii_lowercase().as_str()) => {
            return Some(format!("is no broker: {protocol}:// is not a protocol of Kafka"));
        }
        Some((_, place)) => place,
        None => broker,
    };
    // In an address of IPv6 only what stands behind the brackets is the port.
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    };
    if host.contains(['/', '?', '#', '@']) || host.contains(char::is_whitespace) {
        return Some("is no broker: a host is a name or an address".into());
    }
    let port = port?;
    let wrong = port.parse::<u16>().map_or(true, |port| port == 0);
    wrong.then(|| format!("has no port that could be: {port:?} is not a number from 1 to 65535"))
}

/// Each property is asked for alone, so that all of the wrong ones are told at once.
fn refused_by_librdkafka(properties: &Properties, name: &str, value: &str, key: String) -> Option<Problem> {
    let alone = [("bootstrap.servers", "localhost"), (name, value)];
    let error = Settings::new(alone.into_iter().map(|(name, value)| (name.into(), value.into())).collect()).err()?;
    let shown = properties.shown().find(|(shown, _)| *shown == name).map(|(_, shown)| shown);
    Some(match error {
        // A value that was hidden on purpose must not come out in librdkafka's words.
        SettingsError::Invalid { .. } if shown != Some(value) => {
            problem(ProblemKind::Value, &key, format!("{key}: librdkafka refuses its value, which is a secret"), None)
        }
        SettingsError::Unknown { nearest, .. } => {
            let near = nearest.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            let what = format!("{name:?} is not a property of librdkafka{near}");
            problem(ProblemKind::UnknownKey, &key, what, Some(&format!("correct {name:?} or remove it")))
        }
        // Told above, where the whole configuration is looked at.
        SettingsError::Missing { .. } => return None,
        other => problem(ProblemKind::Value, &key, other.to_string(), None),
    })
}

fn names(config: &Config, found: &mut Vec<Problem>) {
    let layout = Layout {
        lake: String::new(),
        format: config.lake.format.as_str().into(),
        extension: config.lake.format.as_str().into(),
        path: config.lake.path.clone(),
        isolation: config.isolation(),
    };
    match layout.check(config.kafka.several_topics()) {
        Err(LayoutError::Unknown { unknown, .. }) if unknown.starts_with("timestamp") || unknown.contains(':') => {
            let what = format!("lake.path: the part {{{unknown}}} is not in this release");
            let hint = Some("use {topic} and {partition} only");
            found.push(problem(ProblemKind::NotInThisRelease, "lake.path", what, hint));
        }
        Err(error) => {
            let hint = Some("a path such as \"{topic}/{partition}\" or \"topic={topic}/p={partition}\" is right");
            found.push(problem(ProblemKind::Value, "lake.path", format!("lake.path: {error}"), hint));
        }
        Ok(()) if config.lake.path.chars().any(char::is_control) => {
            let what = "lake.path holds a control character".into();
            found.push(problem(ProblemKind::Value, "lake.path", what, None));
        }
        Ok(()) => {}
    }
    for collision in config.kafka.named_topics().filter_map(|topic| config.collision(topic)) {
        let what = format!("kafka.topics: {collision}");
        let hint = Some("change lake.path, for instance to \"topic={topic}/{partition}\"");
        found.push(problem(ProblemKind::Value, "kafka.topics", what, hint));
    }
    for name in config.kafka.named_topics() {
        if let Err(what) = topics::check_name(name) {
            found.push(problem(ProblemKind::Value, "kafka.topics", format!("kafka.topics: {what}"), None));
        }
    }
    let Start::Offsets(offsets) = &config.source.start else { return };
    for topic in offsets.keys().filter(|topic| !config.kafka.selects(topic)) {
        let near = suggest::nearest(topic, config.kafka.named_topics());
        let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        let what = format!("source.start names the topic {topic:?}, which is not among kafka.topics{near}");
        let key = format!("source.start.{topic}");
        found.push(problem(
            ProblemKind::Value,
            &key,
            what,
            Some(&format!("correct or remove {topic:?} in source.start")),
        ));
    }
}

/// Files cannot hold these values; programs can.
fn numbers(config: &Config, found: &mut Vec<Problem>) {
    let mut refuse = |wrong: bool, key: &str, expected: &str| {
        if wrong {
            found.push(problem(ProblemKind::Value, key, format!("{key}: expected {expected}"), None));
        }
    };
    let (roll, parquet) = (&config.lake.roll, &config.lake.parquet);
    refuse(roll.max_age.is_zero(), "lake.roll.max_age", "more than 0s");
    refuse(roll.max_size == 0, "lake.roll.max_size", "at least 1B");
    refuse(config.lake.max_put > 5 << 30, "lake.max_put", "at most 5GiB: stores take no larger put");
    let object = config.lake.url.object().is_some();
    let burst = object && roll.max_size.saturating_mul(2) > config.lake.max_put;
    refuse(burst, "lake.roll.max_size", "at most half of lake.max_put, because a file in an object store is one put");
    refuse(roll.max_records == 0, "lake.roll.max_records", "a whole number, at least 1");
    let level_wrong = parquet.codec == Codec::Zstd && !(1..=22).contains(&parquet.level);
    refuse(level_wrong, "lake.parquet.level", "a whole number from 1 to 22");
    refuse(parquet.row_group_size < 64 << 10, "lake.parquet.row_group_size", "at least 64KiB");
    refuse(config.limits.memory < 16 << 20, "limits.memory", "at least 16MiB");
    refuse(config.limits.workers > 1024, "limits.workers", "a whole number from 0 to 1024");
    refuse(config.checkpoint.path.as_os_str().is_empty(), "checkpoint.path", "the path of a folder");
}
