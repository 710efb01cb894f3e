//! From a URL and options to a store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use object_store::RetryConfig;

use super::Store;
use super::options::{OptionError, parsed};
use crate::{LakeError, names};

/// The schemes of object stores, built in or not.
pub const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

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

    pub(super) fn key_prefix(&self) -> String {
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
        let known = SCHEMES.into_iter().find(|known| *known == scheme || (*known == "s3" && scheme == "s3a"));
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

/// Every attempt is landfall's own: see the module.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// The requests have deadlines of their own, by their size; this one would end a large file's after 30 s.
const NO_TIMEOUT: (&str, &str) = ("timeout", "24h");

/// The store of a URL. `options` are the library's own, by name; what they leave open comes from the environment.
pub(super) fn store(url: &ObjectUrl, options: &[(&str, &str)]) -> Result<Arc<dyn Store>, OptionError> {
    let wrong = |error: object_store::Error| OptionError::Value { message: told(&error) };
    match url.scheme {
        #[cfg(feature = "s3")]
        "s3" => {
            use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
            // Single deletes, because not every store knows the bulk one.
            let own = [NO_TIMEOUT, ("disable_bulk_delete", "true")];
            let mut builder = AmazonS3Builder::from_env();
            for (key, value) in parsed(&own, options)? {
                builder = builder.with_config(key, value);
            }
            let store = builder
                .with_bucket_name(&url.bucket)
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .with_retry(no_retries())
                .with_crypto_provider(Arc::new(super::crypto::OpenSsl))
                .with_http_connector(super::wire::Wire)
                .build();
            Ok(Arc::new(store.map_err(wrong)?))
        }
        #[cfg(feature = "gcs")]
        "gs" => {
            let mut builder = object_store::gcp::GoogleCloudStorageBuilder::from_env();
            for (key, value) in parsed(&[NO_TIMEOUT], options)? {
                builder = builder.with_config(key, value);
            }
            let store = builder
                .with_bucket_name(&url.bucket)
                .with_retry(no_retries())
                .with_crypto_provider(Arc::new(super::crypto::OpenSsl))
                .with_http_connector(super::wire::Wire)
                .build();
            Ok(Arc::new(store.map_err(wrong)?))
        }
        #[cfg(feature = "azure")]
        "az" => {
            let mut builder = object_store::azure::MicrosoftAzureBuilder::from_env();
            for (key, value) in parsed(&[NO_TIMEOUT], options)? {
                builder = builder.with_config(key, value);
            }
            let store = builder
                .with_container_name(&url.bucket)
                .with_retry(no_retries())
                .with_crypto_provider(Arc::new(super::crypto::OpenSsl))
                .with_http_connector(super::wire::Wire)
                .build();
            Ok(Arc::new(store.map_err(wrong)?))
        }
        other => Err(OptionError::NotBuiltIn { scheme: other }),
    }
}

/// What the library says, without the names of its layers.
fn told(error: &object_store::Error) -> String {
    let text = error.to_string();
    text.split_once(" error: ").map_or(text.as_str(), |(_, said)| said).to_owned()
}

impl From<OptionError> for LakeError {
    fn from(error: OptionError) -> LakeError {
        LakeError::refused("lake.options", error)
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

    #[cfg(feature = "s3")]
    #[test]
    fn options_are_the_librarys_own_and_the_rest_is_refused() {
        let open = |options: &[(&str, &str)]| {
            let credentials = [("aws_access_key_id", "a"), ("aws_secret_access_key", "s")];
            let all: Vec<_> = credentials.iter().chain(options).copied().collect();
            store(&"s3://lake/x".parse().unwrap(), &all).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(open(&[("aws_endpoint", "http://127.0.0.1:1"), ("aws_allow_http", "true")]), Ok(()));
        assert_eq!(open(&[("virtual_hosted_style_request", "true"), ("proxy_url", "http://127.0.0.1:1")]), Ok(()));
        assert!(open(&[("aws_endpont", "http://127.0.0.1:1")]).unwrap_err().contains("aws_endpont"));
        assert!(open(&[("allow_http", "perhaps")]).is_err());
        assert!(open(&[("aws_bucket", "other")]).unwrap_err().contains("lake.url"));
        assert!(open(&[("conditional_put", "disabled")]).unwrap_err().contains("create"));
    }
}
