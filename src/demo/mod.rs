//! `landfall demo`: a Kafka in this process, a producer of events, and a `landfall run` in a child process
//! that is killed with SIGKILL every few seconds and started again. At the end the producer's own journal
//! says what was lost and what was repeated.

mod child;
mod events;
mod journal;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::ambient;
use crate::config::LakeUrl;
use crate::files;
use crate::kafka::playground::{KEPT_PER_PARTITION, Outgoing, Playground, PlaygroundProducer};
use child::Child;
pub use child::{CLEAN, DIE_WITH_PARENT};
use journal::Journal;

pub use journal::Verdict;

#[derive(Debug, Clone)]
pub struct DemoOptions {
    pub dir: PathBuf,
    pub kill_every: Duration,
    /// `None`: until Ctrl-C.
    pub lasts: Option<Duration>,
    /// Events a second.
    pub rate: u32,
}

/// How it stands, told about twice a second.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    pub elapsed: Duration,
    pub produced: u64,
    /// Offsets that stand in files, by their names.
    pub landed: u64,
    pub kills: u32,
    pub files: u64,
    /// Files that appeared since the last moment.
    pub new_files: Vec<String>,
    /// What just happened to the child.
    pub note: Option<String>,
}

/// What was counted at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoResult {
    pub kills: u32,
    /// Records that the broker acknowledged to the producer.
    pub produced: u64,
    pub landed: u64,
    pub lost: u64,
    pub repeated: u64,
    pub files: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// How `landfall verify` ended: [`CLEAN`], or what it said.
    pub verify: String,
    /// The lake's URL.
    pub lake: String,
    /// To paste into DuckDB.
    pub query: String,
}

/// Marks a folder as one that a demo made and may empty.
const MARKER: &str = ".landfall-demo";
const TICK: Duration = Duration::from_millis(500);
/// How much of a partition may wait to be landed: what the broker keeps, with room to spare.
const MOST_WAITING: u64 = KEPT_PER_PARTITION / 2 / 400;

pub fn demo(options: &DemoOptions, stop: &AtomicBool, mut tell: impl FnMut(&Moment)) -> anyhow::Result<DemoResult> {
    let dir = prepare(&options.dir)?;
    let broker = Playground::start()?;
    for (topic, partitions, _) in events::TOPICS {
        broker.create_topic(topic, partitions)?;
    }
    let config = child::write_config(&dir, &broker.bootstrap_servers())?;
    let journal = Arc::new(Journal::default());
    let landed = Arc::new(AtomicU64::new(0));
    let shop = Shop::open(&broker, journal.clone(), landed.clone(), options.rate)?;

    let began = Instant::now();
    let mut child = Child::start(&config)?;
    let mut next_kill = began + ambient::jitter(options.kill_every);
    let mut moment = Moment::default();
    let (lake, known) = (dir.join("lake"), HashSet::new());
    let mut show = Show { lake, known, landed: &landed, journal: &journal, began, tell: &mut tell };
    let over = |elapsed: Duration| stop.load(Ordering::Relaxed) || options.lasts.is_some_and(|lasts| elapsed >= lasts);
    while !over(began.elapsed()) {
        std::thread::sleep(TICK);
        if Instant::now() >= next_kill {
            child.kill()?;
            moment.kills += 1;
            moment.note = Some(format!("kill -9 #{}, and started again", moment.kills));
            child = Child::start(&config)?;
            next_kill = Instant::now() + ambient::jitter(options.kill_every);
        } else if let Some(ended) = child.ended()? {
            bail!("`landfall run` ended by itself ({ended}); see {}", child::log_path(&config).display());
        }
        show.moment(&mut moment);
    }
    shop.close()?;
    moment.note = Some("the producer has stopped; draining".into());
    show.moment(&mut moment);
    child.terminate()?;
    child::drain(&config)?;
    show.moment(&mut moment);
    let result = settle(&dir, &config, &journal, moment.kills, began.elapsed())?;
    drop(broker);
    Ok(result)
}

