//! From a URL and options to a store.

use std::sync::Arc;

use object_store::RetryConfig;

use super::Store;
use super::options::parsed;
use crate::remote::{ObjectUrl, OptionError};

/// Every attempt is landfall's own: see the module.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// The requests have deadlines of their own, by their size; this one would end a large file's after 30 s.
const NO_TIMEOUT: (&str, &str) = ("timeout", "24h");

/// The store of a URL. `options` are the library's own, by name; what they leave open comes from the environment.
pub(super) fn store(url: &ObjectUrl, options: &[(&str, &str)]) -> Result<Arc<dyn Store>, OptionError> {
    match url.scheme() {
        #[cfg(feature = "s3")]
        "s3" => s3(url, options, false),
        #[cfg(feature = "gcs")]
        "gs" => {
            let mut builder = object_store::gcp::GoogleCloudStorageBuilder::from_env();
            for (key, value) in parsed(&[NO_TIMEOUT], options)? {
                builder = builder.with_config(key, value);
            }
            let store = builder
                .with_bucket_name(url.bucket())
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
                .with_container_name(url.bucket())
                .with_retry(no_retries())
                .with_crypto_provider(Arc::new(super::crypto::OpenSsl))
                .with_http_connector(super::wire::Wire)
                .build();
            Ok(Arc::new(store.map_err(wrong)?))
        }
        other => Err(OptionError::NotBuiltIn { scheme: other }),
    }
}

/// What deletes many objects of `store` in one request: on S3 another client.
pub(super) fn bulk(
    url: &ObjectUrl,
    options: &[(&str, &str)],
    store: &Arc<dyn Store>,
) -> Result<Option<Arc<dyn Store>>, OptionError> {
    match url.scheme() {
        #[cfg(feature = "s3")]
        "s3" => s3(url, options, true).map(Some),
        "az" => Ok(Some(store.clone())),
        _ => Ok(None),
    }
}

/// Whether a client asks for single deletions or for many at once is decided when it is made.
#[cfg(feature = "s3")]
fn s3(url: &ObjectUrl, options: &[(&str, &str)], bulk: bool) -> Result<Arc<dyn Store>, OptionError> {
    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
    let mut builder = AmazonS3Builder::from_env();
    for (key, value) in parsed(&[NO_TIMEOUT], options)? {
        builder = builder.with_config(key, value);
    }
    if !bulk {
        builder = builder.with_disable_bulk_delete(true);
    }
    let store = builder
        .with_bucket_name(url.bucket())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(no_retries())
        .with_crypto_provider(Arc::new(super::crypto::OpenSsl))
        .with_http_connector(super::wire::Wire)
        .build();
    Ok(Arc::new(store.map_err(wrong)?))
}

fn wrong(error: object_store::Error) -> OptionError {
    OptionError::Value { message: told(&error) }
}

/// Whether an option has a name that may be set. It makes no client: each of those reads all certificates of the system.
pub(super) fn knows(url: &ObjectUrl, name: &str) -> Result<(), OptionError> {
    let option = [(name, "")];
    match url.scheme() {
        #[cfg(feature = "s3")]
        "s3" => parsed::<object_store::aws::AmazonS3ConfigKey>(&[], &option).map(drop),
        #[cfg(feature = "gcs")]
        "gs" => parsed::<object_store::gcp::GoogleConfigKey>(&[], &option).map(drop),
        #[cfg(feature = "azure")]
        "az" => parsed::<object_store::azure::AzureConfigKey>(&[], &option).map(drop),
        other => Err(OptionError::NotBuiltIn { scheme: other }),
    }
}

/// What the library says, without the names of its layers.
fn told(error: &object_store::Error) -> String {
    let text = error.to_string();
    text.split_once(" error: ").map_or(text.as_str(), |(_, said)| said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let url = "s3://lake/x".parse().unwrap();
        assert_eq!(knows(&url, "aws_endpoint"), Ok(()));
        assert!(matches!(knows(&url, "aws_endpont"), Err(OptionError::Unknown { .. })));
        assert!(matches!(knows(&url, "conditional_put"), Err(OptionError::Fixed { .. })));
    }
}
