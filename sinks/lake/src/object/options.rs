//! The options of the stores by name: which there are, and which would break what landfall rests on.

use std::str::FromStr;

use crate::remote::OptionError;

/// Names that people know, for "did you mean"; the library takes more spellings of them.
pub(super) const NAMES: [(&str, &[&str]); 4] = [
    (
        "s3",
        &[
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
            "aws_region",
            "aws_default_region",
            "aws_endpoint",
            "aws_allow_http",
            "aws_virtual_hosted_style_request",
            "aws_unsigned_payload",
            "aws_checksum_algorithm",
            "aws_skip_signature",
            "aws_server_side_encryption",
            "aws_sse_kms_key_id",
            "aws_sse_bucket_key_enabled",
            "aws_sse_customer_key_base64",
            "aws_request_payer",
            "aws_role_arn",
            "aws_role_session_name",
            "aws_web_identity_token_file",
            "aws_endpoint_url_sts",
            "aws_container_credentials_relative_uri",
            "aws_container_credentials_full_uri",
            "aws_container_authorization_token_file",
            "aws_imdsv1_fallback",
            "aws_metadata_endpoint",
            "aws_disable_tagging",
            "aws_disable_bulk_delete",
            "virtual_hosted_style_request",
            "unsigned_payload",
            "endpoint",
            "region",
        ],
    ),
    (
        "gs",
        &[
            "google_service_account",
            "google_service_account_key",
            "google_application_credentials",
            "google_bearer_token",
            "google_base_url",
        ],
    ),
    (
        "az",
        &[
            "azure_storage_account_name",
            "azure_storage_account_key",
            "azure_storage_client_id",
            "azure_storage_client_secret",
            "azure_storage_tenant_id",
            "azure_storage_sas_token",
            "azure_storage_endpoint",
            "azure_storage_use_emulator",
            "azure_federated_token_file",
            "azure_use_azure_cli",
        ],
    ),
    (
        "",
        &[
            "allow_http",
            "allow_invalid_certificates",
            "disable_system_certificates",
            "connect_timeout",
            "read_timeout",
            "timeout",
            "pool_idle_timeout",
            "pool_max_idle_per_host",
            "proxy_url",
            "proxy_ca_certificate",
            "proxy_excludes",
            "randomize_addresses",
            "http1_only",
            "http2_only",
            "user_agent",
        ],
    ),
];

/// The options that a scheme has, as far as they are worth suggesting.
pub(crate) fn names(scheme: &str) -> impl Iterator<Item = &'static str> {
    let of_scheme = NAMES.into_iter().filter(move |(known, _)| *known == scheme || known.is_empty());
    of_scheme.flat_map(|(_, names)| names.iter().copied())
}

/// The library's own `options` with landfall's before them.
pub(super) fn parsed<K: FromStr>(
    own: &[(&str, &str)],
    options: &[(&str, &str)],
) -> Result<Vec<(K, String)>, OptionError> {
    let all = own.iter().chain(options);
    all.map(|(name, value)| {
        let lower = name.to_ascii_lowercase();
        if let Some(why) = fixed(&lower) {
            return Err(OptionError::Fixed { name: (*name).into(), why });
        }
        let key = lower.parse().map_err(|_| OptionError::Unknown { name: (*name).into() })?;
        Ok((key, (*value).to_owned()))
    })
    .collect()
}

/// What is said elsewhere, or must not be changed.
fn fixed(name: &str) -> Option<&'static str> {
    let plain = ["aws_", "google_", "azure_"].iter().find_map(|store| name.strip_prefix(store)).unwrap_or(name);
    match plain {
        "bucket" | "bucket_name" | "container_name" => Some("lake.url names it"),
        "conditional_put" => Some("exactly-once rests on the conditional put, which is how a name is created"),
        "s3_express" => Some("directory buckets do not list in order"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "s3")]
    #[test]
    fn what_is_suggested_is_known() {
        for name in names("s3") {
            let known = parsed::<object_store::aws::AmazonS3ConfigKey>(&[], &[(name, "x")]);
            assert!(known.is_ok(), "{name}");
        }
    }

    #[cfg(feature = "gcs")]
    #[test]
    fn what_is_suggested_for_gcs_is_known() {
        for name in names("gs") {
            let known = parsed::<object_store::gcp::GoogleConfigKey>(&[], &[(name, "x")]);
            assert!(known.is_ok(), "{name}");
        }
    }

    #[cfg(feature = "azure")]
    #[test]
    fn what_is_suggested_for_azure_is_known() {
        for name in names("az") {
            let known = parsed::<object_store::azure::AzureConfigKey>(&[], &[(name, "x")]);
            assert!(known.is_ok(), "{name}");
        }
    }
}
