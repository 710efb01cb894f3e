//! Lakes with one thing wrong, and with nothing wrong.

use std::sync::Mutex;

use futures::stream;
use landfall_sink::Layout;

use super::*;
use crate::checkpoint::Planned;
use crate::origin::doubles::{World, layout};
use crate::origin::{Genesis, birth};

/// Every offset that is no gap is a row whose sum is its offset; some files are said to be damaged.
#[derive(Default)]
struct Reader {
    damaged: Mutex<BTreeSet<String>>,
    away: Mutex<BTreeSet<String>>,
}

fn sums(span: Span, gaps: &[Span]) -> Vec<RowSum> {
    let offsets = (span.from..span.until).filter(|offset| !gaps.iter().any(|gap| gap.contains(*offset)));
    offsets.map(|offset| RowSum { offset, crc32c: offset as u32 }).collect()
}

#[async_trait]
impl Auditor for Reader {
    async fn audit(&self, landed: &Landed) -> Result<Audited, SinkError> {
        if self.away.lock().unwrap().contains(&landed.name) {
            return Err(SinkError::NotDone("the disk is away".into()));
        }
        let bad = self.damaged.lock().unwrap().contains(&landed.name);
        let problems = if bad { vec!["the checksum differs".into()] } else { vec![] };
        Ok(Audited { landed: Some(landed.clone()), problems })
    }

    async fn rows(&self, landed: &Landed) -> Result<BoxStream<'static, Result<Vec<RowSum>, SinkError>>, SinkError> {
        let rows = sums(landed.span, &landed.gaps);
        let chunks: Vec<_> = rows.chunks(3).map(|chunk| Ok(chunk.to_vec())).collect();
        Ok(stream::iter(chunks).boxed())
    }
}

/// A topic that holds the given records, from its log start on.
struct Topic {
    records: Vec<RowSum>,
    log_start: i64,
    compacted: bool,
    asked: Mutex<Vec<(Span, Isolation)>>,
}

#[async_trait]
impl TopicRows for Topic {
    async fn rows(&self, _: &Stream, span: Span, isolation: Isolation) -> Result<KafkaRows, String> {
        self.asked.lock().unwrap().push((span, isolation));
        let here = |row: &&RowSum| span.contains(row.offset) && row.offset >= self.log_start;
        let rows: Vec<RowSum> = self.records.iter().filter(here).copied().collect();
        let chunks: Vec<_> = rows.chunks(2).map(|chunk| Ok(chunk.to_vec())).collect();
        Ok(KafkaRows { log_start: self.log_start, compacted: self.compacted, rows: stream::iter(chunks).boxed() })
    }
}

/// Whoever audits may do so on a task of its own.
fn sent<T: Send>(future: T) -> T {
    future
}

struct Audit {
    world: World,
    reader: Arc<Reader>,
    stream: Stream,
}

impl Audit {
    /// `[0, 10)` and `[10, 20)` with a gap are committed, `[20, 25)` is planned.
    async fn new() -> Audit {
        let world = World::new().await;
        let genesis = Genesis::new("c", "t", None, vec![0], "earliest");
        let genesis = world.origin.freeze_genesis(genesis).await.unwrap();
        let stream = genesis.stream(0);
        let record = birth(&world.origin, &world.store, &world.sink, &stream, &genesis, None).await.unwrap();
        let digest = world.sink.layout.digest();
        let plans = [(0, 10), (10, 20), (20, 25)].map(|(from, until)| Planned::new(Span::new(from, until), &digest));
        let gap = [Span::new(10, 12)];
        world.sink.land(&stream, 0, 10, &[]);
        world.sink.land(&stream, 10, 20, &gap);
        let record = record.plan_many(plans.into(), "n").unwrap();
        let record = record.commit(Span::new(0, 10), &[], "n").unwrap().commit(Span::new(10, 20), &gap, "n").unwrap();
        world.store.set(record);
        Audit { world, reader: Arc::default(), stream }
    }

