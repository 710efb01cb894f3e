//! The arguments by which commands name a configuration, a lake, a stream or a range.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use landfall_sink::Span;

use super::{Exit, Failure};
use crate::config::{Config, Env, LakeUrl, is_internal};

/// `landfall run [CONFIG]`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArg {
    /// The configuration file
    #[arg(value_name = "CONFIG", env = "LANDFALL_CONFIG", default_value = "landfall.toml")]
    pub config: PathBuf,
}

impl ConfigArg {
    pub fn load(&self, env: &Env) -> Result<Config, Failure> {
        Ok(Config::load(&self.config, env)?)
    }

    /// As [`ConfigArg::load`], and logs what is allowed but probably not meant. Commands that only look leave that out.
    pub fn load_and_warn(&self, env: &Env) -> Result<Config, Failure> {
        let config = self.load(env)?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(config)
    }
}

/// `landfall status [CONFIG | LAKE URL]`.
#[derive(Debug, Clone, Args)]
pub struct TargetArg {
    /// The configuration file, or the lake: its URL (file:///data/lake, s3://bucket/prefix) or its directory
    #[arg(value_name = "CONFIG | LAKE", env = "LANDFALL_CONFIG", default_value = "landfall.toml")]
    pub target: String,
}

/// What was named.
#[derive(Debug, Clone)]
pub enum Target {
    /// A configuration: its checkpoint store can be asked, and Kafka too.
    Config(Box<Config>),
    /// A lake alone: what its files show.
    Lake(LakeUrl),
}

impl TargetArg {
    /// A URL or an existing directory is a lake; everything else is a configuration file.
    pub fn load(&self, env: &Env) -> Result<Target, Failure> {
        if !self.target.contains("://") && !Path::new(&self.target).is_dir() {
            let config = ConfigArg { config: PathBuf::from(&self.target) };
            let missing = !config.config.exists();
            let loaded = config.load(env).map(|config| Target::Config(Box::new(config)));
            return loaded.map_err(|failure| match missing {
                true => failure.way_out(
                    "name a configuration file that is there, or a lake: its URL (file:///data/lake) or its directory",
                ),
                false => failure,
            });
        }
        let url = LakeUrl::parse(&self.target).map_err(|error| {
            Failure::new(Exit::Config, error)
                .way_out("name a lake as in file:///data/lake or s3://bucket/prefix, or a configuration file")
        })?;
        let Some(path) = url.local_path() else { return Ok(Target::Lake(url)) };
        let path =
            std::path::absolute(path).map_err(|error| Failure::new(Exit::Io, format!("{}: {error}", self.target)))?;
        Ok(Target::Lake(LakeUrl::from_path(path)))
    }
}

/// `orders/3`: a topic and a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamName {
    pub topic: String,
    pub partition: i32,
}

impl FromStr for StreamName {
    type Err = String;

    fn from_str(text: &str) -> Result<StreamName, String> {
        let wrong = || format!("{text:?} is not a stream; expected topic and partition, as in orders/3");
        let (topic, partition) = text.rsplit_once('/').ok_or_else(wrong)?;
        let partition = partition.parse().ok().filter(|index: &i32| *index >= 0).ok_or_else(wrong)?;
        crate::config::check_topic_name(topic)?;
        if is_internal(topic) {
            return Err(format!("{topic} is one of Kafka's internal topics, which are never landed"));
        }
        Ok(StreamName { topic: topic.into(), partition })
    }
}

/// `100-200`: the offsets from 100 up to, and without, 200.
pub fn parse_range(text: &str) -> Result<Span, String> {
    let wrong = || {
        format!("{text:?} is not a range; expected FROM-UNTIL as in 100-200, where 200 is the first offset behind it")
    };
    let number = |text: &str| -> Option<i64> { text.replace('_', "").parse().ok().filter(|offset| *offset >= 0) };
    let (from, until) = text.trim_start_matches('[').trim_end_matches(')').split_once(['-', ',']).ok_or_else(wrong)?;
    let span = Span::new(number(from.trim()).ok_or_else(wrong)?, number(until.trim()).ok_or_else(wrong)?);
    if span.is_empty() {
        Err(format!("{text:?} holds no offset: the second number is the first offset behind the range"))
    } else {
        Ok(span)
    }
}

/// `30s` on the command line.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    crate::config::units::parse_duration(text)
        .ok_or_else(|| format!("{text:?} is not a duration; expected one as in 500ms, 30s or 5m"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_and_ranges() {
        assert_eq!("a.b/3".parse(), Ok(StreamName { topic: "a.b".into(), partition: 3 }));
        for bad in ["orders", "orders/", "orders/-1", "orders/x", "/3", "a b/3", "__consumer_offsets/0"] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
        assert_eq!(parse_range("100-2_000"), Ok(Span::new(100, 2000)));
        assert_eq!(parse_range("[100, 200)"), Ok(Span::new(100, 200)));
        for bad in ["100", "200-100", "5-5", "-5-7", "a-b", ""] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lake_and_a_configuration_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let load = |target: &str| TargetArg { target: target.into() }.load(&Env::default());
        let lake = load(dir.path().to_str().unwrap()).unwrap();
        assert!(matches!(lake, Target::Lake(url) if url.local_path() == Some(dir.path())));
        assert!(
            matches!(load("file:///data/lake").unwrap(), Target::Lake(url) if url.to_string() == "file:///data/lake")
        );
        let lake = load("s3://bucket/lake").unwrap();
        assert!(matches!(lake, Target::Lake(url) if url.to_string() == "s3://bucket/lake"));
        assert_eq!(load("s3:///lake").unwrap_err().code, Exit::Config);
        let missing = load("no-such.toml").unwrap_err();
        assert_eq!(missing.code, Exit::Config);
        assert!(missing.what.contains("no-such.toml") && missing.hint.unwrap().contains("or a lake"));
        let file = dir.path().join("l.toml");
        std::fs::write(&file, crate::config::reference::example()).unwrap();
        assert!(matches!(load(file.to_str().unwrap()).unwrap(), Target::Config(_)));
    }

    proptest! {
        #[test]
        fn any_argument_is_answered(text in "\\PC{0,40}") {
            let _ = (text.parse::<StreamName>(), parse_range(&text), parse_duration(&text));
        }

        #[test]
        fn a_range_reads_back(from in 0i64..i64::MAX - 1, length in 1i64..1_000_000) {
            let span = Span::new(from, from.saturating_add(length));
            prop_assert_eq!(parse_range(&format!("{}-{}", span.from, span.until)), Ok(span));
            prop_assert_eq!(parse_range(&span.to_string()), Ok(span));
        }
    }
}
