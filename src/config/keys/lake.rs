//! The settings of the lake and of what may be used for it.

use super::super::read;
use super::super::settings::{Codec, Format};
use super::super::units::{show_duration, show_number, show_size};
use super::super::value::Wrong;
use super::{Key, Need, OPTIONAL, quoted, table};

pub(super) static LAKE: &[Key] = &[
    Key {
        path: "lake.url",
        takes: "URL or path",
        about: "The root of the lake: on a local disk `file://` and an absolute path, or a path (a relative one starts at the folder of the configuration file); in an object store `s3://bucket/prefix` (`gs://` and `az://` where landfall was built with the features `gcs` and `azure`). The bucket has to be there. (`hdfs://` is not in this release.)",
        example: r#""file:///data/lake""#,
        need: Need::Required,
        apply: |config, found| read::lake_url(found).map(|url| config.lake.url = url),
        show: |config| quoted(&config.lake.url),
        ..OPTIONAL
    },
    Key {
        path: "lake.format",
        takes: r#"`"parquet"`"#,
        about: "The format of the files. (`jsonl`, `avro` and `raw` are not in this release.)",
        example: r#""parquet""#,
        apply: |config, found| {
            let later = ["jsonl", "avro", "raw"];
            read::word(found, &[("parquet", Format::Parquet)], &later).map(|format| config.lake.format = format)
        },
        show: |config| quoted(config.lake.format.as_str()),
        ..OPTIONAL
    },
    Key {
        path: "lake.path",
        takes: "template",
        about: "The folder of a partition's files below the lake. It holds `{partition}`, and `{topic}` where there can be several topics; both stand between `/` or characters that topic names cannot hold, as in `topic={topic}/p={partition}`. Changing it is safe: batches that are already planned are finished under the old one.",
        example: r#""{topic}/{partition}""#,
        apply: |config, found| read::text(found).map(|path| config.lake.path = path.value.clone()),
        show: |config| quoted(&config.lake.path),
        ..OPTIONAL
    },
    Key {
        path: "lake.max_put",
        takes: "size up to 5GiB",
        about: "In an object store a file is one put, because only a single put can create a name exclusively; no file may become larger than this. It is twice `lake.roll.max_size` or more, so that a burst of large records has room. A file waits below `checkpoint.path` until it is put, and is in memory while it is put.",
        example: r#""512MiB""#,
        apply: |config, found| read::size(found, 1 << 20).map(|size| config.lake.max_put = size),
        show: |config| quoted(show_size(config.lake.max_put)),
        ..OPTIONAL
    },
];

pub(super) static ROLL: &[Key] = &[
    Key {
        path: "lake.roll.max_age",
        takes: "duration",
        about: "A batch ends when its oldest record was seen this long ago; no further record is needed for that.",
        example: r#""60s""#,
        apply: |config, found| {
            let age = read::duration(found)?;
            if age.is_zero() {
                return Err(Wrong::expected(found, "more than 0s"));
            }
            config.lake.roll.max_age = age;
            Ok(())
        },
        show: |config| quoted(show_duration(config.lake.roll.max_age)),
        ..OPTIONAL
    },
    Key {
        path: "lake.roll.max_size",
        takes: "size",
        about: "A batch ends when its file has this size, compressed as it is written.",
        example: r#""128MiB""#,
        apply: |config, found| read::size(found, 1).map(|size| config.lake.roll.max_size = size),
        show: |config| quoted(show_size(config.lake.roll.max_size)),
        ..OPTIONAL
    },
    Key {
        path: "lake.roll.max_records",
        takes: "whole number",
        about: "A batch never covers more offsets than this.",
        example: "10_000_000",
        apply: |config, found| {
            let records = read::number(found, 1, i64::MAX)?;
            config.lake.roll.max_records = records.unsigned_abs();
            Ok(())
        },
        show: |config| show_number(config.lake.roll.max_records),
        ..OPTIONAL
    },
];