    async fn run(&self, lake_alone: bool, topic: Option<&Topic>) -> (Outcome, StreamReport) {
        let World { origin, store, sink, .. } = &self.world;
        let checkpoints = if lake_alone { None } else { Some(snapshot(store).await.unwrap()) };
        let seen = Mutex::new(Progress::default());
        let progress = |now: Progress| *seen.lock().unwrap() = now;
        let topic = topic.map(|topic| topic as &dyn TopicRows);
        let auditor = self.reader.clone();
        let scope = Scope { origin, sink, auditor, checkpoints, topic, parallel: 3, progress: Some(&progress) };
        let mut report = sent(verify(scope)).await.unwrap();
        assert_eq!(report.streams.len(), 1);
        assert_eq!(seen.lock().unwrap().files_done, report.files());
        serde_json::to_string(&report).unwrap();
        (report.outcome, report.streams.remove(0))
    }

    async fn kinds(&self) -> Vec<(Severity, Kind)> {
        self.run(false, None).await.1.findings.iter().map(|found| (found.severity, found.kind)).collect()
    }

    async fn damage(&self, kind: Kind) {
        let (outcome, report) = self.run(false, None).await;
        assert_eq!(outcome, Outcome::Damage);
        assert!(
            report.findings.iter().any(|found| found.severity == Severity::Damage && found.kind == kind),
            "{report:?}"
        );
    }

    fn with_layout(&self, change: impl FnOnce(&mut Layout)) -> Layout {
        let mut other = layout(self.world.origin.lake_id(), "{topic}/{partition}");
        change(&mut other);
        other
    }
}

#[tokio::test]
async fn a_whole_lake_is_clean_with_and_without_the_file_of_the_open_plan() {
    let audit = Audit::new().await;
    for _ in 0..2 {
        for lake_alone in [false, true] {
            let (outcome, report) = audit.run(lake_alone, None).await;
            assert_eq!((outcome, report.findings.len()), (Outcome::Clean, 0), "{report:?}");
            assert_eq!((report.gap_offsets, report.next), (2, (!lake_alone).then_some(25)));
        }
        audit.world.sink.land(&audit.stream, 20, 25, &[]);
    }
}

#[tokio::test]
async fn each_kind_of_damage_is_found() {
    let audit = Audit::new().await;
    audit.world.sink.remove(&audit.stream, 0, 10);
    audit.damage(Kind::Hole).await;
    let audit = Audit::new().await;
    audit.world.sink.land(&audit.stream, 5, 10, &[]);
    audit.damage(Kind::Overlap).await;
    let audit = Audit::new().await;
    audit.world.sink.land(&audit.stream, 20, 22, &[]);
    audit.damage(Kind::Misplaced).await;
    let audit = Audit::new().await;
    audit.world.sink.land(&audit.stream, 20, 30, &[]);
    audit.damage(Kind::Misplaced).await;
    let audit = Audit::new().await;
    audit.world.sink.land(&audit.stream, 0, 10, &[Span::new(3, 4)]);
    audit.damage(Kind::Gaps).await;
    let audit = Audit::new().await;
    audit.world.sink.land(&audit.stream, 10, 20, &[]);
    audit.damage(Kind::Gaps).await;
    let audit = Audit::new().await;
    audit.reader.damaged.lock().unwrap().insert("t/0/00000000000000000010-00000000000000000020.parquet".into());
    audit.damage(Kind::File).await;
    let audit = Audit::new().await;
    audit.world.store.records.lock().unwrap().clear();
    audit.damage(Kind::Checkpoint).await;
    let audit = Audit::new().await;
    let other = Stream { partition: 9, ..audit.stream.clone() };
    let path = audit.world.sink.layout.file(&audit.stream, Span::new(20, 25));
    audit.world.sink.land(&other, 20, 25, &[]);
    let file = audit.world.sink.layout.file(&other, Span::new(20, 25));
    let foreign = audit.world.sink.files.lock().unwrap().remove(&file).unwrap();
    audit.world.sink.files.lock().unwrap().insert(path, foreign);
    audit.damage(Kind::File).await;
}

#[tokio::test]
async fn what_is_not_known_is_not_called_damage() {
    let audit = Audit::new().await;
    audit.world.sink.remove(&audit.stream, 0, 10);
    let (outcome, report) = audit.run(true, None).await;
    assert_eq!((outcome, report.unexplained, report.damage), (Outcome::Clean, 1, 0));

    let audit = Audit::new().await;
    audit.world.sink.land(&audit.stream, 30, 40, &[]);
    assert_eq!(audit.kinds().await, [(Severity::Note, Kind::BeyondNext)]);

    let audit = Audit::new().await;
    audit.reader.away.lock().unwrap().insert("t/0/00000000000000000010-00000000000000000020.parquet".into());
    assert_eq!(audit.run(false, None).await.0, Outcome::Incomplete);
}