/// Creates `topic` on an in-process broker and fills it with events: something to land, for the examples.
pub fn fill(broker: &Playground, topic: &str, partitions: i32, records: u64) -> anyhow::Result<()> {
    broker.create_topic(topic, partitions)?;
    let producer = PlaygroundProducer::connect(&broker.bootstrap_servers(), Arc::new(Journal::default()))?;
    let mut rng = StdRng::seed_from_u64(7);
    for sequence in 0..records {
        let event = events::next(&mut rng, sequence, ambient::now_ms());
        let record = Outgoing {
            topic,
            partition: (sequence % u64::try_from(partitions.max(1))?) as i32,
            timestamp_ms: ambient::now_ms(),
            key: event.key.as_deref().map(str::as_bytes),
            value: event.value.as_deref().map(str::as_bytes),
            headers: &[],
        };
        while !producer.send(&record, sequence) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(producer.flush(Duration::from_secs(30))?)
}

/// An empty folder of the demo's own. A broker's cluster id is new at every start, so an old lake would be refused.
fn prepare(dir: &Path) -> anyhow::Result<PathBuf> {
    if dir.join(MARKER).exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    if dir.read_dir().is_ok_and(|mut inside| inside.next().is_some()) {
        bail!("{} is not empty and was not made by a demo: give another --dir", dir.display());
    }
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    std::fs::write(dir.join(MARKER), "made by `landfall demo`, which empties this folder when it starts\n")
        .with_context(|| format!("writing in {}", dir.display()))?;
    Ok(dir.canonicalize()?)
}

/// The producer, on a thread of its own.
struct Shop {
    open: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Shop {
    /// `landed` is told by whoever looks at the lake.
    fn open(broker: &Playground, journal: Arc<Journal>, landed: Arc<AtomicU64>, rate: u32) -> anyhow::Result<Shop> {
        let producer = PlaygroundProducer::connect(&broker.bootstrap_servers(), journal.clone())?;
        let open = Arc::new(AtomicBool::new(true));
        let still_open = open.clone();
        let work = move || sell(&producer, &journal, &landed, rate, &still_open);
        let thread = std::thread::Builder::new().name("producer".into()).spawn(work)?;
        Ok(Shop { open, thread })
    }

    /// Stops producing; returns when everything is acknowledged.
    fn close(self) -> anyhow::Result<()> {
        self.open.store(false, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| bail!("it panicked")).context("the producer")
    }
}

fn sell(
    producer: &PlaygroundProducer<Journal>,
    journal: &Journal,
    landed: &AtomicU64,
    rate: u32,
    open: &AtomicBool,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(u64::from(std::process::id()));
    let began = Instant::now();
    let mut sequence = 0u64;
    while open.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        // The broker forgets what is not landed in time: wait for the lake instead of outrunning it.
        let waiting = journal.produced().saturating_sub(landed.load(Ordering::Relaxed));
        while sequence < due && waiting < MOST_WAITING && open.load(Ordering::Relaxed) {
            let event = events::next(&mut rng, sequence, ambient::now_ms());
            let headers: Vec<(&str, Option<&[u8]>)> =
                event.headers.iter().map(|(key, value)| (*key, value.as_deref().map(str::as_bytes))).collect();
            let record = Outgoing {
                topic: event.topic,
                partition: event.partition,
                timestamp_ms: ambient::now_ms(),
                key: event.key.as_deref().map(str::as_bytes),
                value: event.value.as_deref().map(str::as_bytes),
                headers: &headers,
            };
            while !producer.send(&record, sequence) {
                std::thread::sleep(Duration::from_millis(10));
            }
            sequence += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    producer.flush(Duration::from_secs(30))?;
    Ok(())
}

/// Offsets and files that stand in the lake, by their names alone.
fn landed_offsets(lake: &Path) -> (u64, Vec<String>) {
    let mut offsets = 0;
    let mut names = Vec::new();
    for topic in events::TOPICS.map(|(topic, _, _)| lake.join(topic)) {
        for partition in topic.read_dir().into_iter().flatten().flatten() {
            for file in partition.path().read_dir().into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                let bounds = name.strip_suffix(".parquet").and_then(|stem| stem.split_once('-'));
                let Some((Ok(from), Ok(until))) = bounds.map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>())) else {
                    continue;
                };
                offsets += until.saturating_sub(from);
                let path = file.path();
                names.push(path.strip_prefix(lake).unwrap_or(&path).display().to_string());
            }
        }
    }
    names.sort_unstable();
    (offsets, names)
}

