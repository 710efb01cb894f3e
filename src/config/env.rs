//! The environment as a value, so that a test can have its own.

use std::collections::BTreeMap;

use crate::checkpoint::lock::HeldBy;

/// Environment variables. It has no `Debug`: they may be secrets.
#[derive(Clone, Default)]
pub struct Env {
    variables: BTreeMap<String, String>,
}

impl Env {
    /// Those of this process. A variable that is not UTF-8 counts as not set: half a password would be worse.
    /// `HOSTNAME`, which shells and containers have and services have not, is always there.
    pub fn of_process() -> Env {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut variables: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        variables.entry("HOSTNAME".into()).or_insert_with(|| HeldBy::this_process().host);
        Env { variables }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(variables: T) -> Env {
        Env { variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_machine_is_always_there() {
        assert!(Env::of_process().get("HOSTNAME").is_some_and(|name| !name.is_empty()));
    }
}
