//! The command line as a whole: every help text builds, every document's shape is the real one.

use std::path::Path;

use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn every_help_text_builds_and_has_examples() {
    let mut command = Cli::command();
    command.build();
    command.clone().debug_assert();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_string()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        let sub = command.find_subcommand_mut(name).unwrap();
        let long = sub.render_long_help().to_string();
        let short = sub.render_help().to_string();
        for help in [&long, &short] {
            assert!(help.contains("Examples:"), "{name}: {help}");
            assert!(help.contains("--output"), "{name}: {help}");
        }
    }
    let help = command.render_long_help().to_string();
    for exit in [Exit::Damage, Exit::Unreachable, Exit::Owned, Exit::Io, Exit::Config] {
        assert!(help.contains(&format!("\n  {}  ", exit.code())), "{help}");
    }
}

#[test]
fn commands_are_read_as_documented() {
    let Command::Run(run) = parse("landfall run --once my.toml --output json --log debug").unwrap().command else {
        panic!()
    };
    assert!(run.once && run.config.config == Path::new("my.toml"));
    let Command::Resolve(resolve) =
        parse("landfall resolve l.toml --stream t/3 --range 100-200 --as truncated").unwrap().command
    else {
        panic!()
    };
    assert_eq!((resolve.stream.partition, resolve.range.until), (3, 200));
    let Command::Rebuild(rebuild) = parse("landfall rebuild --take-over --holes removed --yes").unwrap().command else {
        panic!()
    };
    assert!(rebuild.take_over && rebuild.yes && rebuild.holes == rebuild::Holes::Removed);
    let Command::Demo(demo) = parse("landfall demo --for 30s --kill-every 2s --dir x").unwrap().command else {
        panic!()
    };
    assert_eq!((demo.duration.unwrap().as_secs(), demo.kill_every.as_secs()), (30, 2));
    for line in [
        "landfall check --probe l.toml",
        "landfall plan l.toml",
        "landfall status file:///data/lake",
        "landfall verify --kafka l.toml",
        "landfall offsets l.toml",
        "landfall migrate l.toml --to lake --yes",
        "landfall plan --price 0.005 l.toml",
        "landfall completions bash",
        "landfall wal ls ./wal --output json",
        "landfall wal cat ./wal --topic t --partition 3 --from 5 --until 9",
        "landfall wal check ./wal",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for line in [
        "landfall",
        "landfall nonsense",
        "landfall run a b",
        "landfall run --output xml",
        "landfall resolve l.toml --stream t --range 1-2 --as gap",
        "landfall resolve l.toml --stream t/1 --range 2-1 --as gap",
        "landfall demo --for ever",
        "landfall land x",
        "landfall migrate x",
        "landfall wal",
        "landfall wal check",
        "landfall migrate x --to sled",
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.use_stderr(), "{line}");
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
    }
    assert!(!parse("landfall --help").unwrap_err().use_stderr());
    assert!(!parse("landfall run --version").unwrap_err().use_stderr());
}

#[test]
fn completions_build_for_every_shell() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "landfall", &mut script);
        assert!(String::from_utf8(script).unwrap().contains("take-over"), "{shell}");
    }
}

/// The part of a document below a heading.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &document[start + 4..];
    rest.split("\n## ").next().unwrap()
}

fn documented(document: &str, command: &str, sample: &impl Render) {
    let section = section(document, &format!("landfall {command}"));
    let example = section.split("```json\n").nth(1).unwrap_or_else(|| panic!("{command} shows no JSON"));
    let example: serde_json::Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
    assert_eq!(example, serde_json::to_value(sample).unwrap(), "docs/cli.md, {command}");
    assert!(sample.text().ends_with('\n'));
}

#[test]
fn the_documents_show_the_real_shapes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let document = std::fs::read_to_string(path).unwrap();
    documented(&document, "demo", &demo::sample());
    documented(&document, "run", &run::sample());
    documented(&document, "check", &check::sample());
    documented(&document, "plan", &plan::sample());
    documented(&document, "status", &status::sample());
    documented(&document, "verify", &verify::sample());
    documented(&document, "rebuild", &rebuild::sample());
    documented(&document, "migrate", &migrate::sample());
    documented(&document, "offsets", &offsets::sample());
    documented(&document, "resolve", &resolve::sample());
    documented(&document, "wal ls", &wal::ls_sample());
    documented(&document, "wal check", &wal::check_sample());
    section(&document, "landfall wal cat");
    section(&document, "landfall completions");
    for exit in
        [Exit::Done, Exit::Failure, Exit::Usage, Exit::Damage, Exit::Unreachable, Exit::Owned, Exit::Io, Exit::Config]
    {
        let row = format!("| {} | `{}` |", exit.code(), exit.word());
        assert!(document.contains(&row), "docs/cli.md does not hold {row:?}");
    }
}
