//! The independent checker: the lake's tree on one side, the producers' journal on the other.
//!
//! It knows what the documents promise to readers, and none of the code that makes it so: names that can
//! be listed are whole files that never change, ranges of a directory never overlap, every row lies in its
//! file's range, and every acknowledged record is there once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::journal::{Entry, Fate, Journal};
use super::parquet_rows::{self, Contents};

/// What stands under a name, to see that it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    modified: SystemTime,
    length: u64,
    crc: u32,
}

/// A half-open range of offsets and the path of its file.
type Range = (i64, i64, PathBuf);

/// The numbers, and a sentence for each finding.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub files: usize,
    pub rows: usize,
    /// Acknowledged and committed, and not in the lake.
    pub lost: usize,
    /// The second and further copies of an offset.
    pub repeated: usize,
    /// Files that cannot be read whole.
    pub half: usize,
    /// Rows outside their file's range, out of order, or of another stream.
    pub outside: usize,
    /// Two files of one stream that claim the same offsets.
    pub overlaps: usize,
    /// Offsets between the files of a stream that no file claims.
    pub holes: usize,
    /// Files that readers can see and that are no files of a batch.
    pub stray: usize,
    /// Files that changed or vanished since the last look.
    pub changed: usize,
    /// Rows with other content than was acknowledged.
    pub altered: usize,
    /// Rows of aborted or open transactions.
    pub uncommitted: usize,
    /// Rows that nobody produced.
    pub invented: usize,
    /// File metadata that contradicts the name or the rows.
    pub mislabelled: usize,
    /// Recorded gaps, in offsets.
    pub gaps: i64,
    pub details: Vec<String>,
}

impl Findings {
    /// Nothing is wrong but, perhaps, that it is not finished: true at every moment of a run.
    pub fn sound(&self) -> bool {
        let wrong = [self.repeated, self.half, self.outside, self.overlaps, self.stray, self.changed];
        let content = [self.altered, self.uncommitted, self.invented, self.mislabelled];
        wrong.iter().chain(&content).all(|count| *count == 0)
    }

    /// Everything is there, once: true when a run has ended.
    pub fn clean(&self) -> bool {
        self.sound() && self.lost == 0 && self.holes == 0
    }

    pub fn assert_clean(&self, what: &str) {
        assert!(self.clean(), "{what}: {self}");
    }

    pub fn assert_sound(&self, what: &str) {
        assert!(self.sound(), "{what}: {self}");
    }

    /// While a producer goes on, a record can be in the lake before its acknowledgement is in the journal.
    pub fn assert_sound_while_producing(&self, what: &str) {
        Findings { invented: 0, ..self.clone() }.assert_sound(what);
    }

    fn note(&mut self, detail: impl FnOnce() -> String) {
        if self.details.len() < 20 {
            self.details.push(detail());
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { files, rows, lost, repeated, half, outside, overlaps, holes, .. } = self;
        let Findings { stray, changed, altered, uncommitted, invented, mislabelled, gaps, .. } = self;
        write!(
            f,
            "{rows} rows in {files} files: {lost} lost, {repeated} repeated, {half} half files, {outside} outside"
        )?;
        write!(f, ", {overlaps} overlaps, {holes} holes, {stray} stray, {changed} changed, {altered} altered")?;
        write!(f, ", {uncommitted} uncommitted, {invented} invented, {mislabelled} mislabelled, {gaps} in gaps")?;
        self.details.iter().try_for_each(|detail| write!(f, "\n  {detail}"))
    }
}

/// Looks at one lake, as often as one likes: each look also compares with the look before.
pub struct Check {
    root: PathBuf,
    seen: BTreeMap<PathBuf, Seen>,
    overlooked: Vec<PathBuf>,
}

impl Check {
    pub fn new(root: &Path) -> Check {
        Check { root: root.into(), seen: BTreeMap::new(), overlooked: Vec::new() }
    }

