//! The one list of every setting. The loader, the nearest-key suggestion, the environment overrides, the
//! configuration reference and the example file are all made from it.

use super::read;
use super::settings::{Codec, Config, Format, Mode, OnGap, Start, StoreKind};
use super::units::{show_duration, show_size};
use super::value::{Located, Wrong};

/// Whether a setting must be given, may be given, or belongs to a later release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Optional,
    Later,
}

/// One setting.
pub struct Key {
    /// `lake.roll.max_age`.
    pub path: &'static str,
    /// What it takes, for the reference.
    pub takes: &'static str,
    /// What it means, in Markdown.
    pub about: &'static str,
    /// As it could stand in a file.
    pub example: &'static str,
    pub need: Need,
    /// A table whose names are not ours.
    pub open: bool,
    pub(super) apply: fn(&mut Config, &Located) -> Result<(), Wrong>,
    /// The value as TOML; of [`Config::default`], the default.
    pub show: fn(&Config) -> String,
}

impl Key {
    /// `lake.roll` of `lake.roll.max_age`.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// `max_age` of `lake.roll.max_age`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// `LANDFALL__LAKE__ROLL__MAX_AGE`.
    pub fn variable(&self) -> String {
        format!("LANDFALL__{}", self.path.replace('.', "__").to_ascii_uppercase())
    }
}

/// Every setting, in the order of the reference.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    [KAFKA, SOURCE, RECEIVER, CHECKPOINT, LAKE, ROLL, OPTIONS, PARQUET, DECODE, HTTP, LIMITS].into_iter().flatten()
}

pub fn find(path: &str) -> Option<&'static Key> {
    keys().find(|key| key.path == path)
}

const OPTIONAL: Key = Key {
    path: "",
    takes: "",
    about: "",
    example: "",
    need: Need::Optional,
    open: false,
    apply: |_, _| Ok(()),
    show: |_| String::new(),
};

fn quoted(text: impl ToString) -> String {
    format!("{:?}", text.to_string())
}

