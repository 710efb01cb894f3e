//! The settings of what is read and remembered.

use super::super::read;
use super::super::settings::{Assignment, Mode, OnGap, Start, StoreKind};
use super::super::value::Wrong;
use super::{Key, Need, OPTIONAL, later, quoted, table};

pub(super) static KAFKA: &[Key] = &[
    Key {
        path: "kafka.topics",
        takes: "list of names and `/regular expressions/`",
        about: "The topics to land. An expression in slashes means every topic whose whole name it matches, also topics that are created later; those that begin with `__`, as Kafka's internal ones do, are meant by name only.",
        example: r#"["orders", "/payments-.*/"]"#,
        need: Need::Required,
        apply: |config, found| read::topics(found).map(|topics| config.kafka.topics = topics),
        show: |config| format!("[{}]", config.kafka.topics.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        ..OPTIONAL
    },
    Key {
        path: "kafka.properties",
        takes: "table",
        about: "Handed to librdkafka under its own names. `bootstrap.servers` is needed. `group.id` is the group that shares the partitions out and that committed offsets are announced to, for lag monitors; without it the group is `landfall-<lake id>`. Never name a group that another application uses: its offsets would be overwritten. Where several processes share a lake, give each a `group.instance.id` of its own that a restart keeps, such as `landfall-${HOSTNAME}`; `session.timeout.ms` is 10000 by default; `group.protocol = \"consumer\"` lets the broker lead the group (KIP-848). Names that the protocol owns, such as `enable.auto.commit`, are refused.",
        example: r#"{ "bootstrap.servers" = "localhost:9092" }"#,
        need: Need::Required,
        open: true,
        apply: |config, found| read::properties(found, &mut config.kafka.properties),
        show: |config| table(&config.kafka.properties),
    },
];

pub(super) static SOURCE: &[Key] = &[
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
        path: "source.assignment",
        takes: r#"`"group"` or `"all"`"#,
        about: "Which partitions a process plans, with `checkpoint.store = \"lake\"`. `group`: those that Kafka's group coordinator gives to it, so that any number of processes share the work. `all`: every partition, whoever else does so; nothing is lost or repeated, but work is done twice. `run --once` always takes `all`.",
        example: r#""group""#,
        apply: |config, found| {
            let known = [("group", Assignment::Group), ("all", Assignment::All)];
            read::word(found, &known, &[]).map(|assignment| config.source.assignment = assignment)
        },
        show: |config| match config.source.assignment {
            Assignment::Group => quoted("group"),
            Assignment::All => quoted("all"),
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

pub(super) static RECEIVER: &[Key] = &[
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

pub(super) static CHECKPOINT: &[Key] = &[
    Key {
        path: "checkpoint.store",
        takes: r#"`"sled"` or `"lake"`"#,
        about: "Where the checkpoints are kept. `sled`: in a folder of this host, used by one process at a time. `lake`: in the lake itself, used by any number of processes at once; on a local disk not on NFS, SMB or FUSE. A lake belongs to one store; `landfall migrate --to lake` moves it from the first to the second.",
        example: r#""sled""#,
        apply: |config, found| {
            let known = [("sled", StoreKind::Sled), ("lake", StoreKind::Lake)];
            read::word(found, &known, &[]).map(|store| config.checkpoint.store = store)
        },
        show: |config| match config.checkpoint.store {
            StoreKind::Sled => quoted("sled"),
            StoreKind::Lake => quoted("lake"),
            StoreKind::Memory => quoted("memory"),
        },
        ..OPTIONAL
    },
    Key {
        path: "checkpoint.path",
        takes: "path",
        about: "The folder of the sled store; with the lake store it holds nothing but files on their way into an object store. A relative path starts at the folder of the configuration file. Keep it on a local disk; never copy it, restore it from a backup or delete it while the lake is in use.",
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

pub(super) static DECODE: &[Key] = &[
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

pub(super) static HTTP: &[Key] = &[Key {
    path: "http.listen",
    takes: "address and port",
    about: "The address of the status page and the metrics.",
    example: r#""127.0.0.1:9464""#,
    need: Need::Later,
    apply: |_, _| later("the status page", "remove it; `landfall status` shows where every stream stands"),
    ..OPTIONAL
}];
