//! `landfall demo`: a Kafka in this process, a producer of events, and a `landfall run` in a child process
//! that is killed with SIGKILL every few seconds and started again. At the end the producer's own journal
//! says what was lost and what was repeated.

mod child;
mod events;
mod journal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::ambient;
use crate::files;
use crate::kafka::playground::{KEPT_PER_PARTITION, Outgoing, Playground, PlaygroundProducer};
use child::Child;
pub use child::DIE_WITH_PARENT;
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
#[derive(Debug, Clone)]
pub struct DemoResult {
    pub kills: u32,
    pub produced: u64,
    pub landed: u64,
    pub lost: u64,
    pub repeated: u64,
    pub files: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub verify: String,
    pub lake: String,
    pub query: String,
}

/// Marks a folder as one that a demo made and may empty.
const MARKER: &str = ".landfall-demo";
const TICK: Duration = Duration::from_millis(500);
/// How much of a partition may wait to be landed: what the broker keeps, with room to spare.
const MOST_WAITING: i64 = (KEPT_PER_PARTITION / 2 / 400) as i64;

pub fn demo(options: &DemoOptions, stop: &AtomicBool, mut tell: impl FnMut(&Moment)) -> anyhow::Result<DemoResult> {
    let dir = prepare(&options.dir)?;
    let broker = Playground::start()?;
    for (topic, partitions, _) in events::TOPICS {
        broker.create_topic(topic, partitions)?;
    }
    let config = child::write_config(&dir, &broker.bootstrap_servers())?;
    let journal = Arc::new(Journal::default());
    let shop = Shop::open(&broker, journal.clone(), dir.join("lake"), options.rate)?;

    let began = Instant::now();
    let mut child = Child::start(&config)?;
    let mut next_kill = began + ambient::jitter(options.kill_every);
    let mut moment = Moment::default();
    let mut show = Show { shop: &shop, journal: &journal, began, tell: &mut tell };
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
    std::fs::write(dir.join(MARKER), "made by `landfall demo`, which empties this folder when it starts\n")?;
    Ok(dir.canonicalize()?)
}

/// The producer, on a thread of its own.
struct Shop {
    open: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
    lake: PathBuf,
}

impl Shop {
    fn open(broker: &Playground, journal: Arc<Journal>, lake: PathBuf, rate: u32) -> anyhow::Result<Shop> {
        let producer = PlaygroundProducer::connect(&broker.bootstrap_servers(), journal.clone())?;
        let open = Arc::new(AtomicBool::new(true));
        let (still_open, watched) = (open.clone(), lake.clone());
        let work = move || sell(&producer, &journal, &watched, rate, &still_open);
        let thread = std::thread::Builder::new().name("producer".into()).spawn(work)?;
        Ok(Shop { open, thread, lake })
    }

    /// Stops producing; returns when everything is acknowledged.
    fn close(&self) -> anyhow::Result<()> {
        self.open.store(false, Ordering::Relaxed);
        while !self.thread.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn sell(
    producer: &PlaygroundProducer<Journal>,
    journal: &Journal,
    lake: &Path,
    rate: u32,
    open: &AtomicBool,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(u64::from(std::process::id()));
    let began = Instant::now();
    let mut sequence = 0u64;
    while open.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        // The broker forgets what is not landed in time: wait for the lake instead of outrunning it.
        let waiting =
            i64::try_from(journal.produced()).unwrap_or(0) - i64::try_from(landed_offsets(lake).0).unwrap_or(0);
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
    shop: &'a Shop,
    journal: &'a Journal,
    began: Instant,
    tell: &'a mut T,
}

impl<T: FnMut(&Moment)> Show<'_, T> {
    fn moment(&mut self, moment: &mut Moment) {
        let elapsed = self.began.elapsed();
        let (landed, files) = landed_offsets(&self.shop.lake);
        let produced = self.journal.produced();
        (moment.produced, moment.landed, moment.elapsed) = (produced, landed, elapsed);
        let known = std::mem::replace(&mut moment.files, files.len() as u64);
        moment.new_files = self.fresh(files, known);
        (self.tell)(moment);
        moment.note = None;
    }

    /// The newest names, where there are more files than before.
    fn fresh(&self, mut files: Vec<String>, known: u64) -> Vec<String> {
        let count = (files.len() as u64).saturating_sub(known);
        let newest = |name: &String| std::fs::metadata(self.shop.lake.join(name)).and_then(|meta| meta.modified()).ok();
        files.sort_by_key(newest);
        files.split_off(files.len() - usize::try_from(count).unwrap_or(0).min(files.len()))
    }
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
        lake: format!("file://{}", lake.display()),
        query: format!(
            "SELECT topic, partition, count(*) AS records, min(\"offset\") AS first, max(\"offset\") AS last FROM \
             read_parquet('{}/*/*/*.parquet') GROUP BY ALL ORDER BY ALL;",
            lake.display()
        ),
    })
}
