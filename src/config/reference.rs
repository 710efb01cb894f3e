//! `docs/configuration.md` and `landfall.example.toml`, made from the list of keys.

use std::fmt::Write;

use super::keys::{Key, Need, keys};
use super::settings::Config;

/// What a section is for, in the order of the reference.
const SECTIONS: [(&str, &str); 9] = [
    ("kafka", "Which topics, and how to reach Kafka."),
    ("source", "How Kafka is read."),
    ("checkpoint", "Where landfall remembers what it planned and landed."),
    ("lake", "Where the files go, and how they are named."),
    ("lake.roll", "When a batch, and so a file, ends: whichever comes first."),
    ("lake.parquet", "How Parquet files are written. May be changed at any time."),
    ("decode", "What becomes of the values."),
    ("limits", "What landfall may use."),
    ("receiver", ""),
];

const HEAD: &str = r#"# Configuration

<!-- Made from src/config/keys/: `LANDFALL_BLESS=1 cargo test -p landfall --lib config::reference` writes it anew. -->

landfall reads one TOML file, `landfall.toml` unless a command names another or `LANDFALL_CONFIG` does. The least it needs:

```toml
[kafka]
topics = ["orders"]

[kafka.properties]
"bootstrap.servers" = "localhost:9092"

[lake]
url = "file:///data/lake"
```

`landfall check landfall.toml` reads it, and tries what it names. A key that is not known, a value of the wrong type or a variable that is not set ends the command with exit code 78 and says the file, the line, the column and the nearest known key; all problems are told at once. `landfall.example.toml` shows every key with its default.

## Values

* **Sizes**: `"512KiB"`, `"128MiB"`, `"1GiB"`, `"1TiB"` (powers of 1024), `"1kB"`, `"1MB"`, `"1GB"`, `"1TB"` (powers of 1000), or a number of bytes.
* **Durations**: `"500ms"`, `"60s"`, `"5m"`, `"1h 30m"`, `"1d"`. The unit is never left out.
* **Paths** that are relative start at the folder of the configuration file.
* **Put in from outside**: in any text `${VAR}` stands for an environment variable, `${VAR:-default}` for a variable with a default, and `${file:/run/secrets/x}` for the content of a file without its last line break. A variable that is not set and has no default is an error. A plain `${` is written `$${`.
* **Overrides**: an environment variable `LANDFALL__SECTION__KEY` replaces a key of the file: `LANDFALL__LAKE__ROLL__MAX_AGE=5m`, `LANDFALL__KAFKA__TOPICS=orders,payments` (or a list in TOML), `LANDFALL__KAFKA__PROPERTIES__BOOTSTRAP_SERVERS=b1:9092` (one underscore for each dot of the property). Nothing is put into them. A variable that sets no known key is an error.
* **Secrets** are never shown: not in messages, not in logs. Those are the values of properties whose names hold `password`, `secret`, `token`, `key`, `credential` and the like, and everything that came from `${file:…}`.

For Kafka with SASL over TLS, the password in a file:

```toml
[kafka]
topics = ["orders", "/payments-.*/"]

[kafka.properties]
"bootstrap.servers" = "${BROKERS:-b1:9093,b2:9093}"
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "${KAFKA_USER:-landfall}"
"sasl.password" = "${KAFKA_PASSWORD:-}"          # or "${file:/run/secrets/kafka}"
"ssl.ca.location" = "/etc/ssl/certs/ca-certificates.crt"

[source]
start = { orders = { 0 = 100, 1 = 2500 } }       # only where no checkpoint exists

[lake]
url = "file:///data/lake"
path = "topic={topic}/p={partition}"

[lake.roll]
max_age = "5m"
max_size = "256MiB"
```
"#;