    pub fn look(&mut self, journal: &Journal) -> Findings {
        let mut findings = Findings::default();
        let mut ranges: BTreeMap<(String, i32), Vec<Range>> = BTreeMap::new();
        let mut rows: BTreeMap<(String, i32), BTreeMap<i64, Entry>> = BTreeMap::new();
        let mut gaps: BTreeMap<(String, i32), Vec<(i64, i64)>> = BTreeMap::new();
        for path in self.visible(&mut findings) {
            self.compare_with_last_look(&path, &mut findings);
            let Some((from, until)) = self.range_of(&path) else {
                findings.stray += 1;
                findings.note(|| format!("{}: no name of a batch", path.display()));
                continue;
            };
            findings.files += 1;
            // Also across layouts: a stream may have files in two directories.
            ranges.entry(stream_of(&path)).or_default().push((from, until, path.clone()));
            match parquet_rows::read(&self.root.join(&path)) {
                Err(error) => {
                    findings.half += 1;
                    findings.note(|| format!("{}: {error}", path.display()));
                }
                Ok(contents) => {
                    gaps.entry(stream_of(&path)).or_default().extend(labels(
                        &path,
                        from,
                        until,
                        &contents,
                        &mut findings,
                    ));
                    take_rows(&path, from, until, &contents, &mut rows, &mut findings);
                }
            }
        }
        self.vanished(&mut findings);
        ranges.into_values().for_each(|ranges| tiles(ranges, &mut findings));
        against_journal(&rows, &gaps, journal, &mut findings);
        findings
    }

    /// Every file that a reader who skips `_landfall` can list, as a path from the root.
    fn visible(&self, findings: &mut Findings) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            let Ok(entries) = std::fs::read_dir(self.root.join(&directory)) else { continue };
            for entry in entries {
                let entry = entry.expect("an entry");
                let path = directory.join(entry.file_name());
                if entry.file_type().expect("a type").is_dir() {
                    open.push(path);
                } else if path.starts_with("_landfall") {
                    self.hidden(&path, findings);
                } else if !self.overlooked.contains(&path) {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }

    /// A file that the test itself put there.
    pub fn overlook(&mut self, path: &Path) {
        self.overlooked.push(path.strip_prefix(&self.root).unwrap_or(path).to_owned());
    }

    /// What is not data never looks like data.
    fn hidden(&self, path: &Path, findings: &mut Findings) {
        if path.extension().is_some_and(|extension| extension == "parquet") {
            findings.stray += 1;
            findings.note(|| format!("{}: ends like data", path.display()));
        }
    }

    fn range_of(&self, path: &Path) -> Option<(i64, i64)> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".parquet")?;
        let stem = stem.strip_suffix(".snappy").unwrap_or(stem);
        let (from, until) = stem.split_once('-')?;
        let twenty = |text: &str| text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !twenty(from) || !twenty(until) || path.components().count() != 3 {
            return None;
        }
        let (from, until) = (from.parse().ok()?, until.parse().ok()?);
        (from < until).then_some((from, until))
    }

    fn compare_with_last_look(&mut self, path: &Path, findings: &mut Findings) {
        let Ok(bytes) = std::fs::read(self.root.join(path)) else { return };
        let modified = std::fs::metadata(self.root.join(path)).and_then(|metadata| metadata.modified());
        let modified = modified.expect("a time of modification");
        let now = Seen { modified, length: bytes.len() as u64, crc: crc32c::crc32c(&bytes) };
        match self.seen.get(path) {
            Some(before) if *before != now => {
                findings.changed += 1;
                findings.note(|| format!("{}: changed from {before:?} to {now:?}", path.display()));
            }
            Some(_) => {}
            None => drop(self.seen.insert(path.into(), now)),
        }
    }

    fn vanished(&self, findings: &mut Findings) {
        for path in self.seen.keys().filter(|path| !self.root.join(path).exists()) {
            findings.changed += 1;
            findings.note(|| format!("{}: vanished", path.display()));
        }
    }
}

/// `topic/partition/file` or `topic/p=partition/file`: the directories name the stream.
fn stream_of(path: &Path) -> (String, i32) {
    let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    (parts[0].clone(), parts[1].trim_start_matches("p=").parse().unwrap_or(-1))
}

