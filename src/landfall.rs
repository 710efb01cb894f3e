//! The library's face: the same settings as the configuration file, and three ways to run.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use landfall_lake::fault::sabotaged;
use landfall_lake::{Lake, LakeError};
use landfall_sink::{Resolution, Sink, Span};

use crate::ambient;
use crate::batch::{Batch, ForEach};
use crate::checkpoint::lock::{HeldBy, StateLock};
use crate::checkpoint::{Checkpoint, CheckpointStore, LakeStore, MemoryStore, SledStore, StoreError, holder};
use crate::config::{Assignment, Config, LakeUrl, OnGap, Start, StoreKind, TopicSelector};
use crate::files;
use crate::kafka::{Kafka, KafkaError, Selection, Settings, SettingsError};
use crate::lakes::{self, Untaken};
use crate::origin::{Origin, OriginError, OwnerAbout};
use crate::pipeline;
use crate::plan::Roll;
use crate::status::Board;
use crate::supervisor::{self, Desk, Mode, Operator, Plant, RunError};

/// Everything that can go wrong when a landfall is opened or runs.
#[derive(Debug, thiserror::Error)]
pub enum LandfallError {
    #[error("configuration: {0}")]
    Config(String),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Another process has the lake open.
    #[error("{0}")]
    Held(LakeError),
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<Untaken> for LandfallError {
    fn from(untaken: Untaken) -> LandfallError {
        match untaken {
            Untaken::Held(error) => LandfallError::Held(error),
            Untaken::Lake(error) => LandfallError::Lake(error),
        }
    }
}

/// A log may end below what was read for so long before that is called a truncation.
const TRUNCATION_WAIT: Duration = Duration::from_secs(60);

/// A lake that is open: the checkpoint store is held, the owner is known.
pub struct Landfall {
    config: Config,
    settings: Settings,
    kafka: Kafka,
    store: Arc<dyn CheckpointStore>,
    lake: Arc<dyn Lake>,
    origin: Arc<Origin>,
    board: Arc<Board>,
    operator: Operator,
    /// The lock of the state directory, where the store has one.
    state_lock: Option<Arc<StateLock>>,
    selection: Selection,
    truncation_wait: Duration,
    /// Of a lake that one process has at a time; held for as long as this lives.
    _lock: Option<landfall_lake::LakeLock>,
}

impl Landfall {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Opens the checkpoint store and the lake; does not wait for Kafka.
    pub async fn open(config: Config) -> Result<Landfall, LandfallError> {
        let settings = Settings::new(config.kafka.properties.to_map())?;
        let kafka = Kafka::connect(&settings)?;
        let topics: Vec<String> = config.kafka.topics.iter().map(ToString::to_string).collect();
        let selection = Selection::new(&topics).map_err(|error| LandfallError::Config(error.to_string()))?;
        // The lock of the state directory comes before anything of the lake is touched.
        let sled = match config.checkpoint.store {
            StoreKind::Sled => Some(SledStore::open(&config.checkpoint.path)?),
            StoreKind::Lake | StoreKind::Memory => None,
        };
        let state_lock = sled.as_ref().map(|store| store.lock().clone());
        let about = about(&config);
        let (lake, lock) = match config.checkpoint.store {
            StoreKind::Lake => (lakes::share(&config)?, None),
            StoreKind::Sled | StoreKind::Memory => {
                lakes::take(&config, &format!("landfall with the checkpoint store {}", about.path))?
            }
        };
        let store: Arc<dyn CheckpointStore> = match (sled, config.checkpoint.store) {
            (Some(store), _) => Arc::new(store),
            (None, StoreKind::Memory) => Arc::new(MemoryStore::new()),
            (None, _) => Arc::new(LakeStore::new(lake.clone())),
        };
        if let Err(OriginError::NoLake { .. }) = Origin::open(lake.clone()).await
            && !sabotaged("skip_probe")
        {
            // Once, before anything is entrusted to it: does this place really create exclusively?
            landfall_lake::probe(lake.as_ref()).await?;
        }
        let origin = Arc::new(Origin::claim(lake.clone(), store.as_ref(), about).await?);
        if let Err(error) = lake.sweep().await {
            tracing::warn!(%error, "what crashed writers left in the lake stays there until the next start");
        }
        Ok(Landfall {
            config,
            settings,
            kafka,
            store,
            lake,
            origin,
            board: Arc::default(),
            operator: Operator::default(),
            state_lock,
            selection,
            truncation_wait: TRUNCATION_WAIT,
            _lock: lock,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn lake_id(&self) -> &str {
        self.origin.lake_id()
    }

    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub fn store(&self) -> &Arc<dyn CheckpointStore> {
        &self.store
    }

    pub fn lake(&self) -> &Arc<dyn Lake> {
        &self.lake
    }

    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// How the streams stand, live.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// For decisions about ranges that can never be read again.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The sink that the configuration names.
    pub fn sink(&self) -> Result<Arc<dyn Sink>, RunError> {
        let layout = files::layout(&self.config, self.lake_id());
        files::sink(&self.config, &self.lake, layout).map_err(|error| RunError::Fatal(error.to_string()))
    }

    /// Lands in the lake until `stop` is ready; then finishes what is under way.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        self.run_sink(self.sink()?, Mode::Forever, stop).await
    }

    /// Lands up to the last stable offsets of now. `Ok` only if every stream got there.
    pub async fn run_once(&self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        self.run_sink(self.sink()?, Mode::Once, stop).await
    }

    /// Lands with a sink of one's own, made for this lake's id ([`Landfall::lake_id`]).
    pub async fn run_sink(
        &self,
        sink: Arc<dyn Sink>,
        mode: Mode,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let desk = Arc::new(self.desk(&sink));
        let serving = self.state_lock.clone().map(|lock| holder::serve(lock, desk)).transpose();
        let _server = serving.map_err(|error| RunError::Fatal(error.to_string()))?;
        supervisor::run(self.plant(sink), mode, stop).await
    }

    /// Stores an operator's decision about an exact range of a stream that is not running.
    pub async fn resolve(
        &self,
        topic: &str,
        partition: i32,
        span: Span,
        decision: Resolution,
    ) -> Result<Checkpoint, LandfallError> {
        let sink = self.sink()?;
        self.origin.record_layout(&sink.layout()).await?;
        Ok(self.desk(&sink).decide(topic, partition, span, decision).await?)
    }

    fn desk(&self, sink: &Arc<dyn Sink>) -> Desk {
        Desk {
            store: self.store.clone(),
            board: self.board.clone(),
            operator: self.operator.clone(),
            layout: sink.layout().digest(),
        }
    }

    /// Gives `work` every batch, and commits it when `work` is done. An error is tried again with the
    /// same range; several batches may be at work at once, also of one stream.
    pub async fn for_each_batch<F, W>(
        &self,
        mode: Mode,
        work: F,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RunError>
    where
        F: Fn(Batch) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), anyhow::Error>> + Send + 'static,
    {
        let sink = ForEach::new(self.lake_id(), self.settings.isolation(), work);
        self.run_sink(Arc::new(sink), mode, stop).await
    }

    /// Shortens the wait before a log that lost its end is called truncated.
    #[doc(hidden)]
    pub fn with_truncation_wait(mut self, wait: Duration) -> Landfall {
        self.truncation_wait = wait;
        self
    }

    fn plant(&self, sink: Arc<dyn Sink>) -> Plant {
        let config = &self.config;
        let group = self.settings.group_id().map_or_else(|| format!("landfall-{}", self.lake_id()), str::to_owned);
        Plant {
            kafka: self.kafka.clone(),
            store: self.store.clone(),
            sink,
            origin: self.origin.clone(),
            selection: self.selection.clone(),
            start: config.source.start.clone(),
            roll: roll(config),
            on_gap: match config.source.on_gap {
                OnGap::Fail => pipeline::OnGap::Fail,
                OnGap::Record => pipeline::OnGap::Record,
            },
            memory: usize::try_from(config.limits.memory).unwrap_or(usize::MAX),
            workers: config.limits.workers_or_cores(),
            shutdown: config.limits.shutdown,
            group,
            shares: self.store.is_shared() && config.source.assignment == Assignment::Group,
            maker: self.settings.group_instance_id().map_or_else(ambient::random_id, str::to_owned),
            truncation_wait: self.truncation_wait,
            board: self.board.clone(),
            operator: self.operator.clone(),
        }
    }
}

/// When a batch ends, as the configuration says.
pub(crate) fn roll(config: &Config) -> Roll {
    let roll = &config.lake.roll;
    Roll {
        max_age: roll.max_age,
        max_size: roll.max_size,
        max_records: i64::try_from(roll.max_records).unwrap_or(i64::MAX),
    }
}

/// What this process says of itself as the owner of a lake.
pub(crate) fn about(config: &Config) -> OwnerAbout {
    let path = match config.checkpoint.store {
        StoreKind::Lake => "the lake itself".into(),
        StoreKind::Sled | StoreKind::Memory => absolute(&config.checkpoint.path).display().to_string(),
    };
    OwnerAbout { host: HeldBy::this_process().host, path, version: env!("CARGO_PKG_VERSION").into() }
}

/// The same place has the same name, wherever the process was started.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Settings, one call each; what is not set has the default of the configuration file.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    config: Config,
    wrong: Option<String>,
}

impl Builder {
    /// A topic's name, or `/a regular expression/`.
    pub fn topic(mut self, topic: &str) -> Builder {
        match TopicSelector::from_str(topic) {
            Ok(topic) => self.config.kafka.topics.push(topic),
            Err(why) => self.wrong = Some(why),
        }
        self
    }

