//! The door to object stores: their URLs and limits are known in every build, the stores themselves by feature.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::{Lake, LakeError, names};

/// How much of this machine an object lake may use.
#[derive(Debug, Clone)]
pub struct ObjectLimits {
    /// Where files wait on the local disk until they are put. They have no names there, and leave nothing behind.
    pub spool: PathBuf,
    /// Bytes of files in memory at once: a file is in memory while it is put, and only then.
    pub memory: usize,
    /// Requests at once.
    pub requests: usize,
    /// No file may be larger: it is one put.
    pub largest: u64,
}

impl ObjectLimits {
    /// What one put can be, unless somebody says otherwise. Stores take up to 5 GB; but a put that fails begins anew.
    pub const LARGEST: u64 = 512 << 20;

    pub fn new(spool: impl Into<PathBuf>) -> ObjectLimits {
        ObjectLimits { spool: spool.into(), memory: 128 << 20, requests: 64, largest: ObjectLimits::LARGEST }
    }
}

/// The schemes of object stores, built in or not.
pub const OBJECT_SCHEMES: [&str; 3] = ["s3", "gs", "az"];

/// `s3://bucket/prefix`: where a lake is in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectUrl {
    scheme: &'static str,
    bucket: String,
    /// Segments joined by slashes; may be empty.
    prefix: String,
}

impl ObjectUrl {
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    #[cfg_attr(not(feature = "object-store"), allow(dead_code))]
    pub(crate) fn key_prefix(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) }
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectUrl { scheme, bucket, prefix } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(to, "{scheme}://{bucket}{slash}{prefix}")
    }
}

impl FromStr for ObjectUrl {
    type Err = String;

    /// The prefix is taken letter by letter, as the stores' own tools take it: `%20` is three characters of a key.
    fn from_str(text: &str) -> Result<ObjectUrl, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("{text:?} is no URL of an object store"))?;
        let known = OBJECT_SCHEMES.into_iter().find(|known| *known == scheme || (*known == "s3" && scheme == "s3a"));
        let scheme =
            known.ok_or_else(|| format!("{scheme}:// is no object store that is known (s3://, gs://, az://)"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return Err(format!("{text:?} names no bucket; expected {scheme}://bucket/prefix"));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let odd = |prefix: &str| prefix.chars().any(char::is_control) || names::checked(prefix).is_err();
        if !prefix.is_empty() && odd(prefix) {
            return Err(format!("{text:?}: a prefix is made of segments joined by single slashes"));
        }
        // Room for the longest name below it.
        if prefix.len() > 512 {
            return Err(format!("{text:?}: a prefix has at most 512 bytes"));
        }
        Ok(ObjectUrl { scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// Why options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    #[error("a lake on {scheme}:// is not in this build: build landfall with the feature {:?}", feature(scheme))]
    NotBuiltIn { scheme: &'static str },
    #[error("{name:?} is no option of the object store")]
    Unknown { name: String },
    #[error("the option {name:?} cannot be set: {why}")]
    Fixed { name: String, why: &'static str },
    #[error("{message}")]
    Value { message: String },
}

fn feature(scheme: &str) -> &'static str {
    match scheme {
        "gs" => "gcs",
        "az" => "azure",
        _ => "s3",
    }
}

impl From<OptionError> for LakeError {
    fn from(error: OptionError) -> LakeError {
        LakeError::refused("lake.options", error)
    }
}

/// Opens a lake in an object store; nothing is asked of the store yet. What `options` leaves open is taken from the
/// environment, as the store's own tools take it.
pub fn open_object<'o>(
    url: &ObjectUrl,
    options: impl IntoIterator<Item = (&'o str, &'o str)>,
    limits: ObjectLimits,
) -> Result<Arc<dyn Lake>, LakeError> {
    #[cfg(feature = "object-store")]
    return Ok(Arc::new(crate::ObjectLake::open(&url.to_string(), options, limits)?));
    #[cfg(not(feature = "object-store"))]
    {
        let _ = (options, limits);
        Err(OptionError::NotBuiltIn { scheme: url.scheme }.into())
    }
}

/// Opens a lake in an object store for those who only look: nothing is ever written to it.
pub fn open_object_to_read<'o>(
    url: &ObjectUrl,
    options: impl IntoIterator<Item = (&'o str, &'o str)>,
) -> Result<Arc<dyn Lake>, LakeError> {
    #[cfg(feature = "object-store")]
    return Ok(Arc::new(crate::ObjectLake::open_to_read(&url.to_string(), options)?));
    #[cfg(not(feature = "object-store"))]
    {
        let _ = options;
        Err(OptionError::NotBuiltIn { scheme: url.scheme }.into())
    }
}

/// Whether an option of this name can be set with this URL in this build, whatever its value.
pub fn check_object_option(url: &ObjectUrl, name: &str) -> Result<(), OptionError> {
    #[cfg(feature = "object-store")]
    return crate::ObjectLake::check_option(url, name);
    #[cfg(not(feature = "object-store"))]
    {
        let _ = name;
        Err(OptionError::NotBuiltIn { scheme: url.scheme })
    }
}

/// Whether these options can be used with this URL in this build.
pub fn check_object_options<'o>(
    url: &ObjectUrl,
    options: impl IntoIterator<Item = (&'o str, &'o str)>,
) -> Result<(), OptionError> {
    #[cfg(feature = "object-store")]
    return crate::ObjectLake::check_options(url, options);
    #[cfg(not(feature = "object-store"))]
    {
        let _ = options;
        Err(OptionError::NotBuiltIn { scheme: url.scheme })
    }
}

/// The options that a store has, as far as they are worth suggesting.
pub fn object_option_names(url: &ObjectUrl) -> Vec<&'static str> {
    #[cfg(feature = "object-store")]
    return crate::object::option_names(url.scheme).collect();
    #[cfg(not(feature = "object-store"))]
    {
        let _ = url;
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_bucket_and_a_prefix() {
        let url = |text: &str| text.parse::<ObjectUrl>();
        assert_eq!(url("s3://lake/a/b=1/").unwrap().to_string(), "s3://lake/a/b=1");
        assert_eq!(url("s3://lake/a/b=1").unwrap().key_prefix(), "a/b=1/");
        assert_eq!(url("s3a://lake").unwrap().to_string(), "s3://lake");
        assert_eq!(url("gs://lake/").unwrap().key_prefix(), "");
        for bad in
            ["s3://", "s3:///x", "s3://b//x", "s3://b/../x", "s3://b/a//b", "file:///x", "s3://b c/x", "s3://b?x"]
        {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