/// Compares the file's metadata with its name and rows; gives back the recorded gaps.
fn labels(path: &Path, from: i64, until: i64, contents: &Contents, findings: &mut Findings) -> Vec<(i64, i64)> {
    let (topic, partition) = stream_of(path);
    let expected = [
        ("landfall.topic", topic),
        ("landfall.partition", partition.to_string()),
        ("landfall.from", from.to_string()),
        ("landfall.until", until.to_string()),
        ("landfall.rows", contents.rows.len().to_string()),
        ("landfall.isolation", "read_committed".into()),
    ];
    for (key, expected) in expected {
        let found = contents.metadata.get(key);
        if found != Some(&expected) {
            findings.mislabelled += 1;
            findings.note(|| format!("{}: {key} is {found:?}, not {expected}", path.display()));
        }
    }
    for key in ["landfall.version", "landfall.cluster", "landfall.topic_id", "landfall.checksum"] {
        if contents.metadata.get(key).is_none_or(String::is_empty) {
            findings.mislabelled += 1;
            findings.note(|| format!("{}: no {key}", path.display()));
        }
    }
    let text = contents.metadata.get("landfall.gaps").map_or("", String::as_str);
    let gaps: Vec<(i64, i64)> = serde_json::from_str(text).unwrap_or_else(|error| {
        findings.mislabelled += 1;
        findings.note(|| format!("{}: landfall.gaps is {text:?}: {error}", path.display()));
        Vec::new()
    });
    for (low, high) in &gaps {
        findings.gaps += high - low;
        if low >= high || *low < from || *high > until {
            findings.mislabelled += 1;
            findings.note(|| format!("{}: the gap [{low}, {high}) lies outside", path.display()));
        }
        for row in contents.rows.iter().filter(|row| *low <= row.offset && row.offset < *high) {
            findings.mislabelled += 1;
            findings.note(|| format!("{}: row {} lies in the gap [{low}, {high})", path.display(), row.offset));
        }
    }
    gaps
}

fn take_rows(
    path: &Path,
    from: i64,
    until: i64,
    contents: &Contents,
    rows: &mut BTreeMap<(String, i32), BTreeMap<i64, Entry>>,
    findings: &mut Findings,
) {
    let (topic, partition) = stream_of(path);
    let mut expected = from;
    for row in &contents.rows {
        findings.rows += 1;
        if row.topic != topic || row.partition != partition || row.offset < expected || row.offset >= until {
            findings.outside += 1;
            findings
                .note(|| format!("{}: a row {}/{} offset {}", path.display(), row.topic, row.partition, row.offset));
        }
        expected = expected.max(row.offset + 1);
        let entry = Entry {
            content: row.content,
            key: row.key,
            timestamp: row.timestamp.unwrap_or(i64::MIN),
            fate: Fate::Committed,
        };
        let stream = rows.entry((row.topic.clone(), row.partition)).or_default();
        if stream.insert(row.offset, entry).is_some() {
            findings.repeated += 1;
            findings.note(|| format!("{}: offset {} is there twice", path.display(), row.offset));
        }
    }
}

/// The ranges of a stream neither overlap nor leave a hole between them.
fn tiles(mut ranges: Vec<Range>, findings: &mut Findings) {
    ranges.sort();
    let mut reached = ranges[0].0;
    for (from, until, path) in ranges {
        if from < reached {
            findings.overlaps += 1;
            findings.note(|| format!("{}: begins below {reached}, where another file ends", path.display()));
        }
        if from > reached {
            findings.holes += 1;
            findings.note(|| format!("{}: nothing claims [{reached}, {from})", path.display()));
        }
        reached = reached.max(until);
    }
}

fn against_journal(
    rows: &BTreeMap<(String, i32), BTreeMap<i64, Entry>>,
    gaps: &BTreeMap<(String, i32), Vec<(i64, i64)>>,
    journal: &Journal,
    findings: &mut Findings,
) {
    let known = journal.snapshot();
    let none = BTreeMap::new();
    for (stream, landed) in rows {
        let entries = known.get(stream).unwrap_or(&none);
        for (offset, row) in landed {
            let place = || format!("{}/{} offset {offset}", stream.0, stream.1);
            match entries.get(offset) {
                None => {
                    findings.invented += 1;
                    findings.note(|| format!("{}: nobody produced it", place()));
                }
                Some(entry) if entry.fate == Fate::Hidden => {
                    findings.uncommitted += 1;
                    findings.note(|| format!("{}: its transaction was never committed", place()));
                }
                Some(entry) if (entry.content, entry.timestamp) != (row.content, row.timestamp) => {
                    findings.altered += 1;
                    findings.note(|| format!("{}: {row:?} is not what was acknowledged, {entry:?}", place()));
                }
                Some(_) => {}
            }
        }
    }
    // What is only missing is named last.
    for (stream, entries) in &known {
        let landed = rows.get(stream).unwrap_or(&none);
        for (offset, entry) in entries.iter().filter(|(_, entry)| entry.fate == Fate::Committed) {
            if !landed.contains_key(offset) {
                findings.lost += 1;
                let in_gap = gaps.get(stream).into_iter().flatten().any(|(low, high)| (low..high).contains(&offset));
                let why = if in_gap { " (recorded as a gap)" } else { "" };
                findings.note(|| format!("{}/{} offset {offset} is lost{why}: {entry:?}", stream.0, stream.1));
            }
        }
    }
}
