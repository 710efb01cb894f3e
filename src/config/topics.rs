//! Which topics are meant: names, or `/regular expressions/`.

use std::fmt;
use std::str::FromStr;

use regex::Regex;

/// One entry of `kafka.topics`.
#[derive(Debug, Clone)]
pub enum TopicSelector {
    Name(String),
    /// Matches whole names, but none that begins with `__`: those are Kafka's own and its tools', and are meant by
    /// name only.
    Pattern(TopicPattern),
}

/// A regular expression over topic names.
#[derive(Debug, Clone)]
pub struct TopicPattern {
    source: String,
    regex: Regex,
}

/// Topics that Kafka keeps for itself.
const INTERNAL: [&str; 5] =
    ["__consumer_offsets", "__transaction_state", "__share_group_state", "__remote_log_metadata", "__cluster_metadata"];

impl TopicSelector {
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            TopicSelector::Name(name) => name == topic,
            TopicSelector::Pattern(pattern) => !topic.starts_with("__") && pattern.regex.is_match(topic),
        }
    }

    /// The topic, or `None` for a pattern.
    pub fn name(&self) -> Option<&str> {
        match self {
            TopicSelector::Name(name) => Some(name),
            TopicSelector::Pattern(_) => None,
        }
    }
}

/// Whether Kafka keeps this topic for itself.
pub fn is_internal(topic: &str) -> bool {
    INTERNAL.contains(&topic)
}

impl FromStr for TopicSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<TopicSelector, String> {
        let inside = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        if let Some(source) = inside.filter(|source| !source.is_empty()) {
            // The whole name, as Kafka's own clients and Spark's subscribePattern have it.
            // It must be one by itself: "a)|(b" would be another one inside the brackets.
            let whole = Regex::new(source).and_then(|_| Regex::new(&format!("^(?:{source})$")));
            let regex = whole.map_err(|error| {
                let reason = error.to_string();
                let last = reason.lines().next_back().unwrap_or_default().trim_start_matches("error: ");
                format!("{text:?} is not a regular expression: {last}")
            })?;
            return Ok(TopicSelector::Pattern(TopicPattern { source: source.into(), regex }));
        }
        check_name(text)?;
        Ok(TopicSelector::Name(text.into()))
    }
}

/// Kafka's own rule for topic names.
pub fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Err("an empty text is not a topic name".into());
    }
    if name == "." || name == ".." {
        return Err(format!("{name:?} is not a topic name"));
    }
    if name.len() > 249 {
        return Err(format!("{name:?} is longer than 249 characters, the most a topic name can have"));
    }
    match name.chars().find(|c| !legal(*c)) {
        Some(c) => Err(format!("{name:?} is not a topic name: {c:?} is none of a-z A-Z 0-9 . _ -")),
        None => Ok(()),
    }
}

impl PartialEq for TopicSelector {
    fn eq(&self, other: &TopicSelector) -> bool {
        self.to_string() == other.to_string()
    }
}

/// As it is written in the configuration.
impl fmt::Display for TopicSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicSelector::Name(name) => f.write_str(name),
            TopicSelector::Pattern(pattern) => write!(f, "/{}/", pattern.source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_whole_names_and_no_internal_topic() {
        let pattern: TopicSelector = "/orders|pay.*/".parse().unwrap();
        assert!(pattern.matches("orders") && pattern.matches("payments"));
        assert!(!pattern.matches("orders-2") && !pattern.matches("my-pay"));
        let all: TopicSelector = "/.*/".parse().unwrap();
        assert!(all.matches("orders") && all.matches("_schemas"));
        assert!(!all.matches("__consumer_offsets") && !all.matches("__tool"));
        assert!("__tool".parse::<TopicSelector>().unwrap().matches("__tool"), "by name");
        assert_eq!(all.to_string(), "/.*/");
    }

    #[test]
    fn illegal_names_say_which_character() {
        for (name, part) in [("a b", "' '"), ("", "empty"), ("..", "not a topic name"), ("a/b", "'/'"), ("é", "'é'")]
        {
            let error = name.parse::<TopicSelector>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!("a".repeat(249).parse::<TopicSelector>().is_ok());
        assert!("a".repeat(250).parse::<TopicSelector>().is_err());
        assert!("/a)|(gp/".parse::<TopicSelector>().unwrap_err().contains("not a regular expression"));
        assert!("/(/".parse::<TopicSelector>().unwrap_err().contains("not a regular expression"));
    }
}
