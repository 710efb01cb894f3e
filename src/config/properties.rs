//! Settings that are handed on as they are, of which some are secrets that no log may show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names and values for another library. `Debug` shows the names, and the values that are no secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    values: BTreeMap<String, String>,
    /// Names whose values came from a secret's file, whatever they are called.
    secret: BTreeSet<String>,
}

impl Properties {
    pub fn new() -> Properties {
        Properties::default()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// As [`Properties::insert`], for a value that must never be shown although its name does not say so.
    pub fn insert_secret(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.secret.insert(name.clone());
        self.values.insert(name, value.into());
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// For the library that they are handed to.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.values.clone()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Names with what may be shown of their values.
    pub fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(name, value)| {
            let hidden = self.secret.contains(name) || is_secret(name);
            (name, if hidden { "(secret)" } else { value })
        })
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Properties {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Properties { values, secret: BTreeSet::new() }
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

/// Whether a name says that its value is a secret. A place (`….location`, `…_path`) is none: it is what
/// one needs to see when a key cannot be read.
pub fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["password", "passphrase", "secret", "token", "key", "jaas", "credential", "oauthbearer.config"];
    let name = name.to_ascii_lowercase();
    let place = name.ends_with(".location") || name.ends_with("_path") || name.ends_with(".url");
    !place && WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let mut properties = Properties::new();
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "sasl.jaas.config",
            "aws_secret_access_key",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
            "SAS_TOKEN",
        ] {
            properties.insert(name, "hunter2");
        }
        properties.insert_secret("sasl.username", "hunter2");
        properties.insert("bootstrap.servers", "b:9092");
        properties.insert("ssl.key.location", "/etc/key.pem");
        let shown = format!("{properties:?} {:#?}", properties);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("b:9092") && shown.contains("/etc/key.pem"), "{shown}");
        assert_eq!(properties.get("sasl.username"), Some("hunter2"));
    }
}
