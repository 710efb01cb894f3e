//! Configurations as people write them, wrong ones above all.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LEAST: &str = r#"
[kafka]
topics = ["orders"]
[kafka.properties]
"bootstrap.servers" = "b:9092"
[lake]
url = "file:///data/lake"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}

fn parse_with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let env = Env::from_iter(env.iter().copied());
    Config::parse(text, "landfall.toml", Path::new("/etc/landfall"), &env)
}

/// The least file with lines added to one of its sections, or with a section of its own.
fn with(lines: &str) -> String {
    format!("{LEAST}{lines}\n")
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_least_file_has_the_defaults() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.lake.url.to_string(), "file:///data/lake");
    assert_eq!(config.checkpoint.path, Path::new("/etc/landfall/state"));
    assert_eq!(config.lake.roll, Roll::default());
    assert_eq!(config.source.start, Start::Earliest);
    assert_eq!(config.isolation(), landfall_sink::Isolation::ReadCommitted);
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert!(config.kafka.selects("orders") && !config.kafka.selects("orders2"));
}

#[test]
fn every_setting_is_read() {
    let text = r#"
[kafka]
topics = ["orders", "/payments-.*/", "orders"]
[kafka.properties]
bootstrap.servers = "b:9092"
"fetch.min.bytes" = 1_000
"enable.ssl.certificate.verification" = false
"isolation.level" = "read_uncommitted"
"group.id" = "g"
[source]
mode = "direct"
start = { orders = { 0 = 100, 7 = 5 } }
on_gap = "record"
[checkpoint]
store = "sled"
path = "/var/lib/landfall"
[lake]
url = "./lake"
format = "parquet"
path = "t={topic}/p={partition}"
[lake.roll]
max_age = "1m 30s"
max_size = 1024
max_records = 7
[lake.parquet]
codec = "snappy"
level = 3
row_group_size = "1MiB"
[decode]
value = "raw"
on_error = "rescue"
[limits]
memory = "64MiB"
workers = 3
shutdown = "0s"
"#;
    let config = parse(text).unwrap();
    assert_eq!(config.kafka.topics.len(), 2);
    assert_eq!(config.kafka.properties.get("bootstrap.servers"), Some("b:9092"));
    assert_eq!(config.kafka.properties.get("fetch.min.bytes"), Some("1000"));
    assert_eq!(config.kafka.properties.get("enable.ssl.certificate.verification"), Some("false"));
    assert_eq!(config.isolation(), landfall_sink::Isolation::ReadUncommitted);
    assert_eq!(config.group_id(), Some("g"));
    let Start::Offsets(offsets) = &config.source.start else { panic!("{:?}", config.source.start) };
    assert_eq!(offsets["orders"][&7], 5);
    assert_eq!(config.source.on_gap, OnGap::Record);
    assert_eq!(config.checkpoint.path, Path::new("/var/lib/landfall"));
    assert_eq!(config.lake.url.to_string(), "file:///etc/landfall/lake");
    let roll = Roll { max_age: Duration::from_secs(90), max_size: 1024, max_records: 7 };
    assert_eq!(config.lake.roll, roll);
    assert_eq!(config.lake.parquet, Parquet { codec: Codec::Snappy, level: 3, row_group_size: 1 << 20 });
    assert_eq!(config.limits, Limits { memory: 64 << 20, workers: 3, shutdown: Duration::ZERO });
}

#[test]
fn what_is_shown_of_a_configuration_reads_back() {
    let text = r#"
kafka = { topics = ["orders", "/pay.*/"], properties = { "bootstrap.servers" = "b:9092", "client.id" = "x\"y" } }
source = { start = { orders = { 0 = 100, 7 = 5 } }, on_gap = "record" }
checkpoint = { path = "/var/lib/landfall" }
limits = { memory = "65MiB", workers = 3, shutdown = "1500ms" }
[lake]
url = "/data/my lake%"
path = "t={topic}/p={partition}"
roll = { max_age = "90s", max_size = 1025, max_records = 7_000 }
parquet = { codec = "lz4", level = 3, row_group_size = "1MiB" }
"#;
    let config = parse(text).unwrap();
    let lines = keys::keys().filter(|key| key.need != keys::Need::Later);
    let again: String = lines.map(|key| format!("{} = {}\n", key.path, (key.show)(&config))).collect();
    assert_eq!(parse(&again).unwrap(), config, "{again}");
    let time = parse(&with("[source]\nstart = \"2026-11-01T00:00:00.5Z\"")).unwrap();
    assert_eq!((keys::find("source.start").unwrap().show)(&time), "\"2026-11-01T00:00:00.5Z\"");
}