#[tokio::test]
async fn rows_and_records_are_compared_both_ways() {
    let audit = Audit::new().await;
    let topic =
        |records: Vec<RowSum>, log_start, compacted| Topic { records, log_start, compacted, asked: Mutex::default() };
    let all = sums(Span::new(0, 40), &[]);
    let compare = async |topic: &Topic| {
        let (outcome, report) = audit.run(false, Some(topic)).await;
        (outcome, report.kafka.unwrap())
    };
    // Retention has taken the gap, and one row more.
    let expired = topic(all.clone(), 13, false);
    let (outcome, compared) = compare(&expired).await;
    assert_eq!((outcome, compared.equal, compared.expired), (Outcome::Clean, 7, 11));
    assert_eq!(*expired.asked.lock().unwrap(), [(Span::new(0, 20), Isolation::ReadCommitted)]);
    // Everything is there still, also what was recorded as a gap: worth a note.
    let (outcome, compared) = compare(&topic(all.clone(), 0, false)).await;
    assert_eq!((outcome, compared.equal, compared.missing), (Outcome::Clean, 18, 0));
    let without = |gone: i64| all.iter().copied().filter(|row| row.offset != gone).collect::<Vec<_>>();
    let (outcome, compared) = compare(&topic(without(5), 0, true)).await;
    assert_eq!((outcome, compared.compacted), (Outcome::Clean, 1));
    let (outcome, compared) = compare(&topic(without(5), 0, false)).await;
    assert_eq!((outcome, compared.unknown), (Outcome::Damage, 1));
    let mut other = all.clone();
    other[19].crc32c = 0;
    let (outcome, compared) = compare(&topic(other, 0, false)).await;
    assert_eq!((outcome, compared.differing), (Outcome::Damage, 1));
}

#[tokio::test]
async fn a_record_that_is_no_row_is_damage() {
    struct Skips(Arc<Reader>);
    #[async_trait]
    impl Auditor for Skips {
        async fn audit(&self, landed: &Landed) -> Result<Audited, SinkError> {
            self.0.audit(landed).await
        }
        async fn rows(&self, landed: &Landed) -> Result<BoxStream<'static, Result<Vec<RowSum>, SinkError>>, SinkError> {
            let rows: Vec<_> = sums(landed.span, &landed.gaps).into_iter().filter(|row| row.offset % 10 != 9).collect();
            Ok(stream::iter([Ok(rows)]).boxed())
        }
    }
    let audit = Audit::new().await;
    let World { origin, store, sink, .. } = &audit.world;
    let topic =
        Topic { records: sums(Span::new(0, 40), &[]), log_start: 12, compacted: false, asked: Mutex::default() };
    let scope = Scope {
        origin,
        sink,
        auditor: Arc::new(Skips(audit.reader.clone())),
        checkpoints: Some(snapshot(store).await.unwrap()),
        topic: Some(&topic),
        parallel: 1,
        progress: None,
    };
    let report = verify(scope).await.unwrap();
    assert_eq!(report.outcome, Outcome::Damage);
    assert_eq!(report.streams[0].kafka.as_ref().unwrap().missing, 1);
    assert_eq!(report.streams[0].findings[0].range, Some(Span::new(19, 20)));
}

#[tokio::test]
async fn files_of_several_layouts_are_one_line() {
    let audit = Audit::new().await;
    let elsewhere = audit.with_layout(|layout| layout.path = "old/{topic}/{partition}".into());
    let shared = audit.with_layout(|layout| layout.isolation = Isolation::ReadUncommitted);
    for layout in [&elsewhere, &shared] {
        audit.world.origin.record_layout(layout).await.unwrap();
    }
    audit.world.sink.remove(&audit.stream, 0, 10);
    audit.world.sink.land_under(&elsewhere, &audit.stream, Span::new(0, 10), &[]);
    let (outcome, report) = audit.run(false, None).await;
    assert_eq!((outcome, report.files), (Outcome::Clean, 2), "{report:?}");
}