pub(super) static OPTIONS: &[Key] = &[Key {
    path: "lake.options",
    takes: "table",
    about: "Handed to the object store as they are; a lake on a local disk has none. For `s3://`: `aws_region`, `aws_endpoint` (of a store that is not Amazon's; `aws_allow_http = true` where it has no TLS), `virtual_hosted_style_request`, `unsigned_payload`, `aws_server_side_encryption` and `aws_sse_kms_key_id`, `proxy_url` and more. What is not given comes from the environment: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, a container's or a web identity's credentials, or those of the machine (profiles of `~/.aws` are not read). An unknown name is an error.",
    example: "{}",
    open: true,
    apply: |config, found| read::properties(found, &mut config.lake.options),
    show: |config| table(&config.lake.options),
    ..OPTIONAL
}];

const CODECS: [(&str, Codec); 4] =
    [("zstd", Codec::Zstd), ("snappy", Codec::Snappy), ("lz4", Codec::Lz4), ("none", Codec::None)];

pub(super) static PARQUET: &[Key] = &[
    Key {
        path: "lake.parquet.codec",
        takes: r#"`"zstd"`, `"snappy"`, `"lz4"` or `"none"`"#,
        about: "How the pages of a Parquet file are compressed.",
        example: r#""zstd""#,
        apply: |config, found| read::word(found, &CODECS, &[]).map(|codec| config.lake.parquet.codec = codec),
        show: |config| quoted(config.lake.parquet.codec.as_str()),
        ..OPTIONAL
    },
    Key {
        path: "lake.parquet.level",
        takes: "1 to 22",
        about: "The level of zstd; the other codecs have none. Higher is smaller and slower.",
        example: "1",
        apply: |config, found| {
            let level = read::number(found, 1, 22)?;
            config.lake.parquet.level = i32::try_from(level).unwrap_or(1);
            Ok(())
        },
        show: |config| config.lake.parquet.level.to_string(),
        ..OPTIONAL
    },
    Key {
        path: "lake.parquet.row_group_size",
        takes: "size",
        about: "A row group ends when its encoded pages reach this. It bounds what one batch under way holds of them in memory, however large its file becomes: smaller ones need less memory where thousands of partitions land at once, larger ones are read faster.",
        example: r#""16MiB""#,
        apply: |config, found| read::size(found, 64 << 10).map(|size| config.lake.parquet.row_group_size = size),
        show: |config| quoted(show_size(config.lake.parquet.row_group_size)),
        ..OPTIONAL
    },
];

pub(super) static LIMITS: &[Key] = &[
    Key {
        path: "limits.memory",
        takes: "size",
        about: "One budget for everything in flight, however many partitions there are. The process as a whole stays below this and 192 MiB more.",
        example: r#""512MiB""#,
        apply: |config, found| read::size(found, 16 << 20).map(|size| config.limits.memory = size),
        show: |config| quoted(show_size(config.limits.memory)),
        ..OPTIONAL
    },
    Key {
        path: "limits.workers",
        takes: "0 to 1024",
        about: "How many threads read and encode. `0`: as many as there are cores.",
        example: "0",
        apply: |config, found| {
            let workers = read::number(found, 0, 1024)?;
            config.limits.workers = usize::try_from(workers).unwrap_or(0);
            Ok(())
        },
        show: |config| config.limits.workers.to_string(),
        ..OPTIONAL
    },
    Key {
        path: "limits.shutdown",
        takes: "duration",
        about: "How long a stop (SIGTERM, Ctrl-C) waits for batches that are under way. What is not finished by then is left as a plan, and finished at the next start. A second signal ends at once.",
        example: r#""10s""#,
        apply: |config, found| read::duration(found).map(|wait| config.limits.shutdown = wait),
        show: |config| quoted(show_duration(config.limits.shutdown)),
        ..OPTIONAL
    },
];