struct Show<'a, T> {
    lake: PathBuf,
    /// The files that were told of.
    known: HashSet<String>,
    landed: &'a AtomicU64,
    journal: &'a Journal,
    began: Instant,
    tell: &'a mut T,
}

impl<T: FnMut(&Moment)> Show<'_, T> {
    fn moment(&mut self, moment: &mut Moment) {
        let elapsed = self.began.elapsed();
        let (landed, files) = landed_offsets(&self.lake);
        self.landed.store(landed, Ordering::Relaxed);
        let produced = self.journal.produced();
        (moment.produced, moment.landed, moment.elapsed) = (produced, landed, elapsed);
        moment.files = files.len() as u64;
        moment.new_files = self.fresh(files);
        (self.tell)(moment);
        moment.note = None;
    }

    /// What was not there before, in order of time.
    fn fresh(&mut self, files: Vec<String>) -> Vec<String> {
        let mut fresh: Vec<String> = files.into_iter().filter(|file| self.known.insert(file.clone())).collect();
        fresh.sort_by_cached_key(|name| std::fs::metadata(self.lake.join(name)).and_then(|meta| meta.modified()).ok());
        fresh
    }
}

/// A query over every file of the lake. In a pattern of DuckDB `*`, `?` and `[` stand for themselves in brackets, and
/// in a text of SQL a quote is doubled.
fn query(lake: &Path) -> String {
    let mut place = String::new();
    for character in lake.to_string_lossy().chars() {
        match character {
            '*' | '?' | '[' => place.extend(['[', character, ']']),
            '\'' => place.push_str("''"),
            other => place.push(other),
        }
    }
    format!(
        "SELECT topic, partition, count(*) AS records, min(\"offset\") AS first, max(\"offset\") AS last FROM \
         read_parquet('{place}/*/*/*.parquet') GROUP BY ALL ORDER BY ALL;"
    )
}

fn settle(dir: &Path, config: &Path, journal: &Journal, kills: u32, elapsed: Duration) -> anyhow::Result<DemoResult> {
    let verify = child::verify(config)?;
    let lake = dir.join("lake");
    let (_, names) = landed_offsets(&lake);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = Vec::new();
    let mut bytes = 0;
    for name in &names {
        let mut parts = name.split('/');
        let (Some(topic), Some(partition)) = (parts.next(), parts.next().and_then(|text| text.parse::<i32>().ok()))
        else {
            continue;
        };
        bytes += std::fs::metadata(lake.join(name))?.len();
        let key = (topic.to_owned(), partition);
        let offsets = runtime.block_on(files::offsets(&lake, name))?;
        rows.extend(offsets.into_iter().map(|offset| (key.clone(), offset)));
    }
    let verdict = journal.judge(rows.into_iter());
    if let Some(failure) = journal.failures().first() {
        bail!("the producer could not deliver a record: {failure}");
    }
    Ok(DemoResult {
        kills,
        produced: verdict.produced,
        landed: verdict.landed,
        lost: verdict.lost,
        repeated: verdict.repeated + verdict.unknown,
        files: names.len() as u64,
        bytes,
        seconds: elapsed.as_secs_f64(),
        verify,
        lake: LakeUrl::from_path(&lake).to_string(),
        query: query(&lake),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_can_be_pasted_whatever_the_folder_is_called() {
        assert!(query(Path::new("/tmp/o'br")).contains("read_parquet('/tmp/o''br/*/*/*.parquet')"));
        assert!(query(Path::new("/a[1]?")).contains("read_parquet('/a[[]1][?]/*/*/*.parquet')"));
    }
}