static KAFKA: &[Key] = &[
    Key {
        path: "kafka.topics",
        takes: "list of names and `/regular expressions/`",
        about: "The topics to land. An expression in slashes means every topic whose whole name it matches, also topics that are created later; Kafka's internal topics are never meant.",
        example: r#"["orders", "/payments-.*/"]"#,
        need: Need::Required,
        apply: |config, found| read::topics(found).map(|topics| config.kafka.topics = topics),
        show: |config| format!("[{}]", config.kafka.topics.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        ..OPTIONAL
    },
    Key {
        path: "kafka.properties",
        takes: "table",
        about: "Handed to librdkafka under its own names. `bootstrap.servers` is needed. `group.id` is the group that committed offsets are announced to, for lag monitors; without it the group is `landfall-<lake id>`. Never name a group that another application uses: its offsets would be overwritten. Names that the protocol owns, such as `enable.auto.commit`, are refused.",
        example: r#"{ "bootstrap.servers" = "localhost:9092" }"#,
        need: Need::Required,
        open: true,
        apply: |config, found| read::properties(found, &mut config.kafka.properties),
        show: |config| table(&config.kafka.properties),
    },
];

fn table(properties: &super::Properties) -> String {
    let entries: Vec<String> = properties.shown().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
    if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
}

static SOURCE: &[Key] = &[
    Key {
        path: "source.mode",
        takes: r#"`"direct"`"#,
        about: "`direct` reads ranges of offsets from Kafka's own log. (`receiver` is not in this release.)",
        example: r#""direct""#,
        apply: |config, found| {
            read::word(found, &[("direct", Mode::Direct)], &["receiver"]).map(|mode| config.source.mode = mode)
        },
        show: |config| match config.source.mode {
            Mode::Direct => quoted("direct"),
        },
        ..OPTIONAL
    },
    Key {
        path: "source.start",
        takes: "word, time or table",
        about: "Where a stream begins that has no checkpoint yet; where there is one, this is ignored. `\"earliest\"`; `\"latest\"`, which is the last stable offset; a time such as `\"2026-11-01T00:00:00Z\"`: the first record that is not older; or offsets by topic and partition, `{ orders = { 0 = 100 } }`: partitions that are not named start at the earliest.",
        example: r#""earliest""#,
        apply: |config, found| read::start(found).map(|start| config.source.start = start),
        show: |config| show_start(&config.source.start),
        ..OPTIONAL
    },
    Key {
        path: "source.on_gap",
        takes: r#"`"fail"` or `"record"`"#,
        about: "What happens when Kafka dropped records before they were read. `fail`: the stream stops and says which offsets are lost. `record`: the gap is written into the file and the checkpoint, and the stream goes on.",
        example: r#""fail""#,
        apply: |config, found| {
            let known = [("fail", OnGap::Fail), ("record", OnGap::Record)];
            read::word(found, &known, &[]).map(|on_gap| config.source.on_gap = on_gap)
        },
        show: |config| match config.source.on_gap {
            OnGap::Fail => quoted("fail"),
            OnGap::Record => quoted("record"),
        },
        ..OPTIONAL
    },
];

fn show_start(start: &Start) -> String {
    match start {
        Start::Earliest => quoted("earliest"),
        Start::Latest => quoted("latest"),
        Start::Time(ms) => match jiff::Timestamp::from_millisecond(*ms) {
            Ok(time) => quoted(time),
            Err(_) => ms.to_string(),
        },
        Start::Offsets(topics) => {
            let topics = topics.iter().map(|(topic, partitions)| {
                let offsets: Vec<String> =
                    partitions.iter().map(|(index, offset)| format!("{index} = {offset}")).collect();
                format!("{topic:?} = {{ {} }}", offsets.join(", "))
            });
            format!("{{ {} }}", topics.collect::<Vec<_>>().join(", "))
        }
    }
}

fn later(what: &'static str, hint: &str) -> Result<(), Wrong> {
    Err(Wrong::later(format!(": {what} is not in this release"), hint))
}

static RECEIVER: &[Key] = &[
    Key {
        path: "receiver.receivers",
        takes: "whole number",
        about: "How many receivers consume.",
        example: "2",
        need: Need::Later,
        apply: |_, _| later("receiver mode", "remove the section [receiver]"),
        ..OPTIONAL
    },
    Key {
        path: "receiver.wal_dir",
        takes: "path",
        about: "Where the write-ahead log is.",
        example: r#""./wal""#,
        need: Need::Later,
        apply: |_, _| later("receiver mode", "remove the section [receiver]"),
        ..OPTIONAL
    },
];

static CHECKPOINT: &[Key] = &[
    Key {
        path: "checkpoint.store",
        takes: r#"`"sled"`"#,
        about: "Where the checkpoints are kept. `sled`: in a folder of this host, used by one process at a time. (`lake` is not in this release.)",
        example: r#""sled""#,
        apply: |config, found| {
            read::word(found, &[("sled", StoreKind::Sled)], &["lake"]).map(|store| config.checkpoint.store = store)
        },
        show: |config| match config.checkpoint.store {
            StoreKind::Sled => quoted("sled"),
            StoreKind::Memory => quoted("memory"),
        },
        ..OPTIONAL
    },
    Key {
        path: "checkpoint.path",
        takes: "path",
        about: "The folder of the sled store. A relative path starts at the folder of the configuration file. Keep it on a local disk; never copy it, restore it from a backup or delete it while the lake is in use.",
        example: r#""./state""#,
        apply: |config, found| {
            let path = read::text(found)?;
            if path.value.is_empty() {
                return Err(Wrong::expected(found, "the path of a folder"));
            }
            config.checkpoint.path = path.value.clone().into();
            Ok(())
        },
        show: |config| quoted(config.checkpoint.path.display()),
        ..OPTIONAL
    },
];

static LAKE: &[Key] = &[
    Key {
        path: "lake.url",
        takes: "URL or path",
        about: "The root of the lake: `file://` and an absolute path, or a path; a relative one starts at the folder of the configuration file. (`s3://`, `gs://`, `az://` and `hdfs://` are not in this release.)",
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
];

static ROLL: &[Key] = &[
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
        show: |config| config.lake.roll.max_records.to_string(),
        ..OPTIONAL
    },
];

static OPTIONS: &[Key] = &[Key {
    path: "lake.options",
    takes: "table",
    about: "Handed to the object store as they are. A lake on a local disk has none.",
    example: "{}",
    open: true,
    apply: |config, found| read::properties(found, &mut config.lake.options),
    show: |config| table(&config.lake.options),
    ..OPTIONAL
}];

const CODECS: [(&str, Codec); 4] =
    [("zstd", Codec::Zstd), ("snappy", Codec::Snappy), ("lz4", Codec::Lz4), ("none", Codec::None)];

static PARQUET: &[Key] = &[
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
        about: "A row group ends when its rows take this much memory. Smaller ones need less memory; larger ones are read faster.",
        example: r#""32MiB""#,
        apply: |config, found| read::size(found, 64 << 10).map(|size| config.lake.parquet.row_group_size = size),
        show: |config| quoted(show_size(config.lake.parquet.row_group_size)),
        ..OPTIONAL
    },
];

static DECODE: &[Key] = &[
    Key {
        path: "decode.value",
        takes: r#"`"raw"`"#,
        about: "What becomes of a record's value. `raw`: its bytes, as they are. (`json`, `avro`, `protobuf` and `string` are not in this release.)",
        example: r#""raw""#,
        apply: |_, found| read::word(found, &[("raw", ())], &["json", "avro", "protobuf", "string"]),
        show: |_| quoted("raw"),
        ..OPTIONAL
    },
    Key {
        path: "decode.on_error",
        takes: r#"`"rescue"`"#,
        about: "What becomes of a record that cannot be decoded. As `raw` decodes nothing, it has no effect in this release. (`dead_letter` and `fail` are not in this release.)",
        example: r#""rescue""#,
        apply: |_, found| read::word(found, &[("rescue", ())], &["dead_letter", "fail"]),
        show: |_| quoted("rescue"),
        ..OPTIONAL
    },
];

static HTTP: &[Key] = &[Key {
    path: "http.listen",
    takes: "address and port",
    about: "The address of the status page and the metrics.",
    example: r#""127.0.0.1:9464""#,
    need: Need::Later,
    apply: |_, _| later("the status page", "remove it; `landfall status` shows where every stream stands"),
    ..OPTIONAL
}];

static LIMITS: &[Key] = &[
    Key {
        path: "limits.memory",
        takes: "size",
        about: "One budget for everything in flight, however many partitions there are. The process as a whole stays below it by 192 MiB more.",
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