#[test]
fn a_start_is_a_word_a_time_or_offsets() {
    let start = |value: &str| parse(&with(&format!("[source]\nstart = {value}"))).map(|config| config.source.start);
    assert_eq!(start("\"latest\"").unwrap(), Start::Latest);
    assert_eq!(start("\"1970-01-01T00:00:01Z\"").unwrap(), Start::Time(1000));
    assert_eq!(start("1970-01-01T01:00:01+01:00").unwrap(), Start::Time(1000));
    for bad in [
        "\"newest\"",
        "\"2026-11-01\"",
        "2026-11-01T00:00:00",
        "7",
        "{ orders = 5 }",
        "{ orders = { x = 5 } }",
        "{ orders = { 0 = -1 } }",
    ] {
        let text = start(bad).unwrap_err().to_string();
        assert!(text.starts_with("landfall.toml:9:"), "{bad}: {text}");
    }
    assert!(start("{ order = { 0 = 5 } }").unwrap_err().to_string().contains("did you mean \"orders\""));
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_one() {
    let text = error(&with("[lake.roll]\nmax_sise = \"1MiB\""));
    assert_eq!(text, "landfall.toml:9:1: unknown key \"max_sise\" in [lake.roll]; did you mean \"max_size\"?");
    let text = error(&with("[lakes]\nx = 1"));
    assert_eq!(text, "landfall.toml:8:2: unknown key \"lakes\"; did you mean [lake]?");
    let text = error(&with("max_age = \"5s\""));
    assert_eq!(text, "landfall.toml:8:1: unknown key \"max_age\" in [lake]; did you mean \"max_age\" in [lake.roll]?");
    let text = error(&with("[source]\nwhatsoever = 1"));
    assert_eq!(
        text,
        "landfall.toml:9:1: unknown key \"whatsoever\" in [source]; known here: \"mode\", \"assignment\", \"start\", \"on_gap\""
    );
}

#[test]
fn a_wrong_value_says_what_was_expected() {
    for (lines, expected) in [
        ("[lake.roll]\nmax_age = 60", "landfall.toml:9:11: lake.roll.max_age is 60; expected a duration such as"),
        ("[lake.roll]\nmax_age = \"0s\"", "landfall.toml:9:11: lake.roll.max_age is \"0s\"; expected more than 0s"),
        ("[lake.roll]\nmax_size = \"128 megs\"", "lake.roll.max_size is \"128 megs\"; expected a size such as"),
        (
            "[lake.roll]\nmax_records = 0",
            "landfall.toml:9:15: lake.roll.max_records is 0; expected a whole number, at least 1",
        ),
        ("[lake.roll]\nmax_records = 1.5", "is 1.5; expected a whole number"),
        ("[lake.roll]\nmax_records = 99999999999999999999", "is 99999999999999999999; expected a whole number"),
        ("[limits]\nmemory = \"1MiB\"", "limits.memory is \"1MiB\"; expected at least 16MiB"),
        ("[source]\non_gap = \"skip\"", "source.on_gap is \"skip\"; expected \"fail\" or \"record\""),
        ("[source]\non_gap = true", "source.on_gap is true; expected \"fail\" or \"record\""),
        ("[checkpoint]\npath = \"\"", "checkpoint.path is \"\"; expected the path of a folder"),
        ("[checkpoint]\nstore = \"memory\"", "checkpoint.store is \"memory\"; expected \"sled\""),
        ("[lake.parquet]\nlevel = 23", "expected a whole number from 1 to 22"),
        ("path = \"{topic}\"", "landfall.toml:8:8: lake.path: the path template \"{topic}\" does not hold {partition}"),
        ("path = \"{hour}/{partition}\"", "holds {hour}, which is not known"),
        ("path = \"_landfall/{partition}\"", "puts data below _landfall"),
        ("[lake.options]\naws_endpoint = \"x\"", "a lake on a local disk has no options"),
    ] {
        let text = error(&with(lines));
        assert!(text.contains(expected), "{lines}: {text}");
    }
    assert!(error("lake = 5").contains("landfall.toml:1:8: lake is 5; expected a section [lake]"));
    assert!(error("[[lake]]\nurl = \"x\"").contains("lake is a list; expected a section [lake]"));
}

#[test]
fn topics_and_urls_are_checked() {
    let topics = |list: &str| error(&LEAST.replace("[\"orders\"]", list));
    assert!(topics("\"orders\"").contains("landfall.toml:3:10: kafka.topics is \"orders\"; expected a list"));
    assert!(topics("[]").contains("kafka.topics is missing"));
    assert!(topics("[\"a\", \"a b\"]").contains("landfall.toml:3:16: kafka.topics: \"a b\" is not a topic name"));
    let both = topics("[\"a b\", \"c\", 5, \"d e\"]");
    assert!(
        ["3:11: kafka.topics: \"a b\"", "3:23: kafka.topics is 5", "3:26: kafka.topics: \"d e\""]
            .iter()
            .all(|entry| both.contains(entry)),
        "{both}"
    );
    assert!(topics("[\"/(/\"]").contains("not a regular expression"));
    assert!(topics("[\"_landfall\"]").contains("landfall.toml:3:10: kafka.topics: the files of topic _landfall would"));
    let hidden = parse(&LEAST.replace("orders", "_orders")).unwrap();
    assert!(hidden.warnings()[0].contains("topic _orders is landed below \"_orders\""), "{:?}", hidden.warnings());
    let moved = parse(&with("path = \"x/{topic}/{partition}\"").replace("[\"orders\"]", "[\"_landfall\"]")).unwrap();
    assert_eq!(moved.collision("_landfall"), None);
    let one = parse(&with("path = \"x/{partition}\"")).unwrap();
    assert!(!one.kafka.several_topics());
    let several = error(&with("path = \"x/{partition}\"").replace("[\"orders\"]", "[\"/o.*/\"]"));
    assert!(several.contains("does not hold {topic}"), "{several}");
    let url = |url: &str| error(&LEAST.replace("file:///data/lake", url));
    assert!(
        url("file://data/lake").contains("landfall.toml:7:7: lake.url: \"file://data/lake\" does not hold an absolute")
    );
    assert!(url("ftp://x").contains("ftp:// is not known"));
}

#[test]
fn what_a_later_release_will_have_is_refused_as_such() {
    for lines in [
        "[source]\nmode = \"receiver\"",
        "[receiver]\nreceivers = 2",
        "[receiver]\nwal_dir = \"./wal\"",
        "format = \"jsonl\"",
        "format = \"avro\"",
        "format = \"raw\"",
        "path = \"{topic}/dt={timestamp:%Y-%m-%d}/{partition}\"",
        "[decode]\nvalue = \"json\"",
        "[decode]\non_error = \"dead_letter\"",
        "[http]\nlisten = \"127.0.0.1:9464\"",
    ] {
        let error = parse(&with(lines)).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        assert_eq!(error.problems[0].kind, ProblemKind::NotInThisRelease, "{error}");
        assert!(error.to_string().contains("not in this release"), "{error}");
        assert!(matches!(error.problems[0].place, Place::File { .. }), "{error}");
        assert!(error.hint().is_some());
    }
    for url in ["abfss://b/p", "hdfs://n/p"] {
        let text = error(&LEAST.replace("file:///data/lake", url));
        assert!(text.contains("not in this release"), "{text}");
    }
}

#[test]
fn properties_that_the_protocol_owns_are_refused_with_their_line() {
    let at = |line: &str| error(&LEAST.replace("[lake]", &format!("{line}\n[lake]")));
    for (name, _) in crate::kafka::OWNED {
        let text = at(&format!("\"{name}\" = \"true\""));
        assert!(text.starts_with(&format!("landfall.toml:6:1: the property \"{name}\" belongs to landfall")), "{text}");
        let nested = at(&format!("{name} = \"true\""));
        assert!(nested.starts_with("landfall.toml:6:"), "{nested}");
    }
    assert!(at("\"ssl.truststore.location\" = \"x\"").contains("Java"));
    assert!(at("\"isolation.level\" = \"dirty\"").contains("expected \"read_committed\""));
    assert!(at("\"x\" = [1]").contains("landfall.toml:6:1: kafka.properties.\"x\" is a list; expected a text"));
}

#[test]
fn everything_wrong_is_told_at_once_from_the_top_down() {
    let error = parse("[kafka]\ntopic = [\"a\"]\n[source]\nmode = 1\n").unwrap_err();
    let text = error.to_string();
    let problems = text.lines().filter(|line| !line.starts_with("  -> "));
    let lines: Vec<String> = problems.map(|line| line.split(": ").next().unwrap().to_string()).collect();
    // Each way out stands below its own problem.
    assert!(text.contains("lake.url is missing\n  -> add it: [lake] url = "), "{text}");
    assert_eq!(lines, ["landfall.toml:2:1", "landfall.toml:4:8", "landfall.toml", "landfall.toml", "landfall.toml"]);
    assert!(error.to_string().contains("lake.url is missing"), "{error}");
}

#[test]
fn brokers_are_hosts_with_ports() {
    let with = |brokers: &str| parse(&LEAST.replace("b:9092", brokers));
    for good in ["b", "b:9092,c:9093", " b:9092 , c ", "SASL_SSL://b:9092", "[::1]:9092", "[::1]", "10.0.0.1:1"] {
        assert!(with(good).is_ok(), "{good}: {:?}", with(good).err());
    }
    for bad in ["b:99999", "b:0", "b:x", "b:", "http://localhost:9092", "b:9092,c:70000", "b:9092/x", "b:9092 c:9092"] {
        let error = with(bad).unwrap_err();
        assert!(error.to_string().contains("landfall.toml:5:"), "{bad}: {error}");
        assert_eq!(error.problems.len(), 1, "{error}");
    }
}

#[test]
fn what_is_no_toml_says_where_and_shows_no_secret() {
    let error = parse("[kafka.properties]\n\"sasl.password\" = hunter2\n").unwrap_err();
    assert!(error.to_string().starts_with("landfall.toml:2:19: this is not TOML: "), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let twice = parse("[kafka]\ntopics = []\ntopics = []\n").unwrap_err();
    assert!(twice.to_string().starts_with("landfall.toml:3:1: this is not TOML"), "{twice}");
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let error = Config::load(Path::new("/no/such/landfall.toml"), &Env::default()).unwrap_err();
    assert!(error.to_string().starts_with("/no/such/landfall.toml: the configuration cannot be read: "), "{error}");
}

#[test]
fn variables_are_put_in_and_never_shown() {
    let text = LEAST.replace("b:9092", "${HOST}:${PORT:-9092}");
    let config = parse_with(&text, &[("HOST", "broker")]).unwrap();
    assert_eq!(config.kafka.properties.get("bootstrap.servers"), Some("broker:9092"));
    let unset = parse(&text).unwrap_err();
    assert_eq!(unset.problems[0].kind, ProblemKind::Unset);
    assert_eq!(unset.problems[0].what, "kafka.properties.bootstrap.servers: the environment variable HOST is not set");
    assert_eq!(unset.problems[0].place, Place::File { line: 5, column: 23 });
    assert_eq!(unset.problems.len(), 1, "{unset}");
    let age = with("[lake.roll]\nmax_age = \"${AGE}\"");
    let error = parse_with(&age, &[("AGE", "hunter2")]).unwrap_err();
    assert!(error.to_string().contains("lake.roll.max_age is \"${AGE}\""), "{error}");
}

#[test]
fn secrets_stay_out_of_debug() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("user");
    std::fs::write(&file, "hunter2\n").unwrap();
    let lines =
        format!("\"sasl.password\" = \"hunter2\"\n\"sasl.username\" = \"${{file:{}}}\"\n[lake]", file.display());
    let config = parse(&LEAST.replace("[lake]", &lines)).unwrap();
    assert_eq!(config.kafka.properties.get("sasl.username"), Some("hunter2"));
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    let shown: String = keys::keys().map(|key| (key.show)(&config)).collect();
    assert!(!shown.contains("hunter2"), "{shown}");
    for wrong in [LEAST.replace("orders", "a ${file:F}"), LEAST.replace("file:///data/lake", "ftp://${file:F}")] {
        let error = parse(&wrong.replace('F', &file.display().to_string())).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2") && error.to_string().contains("does not fit"), "{error}");
    }
}

#[test]
fn variables_override_the_file() {
    let config = parse_with(
        LEAST,
        &[
            ("LANDFALL__LAKE__ROLL__MAX_AGE", "5m"),
            ("LANDFALL__LAKE__ROLL__MAX_RECORDS", "1_000"),
            ("LANDFALL__KAFKA__TOPICS", "a, /b.*/"),
            ("LANDFALL__KAFKA__PROPERTIES__BOOTSTRAP_SERVERS", "other:9092"),
            ("LANDFALL__KAFKA__PROPERTIES__SSL_CA_LOCATION", "k"),
            ("LANDFALL__SOURCE__START", "{ a = { 0 = 5 } }"),
            ("LANDFALL__LAKE__URL", "file:///${x}"),
            ("LANDFALL_CONFIG", "not an override"),
        ],
    )
    .unwrap();
    assert_eq!(config.lake.roll.max_age, Duration::from_secs(300));
    assert_eq!(config.lake.roll.max_records, 1000);
    assert_eq!(config.kafka.topics.len(), 2);
    assert_eq!(config.kafka.properties.get("bootstrap.servers"), Some("other:9092"));
    assert_eq!(config.kafka.properties.get("ssl.ca.location"), Some("k"));
    assert!(matches!(config.source.start, Start::Offsets(_)));
    assert_eq!(config.lake.url.local_path(), Some(Path::new("/${x}")));
    let list = parse_with(LEAST, &[("LANDFALL__KAFKA__TOPICS", "[\"a\", \"/x{1,2}/\"]")]).unwrap();
    assert_eq!(list.kafka.topics[1].to_string(), "/x{1,2}/");

    for (name, value, expected) in [
        ("LANDFALL__LAKE__URLS", "x", "LANDFALL__LAKE__URLS: it sets no known key; did you mean LANDFALL__LAKE__URL?"),
        ("LANDFALL__", "x", "LANDFALL__: it sets no known key"),
        (
            "LANDFALL__LIMITS__WORKERS",
            "many",
            "LANDFALL__LIMITS__WORKERS: limits.workers is \"many\"; expected a whole number",
        ),
        ("LANDFALL__KAFKA__TOPICS", "[\"a\"", "LANDFALL__KAFKA__TOPICS: kafka.topics is not a TOML value"),
        (
            "LANDFALL__KAFKA__PROPERTIES__ENABLE_AUTO_COMMIT",
            "true",
            "the property \"enable.auto.commit\" belongs to landfall",
        ),
    ] {
        let error = parse_with(LEAST, &[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with("environment variable ") && error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_program_is_held_to_the_same_rules() {
    let mut config = parse(LEAST).unwrap();
    config.validate().unwrap();
    config.lake.roll.max_records = 0;
    config.kafka.properties.insert("auto.offset.reset", "earliest");
    let error = config.validate().unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
    assert_eq!(Config::default().validate().unwrap_err().problems.len(), 3);
}

/// Every TOML example of the documents means what this release can do. A part of a file may lack what is needed.
#[test]
fn every_example_of_the_documents_parses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut examples = 0;
    for path in docs.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for fence in text.split("```toml\n").skip(1) {
            let example = fence.split("```").next().unwrap();
            if example.contains("[dependencies]") {
                continue;
            }
            examples += 1;
            let problems = parse(example).err().map(|error| error.problems).unwrap_or_default();
            // Nor has this machine the secrets that an example takes from a file.
            let right = [ProblemKind::Missing, ProblemKind::Unset];
            let wrong: Vec<_> = problems.iter().filter(|problem| !right.contains(&problem.kind)).collect();
            assert!(wrong.is_empty(), "{}: {wrong:#?}\n{example}", path.display());
        }
    }
    assert!(examples >= 2, "{examples}");
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}", key in "[A-Z_]{0,20}", value in "\\PC{0,40}") {
        let _ = parse_with(&text, &[(&format!("LANDFALL__{key}"), &value)]);
    }

    #[test]
    fn a_damaged_example_is_answered(at in 0usize..8000, cut in 0usize..40, put in "[\\[\\]{}=\"'#${}\\n.a-z0-9\\\\-]{0,12}") {
        let example = reference::example() + "[lake.options]\n[source.start]\norders = { 0 = 1 }\n";
        let boundary = |mut index: usize| { index = index.min(example.len()); while !example.is_char_boundary(index) { index -= 1; } index };
        let (from, until) = (boundary(at), boundary(at + cut));
        let text = format!("{}{put}{}", &example[..from], &example[until..]);
        let _ = parse(&text);
    }

    #[test]
    fn any_value_of_any_setting_is_answered(index in 0usize..30, value in "(\\PC{0,30}|\"\\PC{0,30}\"|-?[0-9]{1,25}|\\[\\PC{0,20}\\]|\\{\\PC{0,20}\\})") {
        let all: Vec<_> = keys::keys().collect();
        let key = all[index % all.len()];
        let _ = parse(&format!("{} = {value}\n", key.path));
        let _ = parse_with(LEAST, &[(&key.variable(), &value)]);
    }
}

#[test]
fn properties_that_librdkafka_refuses_are_told_with_their_lines() {
    let text =
        LEAST.replace("b:9092\"\n", "b:9092\"\n\"sasl.mechanisn\" = \"PLAIN\"\n\"fetch.min.bytes\" = \"many\"\n");
    let told = error(&text);
    assert!(told.contains("landfall.toml:6:1: \"sasl.mechanisn\" is not a property of librdkafka"), "{told}");
    assert!(told.contains("did you mean \"sasl.mechanism\"?"), "{told}");
    assert!(told.contains("landfall.toml:7:"), "{told}");
}

#[test]
fn a_refused_secret_is_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    std::fs::write(&file, "hunter2").unwrap();
    let line = format!("b:9092\"\n\"security.protocol\" = \"${{file:{}}}\"\n", file.display());
    let told = error(&LEAST.replace("b:9092\"\n", &line));
    assert!(told.contains("kafka.properties.security.protocol") && !told.contains("hunter2"), "{told}");
}

