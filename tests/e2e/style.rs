//! House rules that a machine can check.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rig::failpoints::{product, sources};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything that git tracks (or would, where a file is new), as paths from the root; without git, what
/// stands in the folders of the repository.
fn tracked() -> Vec<PathBuf> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(root()).output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8(output.stdout).expect("names");
            text.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect()
        }
        _ => walk(Path::new("")),
    }
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root().join(directory)).expect("a directory").flatten() {
        let path = directory.join(entry.file_name());
        if path == Path::new("target") || path == Path::new(".git") {
            continue;
        }
        if root().join(&path).is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

fn rust_files() -> Vec<PathBuf> {
    tracked().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn is_test(path: &Path) -> bool {
    path.starts_with("tests") || path.to_string_lossy().ends_with("tests.rs") || path.iter().any(|part| part == "tests")
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |path: &PathBuf| !text(path).starts_with("//!");
    let found: Vec<String> = rust_files().into_iter().filter(silent).map(|path| path.display().to_string()).collect();
    none("these files do not open with //!", &found);
}

#[test]
fn files_stay_readable() {
    let found: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| (text(&path).lines().count(), path))
        .filter(|(lines, _)| *lines > 500)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    none("these files are longer than 500 lines", &found);
}

/// Each heavy dependency has one door: who else needs it goes through the room that owns it.
#[test]
fn heavy_dependencies_have_one_door() {
    let doors: [(&str, &[&str]); 7] = [
        ("rdkafka", &["src/kafka", "src/demo", "benches", "examples", "tests"]),
        ("sled", &["src/checkpoint/sled", "tests", "benches"]),
        ("landfall_sink_files", &["src/files.rs", "sinks/files", "tests", "benches", "examples"]),
        ("object_store", &["sinks/lake/src/object", "tests"]),
        ("openssl", &["sinks/lake/src/object", "sinks/lake/tests", "tests"]),
        ("parquet", &["sinks/files", "tests", "benches", "examples"]),
        (
            "rustix",
            &[
                "sinks/lake",
                "src/checkpoint/sled",
                "src/checkpoint/lock.rs",
                "src/cli",
                "src/demo",
                "src/status",
                "src/main.rs",
                "src/wal/volume",
                "tests",
                "benches",
            ],
        ),
    ];
    let mut found = Vec::new();
    for path in rust_files() {
        let own = text(&path);
        let code = product(&own);
        let lines = || code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (name, rooms) in doors {
            let used = format!("{name}::");
            let underscored = format!("{name}_sys::");
            let uses = |line: &str| names_crate(line, &used) || names_crate(line, &underscored);
            if lines().any(uses) && !rooms.iter().any(|room| path.to_string_lossy().starts_with(room)) {
                found.push(format!("{} uses {name}, whose door is {}", path.display(), rooms[0]));
            }
        }
    }
    none("past the door", &found);
}

/// `rdkafka::x`, but not `kafka::rdkafka::x` or `super::sled::x`.
fn names_crate(line: &str, used: &str) -> bool {
    line.match_indices(used).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[test]
fn nothing_is_left_over() {
    // Put together here, so that this file does not find itself.
    let words = [["to", "do!("].concat(), ["un", "implemented!("].concat(), ["db", "g!("].concat()];
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let mut found = Vec::new();
    for path in rust_files() {
        for (number, line) in text(&path).lines().enumerate() {
            // A line of documentation may show what a reader has to fill in.
            let code = if line.trim_start().starts_with("//") { "" } else { line };
            let left = words.iter().any(|word| code.contains(word.as_str()));
            if left || marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    none("left over", &found);
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    let hosts = ["crates", "static.crates", "index.crates"].map(|name| [name, ".io/"].concat());
    let others = [
        ["repo.maven", ".apache.org"].concat(),
        ["repo1.maven", ".org"].concat(),
        ["deb.debian", ".org"].concat(),
        ["proxy.golang", ".org"].concat(),
        ["pypi", ".org"].concat(),
        ["registry.npmjs", ".org"].concat(),
        ["/wor", "k/"].concat(),
        ["/ho", "me/"].concat(),
        ["../sha", "red"].concat(),
    ];
    let mut found = Vec::new();
    for path in tracked() {
        // cargo writes the lock file, with the name of its registry.
        if path == Path::new("Cargo.lock") {
            continue;
        }
        for (number, line) in text(&path).lines().enumerate() {
            if hosts.iter().chain(&others).any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    none("machine paths or registries' hosts", &found);
}

#[test]
fn what_stands_behind_an_item_for_tests_is_looked_at() {
    let source = "use a;\n#[cfg(test)]\nuse b::{\n    c,\n};\n#[cfg(test)]\n#[path = \"x\"]\nmod t;\nstruct S {\n    \
                  #[cfg(test)]\n    hidden: u8,\n    seen: u8,\n}\n#[cfg(test)]\nfn f(\n    x: u8,\n) -> u8 {\n    {\n    }\n}\n\
                  fn last() {}\n";
    assert_eq!(product(source), "use a;\nstruct S {\n    seen: u8,\n}\nfn last() {}\n");
    let behind = sources().into_iter().filter(|path| {
        let text = std::fs::read_to_string(path).expect("a source");
        let code = product(&text);
        let first = text.split("#[cfg(test)]").next().unwrap_or_default();
        code.trim_end() != first.trim_end()
    });
    assert!(behind.count() > 0, "no source has anything behind such an item any more");
}

#[test]
fn the_sources_are_found_at_all() {
    assert!(sources().len() > 10, "{:?}", sources());
    assert!(rust_files().len() >= sources().len());
}
