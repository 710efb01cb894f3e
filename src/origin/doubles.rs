//! A lake, a store and a sink in memory, which can stop "the process" at the n-th call, before or after its
//! effect; what they hold outlives the stop.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use landfall_lake::{Created, Entry, Lake, LakeError, Staged, Tagged};
use landfall_sink::{BatchWriter, Head, Isolation, Landed, Layout, Plan, Sink, SinkError, Span, Stream};

use crate::checkpoint::{Checkpoint, CheckpointStore, StoreError, Swap};
use crate::origin::{Origin, OwnerAbout};

/// Counts calls, and ends the process at one of them: that call and every later one fails.
#[derive(Default)]
pub(crate) struct Trip {
    calls: Mutex<(u64, Option<(u64, bool)>)>,
}

impl Trip {
    /// The n-th call from now on (0 is the next) is the last; `after` its effect or before it.
    pub fn arm(&self, at: u64, after: bool) {
        *self.calls.lock().unwrap() = (0, Some((at, after)));
    }

    pub fn disarm(&self) -> u64 {
        std::mem::take(&mut *self.calls.lock().unwrap()).0
    }

    /// (does it take effect, is it answered)
    fn call(&self) -> (bool, bool) {
        let mut calls = self.calls.lock().unwrap();
        let now = calls.0;
        calls.0 += 1;
        match calls.1 {
            Some((at, after)) if now >= at => (now == at && after, false),
            _ => (true, true),
        }
    }
}

#[derive(Default)]
pub(crate) struct MemoryLake {
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    pub trip: Arc<Trip>,
    /// Its objects have tags, as those of a bucket have.
    pub tags: bool,
}

impl MemoryLake {
    /// A lake whose objects have tags.
    pub fn tagged() -> MemoryLake {
        MemoryLake { tags: true, ..MemoryLake::default() }
    }

    fn tag(&self, content: &Bytes) -> Option<String> {
        self.tags.then(|| format!("{:08x}", crc32c::crc32c(content)))
    }

    fn answer<T>(&self, path: &str, effect: impl FnOnce() -> T) -> Result<T, LakeError> {
        let (happens, answers) = self.trip.call();
        let result = happens.then(effect);
        result.filter(|_| answers).ok_or_else(|| LakeError::unknown(path, "stopped"))
    }

    pub fn paths(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    /// Takes objects away, as a hand or a deletion does.
    pub fn take(&self, paths: impl IntoIterator<Item = String>) -> Vec<(String, Bytes)> {
        let mut objects = self.objects.lock().unwrap();
        paths.into_iter().filter_map(|path| objects.remove(&path).map(|content| (path, content))).collect()
    }

    pub fn put_all(&self, objects: Vec<(String, Bytes)>) {
        self.objects.lock().unwrap().extend(objects);
    }

    pub fn put(&self, path: &str, content: &'static str) {
        self.objects.lock().unwrap().insert(path.into(), Bytes::from_static(content.as_bytes()));
    }
}

#[async_trait]
impl Lake for MemoryLake {
    fn url(&self) -> &str {
        "memory://lake"
    }

    async fn create(&self, path: &str, content: Bytes) -> Result<Created, LakeError> {
        tokio::task::yield_now().await;
        self.answer(path, || {
            let mut objects = self.objects.lock().unwrap();
            if objects.contains_key(path) {
                return Created::Exists;
            }
            objects.insert(path.into(), content);
            Created::Created
        })
    }

    fn stage(&self) -> Result<Box<dyn Staged>, LakeError> {
        Err(LakeError::refused("", "this double holds objects only"))
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, LakeError> {
        tokio::task::yield_now().await;
        self.answer(path, || self.objects.lock().unwrap().get(path).cloned())
    }

    async fn read_tagged(&self, path: &str) -> Result<Option<Tagged>, LakeError> {
        Ok(self.read(path).await?.map(|content| Tagged { tag: self.tag(&content), content }))
    }

    async fn read_range(&self, path: &str, _: Range<u64>) -> Result<Bytes, LakeError> {
        Err(LakeError::refused(path, "this double reads whole objects"))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.answer(path, || self.objects.lock().unwrap().get(path).map(|content| content.len() as u64))
    }

    async fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> Result<BoxStream<'a, Result<Entry, LakeError>>, LakeError> {
        tokio::task::yield_now().await;
        let shown: Vec<_> = self.answer(prefix, || {
            let objects = self.objects.lock().unwrap();
            let below = |path: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
            let entry = |(path, content): (&String, &Bytes)| Entry {
                path: path.clone(),
                size: content.len() as u64,
                tag: self.tag(content),
            };
            let after = |path: &str| start_after.is_none_or(|start| path > start);
            objects.iter().filter(|(path, _)| below(path) && after(path)).map(entry).map(Ok).collect()
        })?;
        Ok(stream::iter(shown).boxed())
    }

    async fn settle(&self, path: &str) -> Result<(), LakeError> {
        self.answer(path, || ())
    }

    async fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.answer(path, || drop(self.objects.lock().unwrap().remove(path)))
    }

    async fn sweep(&self) -> Result<u64, LakeError> {
        Ok(0)
    }
}

pub(crate) struct MemoryStore {
    pub id: String,
    pub lake: Mutex<Option<String>>,
    pub records: Mutex<BTreeMap<Stream, Checkpoint>>,
    pub trip: Arc<Trip>,
}

impl MemoryStore {
    pub fn new(id: &str, trip: Arc<Trip>) -> MemoryStore {
        MemoryStore { id: id.into(), lake: Mutex::default(), records: Mutex::default(), trip }
    }