#[cfg(feature = "s3")]
#[test]
fn a_lake_in_a_bucket_has_the_options_of_its_store() {
    let bucket = LEAST.replace("file:///data/lake", "s3://lake/orders/");
    let parse_s3 = |lines: &str| parse(&format!("{bucket}{lines}\n"));
    let config = parse_s3("[lake.options]\naws_endpoint = \"http://127.0.0.1:1\"\naws_allow_http = true").unwrap();
    assert_eq!(config.lake.url.to_string(), "s3://lake/orders");
    assert_eq!(config.lake.options.get("aws_allow_http"), Some("true"));
    let error = |lines: &str| parse_s3(lines).unwrap_err().to_string();
    let wrong = error("[lake.options]\naws_endpont = \"x\"\nunsigned_payloat = true");
    assert!(wrong.contains("did you mean \"aws_endpoint\"?"), "{wrong}");
    assert!(wrong.contains("did you mean \"unsigned_payload\"?"), "{wrong}");
    assert!(error("[lake.options]\naws_conditional_put = \"disabled\"").contains("exactly-once"));
    assert!(error("[lake.options]\naws_bucket = \"b\"").contains("lake.url"));
    assert!(error("[lake.options]\nallow_http = \"perhaps\"").contains("perhaps"));
    let secret = error("[lake.options]\naws_secret_access_key = \"hunter2\"\naws_allow_http = \"x\"");
    assert!(!secret.contains("hunter2"), "{secret}");
    // A burst has room: the size of a batch is at most half of what one put may be.
    assert!(error("[lake.roll]\nmax_size = \"300MiB\"").contains("lake.max_put"));
    assert!(parse_s3("max_put = \"1GiB\"\n[lake.roll]\nmax_size = \"300MiB\"").is_ok());
    assert!(error("max_put = \"6GiB\"").contains("5GiB"));
    assert!(parse(&with("[lake.roll]\nmax_size = \"1GiB\"")).is_ok());
    for url in ["s3://", "s3:///x", "s3://b//x"] {
        assert!(parse(&LEAST.replace("file:///data/lake", url)).unwrap_err().to_string().contains("lake.url"));
    }
}