    /// A property of librdkafka, such as `bootstrap.servers`.
    pub fn property(mut self, name: &str, value: &str) -> Builder {
        self.config.kafka.properties.insert(name, value);
        self
    }

    pub fn lake(mut self, url: &str) -> Builder {
        match LakeUrl::parse(url) {
            Ok(url) => self.config.lake.url = url,
            Err(error) => self.wrong = Some(error.to_string()),
        }
        self
    }

    /// Where the embedded checkpoint store is kept.
    pub fn state(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.config.checkpoint.path = directory.into();
        self
    }

    pub fn start(mut self, start: Start) -> Builder {
        self.config.source.start = start;
        self
    }

    pub fn on_gap(mut self, on_gap: OnGap) -> Builder {
        self.config.source.on_gap = on_gap;
        self
    }

    pub fn max_age(mut self, age: Duration) -> Builder {
        self.config.lake.roll.max_age = age;
        self
    }

    pub fn max_size(mut self, bytes: u64) -> Builder {
        self.config.lake.roll.max_size = bytes;
        self
    }

    pub fn max_records(mut self, records: u64) -> Builder {
        self.config.lake.roll.max_records = records;
        self
    }

    pub fn memory(mut self, bytes: u64) -> Builder {
        self.config.limits.memory = bytes;
        self
    }

    pub fn workers(mut self, workers: usize) -> Builder {
        self.config.limits.workers = workers;
        self
    }

    /// Any other setting.
    pub fn with(mut self, change: impl FnOnce(&mut Config)) -> Builder {
        change(&mut self.config);
        self
    }

    /// Checks the settings and opens the store and the lake.
    pub async fn open(self) -> Result<Landfall, LandfallError> {
        if let Some(why) = self.wrong {
            return Err(LandfallError::Config(why));
        }
        self.config.validate().map_err(|error| LandfallError::Config(error.to_string()))?;
        Landfall::open(self.config).await
    }
}