    fn answer<T>(&self, effect: impl FnOnce() -> T) -> Result<T, StoreError> {
        let (happens, answers) = self.trip.call();
        let result = happens.then(effect);
        let unknown = || StoreError::Unknown { store: "memory".into(), message: "stopped".into() };
        result.filter(|_| answers).ok_or_else(unknown)
    }

    pub fn record(&self, stream: &Stream) -> Option<Checkpoint> {
        self.records.lock().unwrap().get(stream).cloned()
    }

    pub fn set(&self, record: Checkpoint) {
        record.check().unwrap();
        self.records.lock().unwrap().insert(record.stream.clone(), record);
    }
}

#[async_trait]
impl CheckpointStore for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn id(&self) -> &str {
        &self.id
    }

    async fn lake_id(&self) -> Result<Option<String>, StoreError> {
        self.answer(|| self.lake.lock().unwrap().clone())
    }

    async fn remember_lake(&self, lake: &str) -> Result<(), StoreError> {
        self.answer(|| {
            let mut remembered = self.lake.lock().unwrap();
            assert!(remembered.as_deref().is_none_or(|known| known == lake));
            *remembered = Some(lake.into());
        })
    }

    async fn load(&self, stream: &Stream) -> Result<Option<Checkpoint>, StoreError> {
        tokio::task::yield_now().await;
        self.answer(|| self.record(stream))
    }

    async fn swap(&self, expected: Option<u64>, new: &Checkpoint) -> Result<Swap, StoreError> {
        tokio::task::yield_now().await;
        assert_eq!(new.version, expected.unwrap_or(0) + 1);
        self.answer(|| {
            if self.record(&new.stream).map(|record| record.version) != expected {
                return Swap::Lost;
            }
            self.set(new.clone());
            Swap::Won
        })
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.answer(|| self.records.lock().unwrap().keys().cloned().collect())
    }
}

/// Files by path: only what a listing and a footer would show of them.
pub(crate) struct MemorySink {
    pub layout: Arc<Layout>,
    pub files: Arc<Mutex<BTreeMap<String, Landed>>>,
}

impl MemorySink {
    pub fn land_under(&self, layout: &Layout, stream: &Stream, span: Span, gaps: &[Span]) {
        let name = layout.file(stream, span);
        let rows = (span.len() - gaps.iter().map(Span::len).sum::<i64>()) as u64;
        let landed = Landed { stream: stream.clone(), span, rows, bytes: 100, gaps: gaps.to_vec(), name: name.clone() };
        self.files.lock().unwrap().insert(name, landed);
    }

    pub fn land(&self, stream: &Stream, from: i64, until: i64, gaps: &[Span]) {
        self.land_under(&self.layout, stream, Span::new(from, until), gaps);
    }

    pub fn remove(&self, stream: &Stream, from: i64, until: i64) {
        let name = self.layout.file(stream, Span::new(from, until));
        self.files.lock().unwrap().remove(&name).unwrap();
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    fn begin(&self, _: &Head) -> Result<Box<dyn BatchWriter>, SinkError> {
        Err(SinkError::Refused("this double is filled by hand".into()))
    }

    async fn standing(&self, plan: &Plan) -> Result<Option<Landed>, SinkError> {
        match self.files.lock().unwrap().get(&plan.file()) {
            Some(landed) if landed.stream != plan.stream => {
                Err(SinkError::Conflict(format!("{} is another's", landed.name)))
            }
            found => Ok(found.cloned()),
        }
    }

    async fn landed<'a>(
        &'a self,
        layout: &'a Layout,
        stream: &'a Stream,
        from: i64,
    ) -> Result<BoxStream<'a, Result<Landed, SinkError>>, SinkError> {
        let directory = layout.directory(stream);
        let files = self.files.lock().unwrap();
        let of_layout = |path: &str| {
            let name = path.strip_prefix(&directory)?.strip_prefix('/')?;
            layout.parse_file_name(name)
        };
        let shown: Vec<_> = files
            .iter()
            .filter(|(path, _)| of_layout(path).is_some_and(|span| span.until > from))
            .map(|(path, landed)| match landed.stream == *stream {
                true => Ok(landed.clone()),
                false => Err(SinkError::Conflict(format!("{path} is another's"))),
            })
            .collect();
        Ok(stream::iter(shown).boxed())
    }
}

pub(crate) fn about(path: &str) -> OwnerAbout {
    OwnerAbout { host: "h".into(), path: path.into(), version: "0.1.0".into() }
}

pub(crate) fn layout(lake: &str, path: &str) -> Layout {
    let (format, extension) = ("parquet".into(), "parquet".into());
    Layout { lake: lake.into(), format, extension, path: path.into(), isolation: Isolation::ReadCommitted }
}

/// A lake with files, and a store that owns it.
pub(crate) struct World {
    pub lake: Arc<MemoryLake>,
    pub store: MemoryStore,
    pub origin: Origin,
    pub sink: MemorySink,
}

impl World {
    pub async fn new() -> World {
        let lake = Arc::new(MemoryLake::default());
        let store = MemoryStore::new("s1", lake.trip.clone());
        let origin = Origin::claim(lake.clone(), &store, about("a")).await.unwrap();
        let layout = Arc::new(layout(origin.lake_id(), "{topic}/{partition}"));
        origin.record_layout(&layout).await.unwrap();
        let sink = MemorySink { layout, files: Arc::default() };
        World { lake, store, origin, sink }
    }
}