/// The configuration reference.
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut out = String::from(HEAD);
    for (section, about) in SECTIONS.iter().filter(|(_, about)| !about.is_empty()) {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n## `[{section}]`\n\n{about}\n");
        for key in keys().filter(|key| key.section() == *section && key.need != Need::Later) {
            describe(&mut out, key, &defaults);
        }
    }
    out.push_str("\n## Not in this release\n\nThese keys are known and refused (78), so that a file never means less than it says.\n\n");
    out.push_str("| key | what it will be |\n|---|---|\n");
    for key in keys().filter(|key| key.need == Need::Later) {
        let _ = writeln!(out, "| `{}` | {} |", key.path, key.about);
    }
    out
}

fn describe(out: &mut String, key: &Key, defaults: &Config) {
    let _ = write!(out, "\n### `{}`\n\n{}\n\n", key.path, key.about);
    let _ = writeln!(out, "* takes: {}", key.takes);
    match key.need {
        Need::Required => {
            let _ = writeln!(out, "* needed; for example `{}`", key.example);
        }
        _ => {
            let _ = writeln!(out, "* default: `{}`", (key.show)(defaults));
        }
    }
    let _ = writeln!(out, "* variable: `{}`", key.variable());
}

/// A file with every key of this release: the needed ones with an example, the others as comments with their default.
pub fn example() -> String {
    let defaults = Config::default();
    let mut out = String::from("# Every setting of landfall. \"#name = value\" is not set, and shows the default.\n");
    out.push_str("# docs/configuration.md says more about each.\n");
    for (section, about) in SECTIONS.iter().filter(|(_, about)| !about.is_empty()) {
        let _ = write!(out, "\n## {about}\n[{section}]\n");
        let (open, plain): (Vec<&Key>, Vec<&Key>) =
            keys().filter(|key| key.section() == *section && key.need != Need::Later).partition(|key| key.open);
        for (index, key) in plain.into_iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            comment(&mut out, key.about);
            let _ = match key.need {
                Need::Required => writeln!(out, "{} = {}", key.name(), key.example),
                _ => writeln!(out, "#{} = {}", key.name(), (key.show)(&defaults)),
            };
        }
        for key in open.into_iter().filter(|key| key.need == Need::Required) {
            out.push('\n');
            comment(&mut out, key.about);
            let inside = key.example.trim_start_matches("{ ").trim_end_matches(" }");
            let _ = writeln!(out, "[{}]\n{inside}", key.path);
        }
    }
    out
}

/// Wraps a text into comment lines. A space keeps it apart from settings that are commented out.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() > 110 {
            let _ = writeln!(out, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Env;

    /// The file in the repository, which `LANDFALL_BLESS=1` writes anew.
    fn up_to_date(name: &str, made: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if std::env::var_os("LANDFALL_BLESS").is_some() {
            std::fs::write(&path, made).unwrap();
        }
        let stands = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stands == made, "{name} is out of date: run the tests once with LANDFALL_BLESS=1");
    }

    #[test]
    fn the_reference_is_up_to_date() {
        up_to_date("docs/configuration.md", &markdown());
    }

    #[test]
    fn the_example_is_up_to_date() {
        up_to_date("landfall.example.toml", &example());
    }

    #[test]
    fn every_key_of_this_release_is_described_once() {
        let markdown = markdown();
        for key in keys() {
            let heading = format!("\n### `{}`\n", key.path);
            let times = markdown.matches(&heading).count();
            assert_eq!(times, usize::from(key.need != Need::Later), "{}", key.path);
        }
    }

    #[test]
    fn the_example_parses_as_it_is_and_with_every_comment_taken_away() {
        let parse = |text: &str| Config::parse(text, "example", Path::new("/etc"), &Env::default());
        let as_is = parse(&example()).unwrap();
        let every: String = example()
            .lines()
            .map(|line| {
                line.strip_prefix("#")
                    .filter(|rest| !rest.starts_with(' ') && rest.contains(" = "))
                    .unwrap_or(line)
                    .to_string()
                    + "\n"
            })
            .collect();
        assert_ne!(every, example());
        assert_eq!(parse(&every).unwrap(), as_is, "a default in the example is not the default");
    }
}
