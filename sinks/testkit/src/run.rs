//! How the cases use a sink: the steps of an engine, one by one.

use std::sync::Arc;

use arrow_array::RecordBatch;
use landfall_sink::{BatchWriter, Facts, Head, Landed, Plan, SealedBatch, Sink, SinkError, Span, Stream};

use crate::destination::Destination;
use crate::rows::{self, Row};

pub const SEED: u64 = 11;

pub fn stream(partition: i32) -> Stream {
    Stream {
        cluster: "testkit".into(),
        topic: "orders".into(),
        topic_id: Some("AAAAAAAAQACAAAAAAAAAAQ".into()),
        partition,
    }
}

pub fn plan(sink: &dyn Sink, partition: i32, from: i64, until: i64) -> Plan {
    Plan { stream: stream(partition), span: Span::new(from, until), layout: sink.layout() }
}

/// The offsets of a plan that have a record: every fifth is a hole, as compaction and markers leave them.
pub fn offsets(plan: &Plan) -> impl Iterator<Item = i64> {
    (plan.span.from..plan.span.until).filter(|offset| offset % 5 != 3)
}

pub fn expected(plan: &Plan) -> Vec<Row> {
    offsets(plan).map(|offset| rows::row(SEED, offset)).collect()
}

pub fn batches(plan: &Plan, sizes: &[usize]) -> Vec<RecordBatch> {
    rows::cut(&rows::batch(&plan.stream, SEED, offsets(plan)), sizes)
}

pub fn begin(sink: &dyn Sink, plan: &Plan) -> Result<Box<dyn BatchWriter>, SinkError> {
    sink.begin(&Head { stream: plan.stream.clone(), from: plan.span.from, layout: plan.layout.clone() })
}

/// An attempt up to the point where it could be landed.
pub fn seal(
    sink: &dyn Sink,
    plan: &Plan,
    batches: &[RecordBatch],
    gaps: &[Span],
) -> Result<Box<dyn SealedBatch>, SinkError> {
    let mut writer = begin(sink, plan)?;
    for (turn, batch) in batches.iter().enumerate() {
        writer.write(batch)?;
        if turn % 7 == 6 {
            writer.relieve()?;
        }
    }
    writer.seal(&Facts { span: plan.span, gaps: gaps.to_vec() })
}

/// A whole attempt.
pub async fn attempt(sink: Arc<dyn Sink>, plan: &Plan, sizes: &[usize], gaps: &[Span]) -> Result<Landed, SinkError> {
    seal(&*sink, plan, &batches(plan, sizes), gaps)?.land(plan).await
}

/// What an engine does after any error: ask what stands, and only where nothing stands land again.
pub async fn land_as_engine(sink: &dyn Sink, plan: &Plan, sealed: &mut dyn SealedBatch) -> Result<Landed, String> {
    for _ in 0..5 {
        match sealed.land(plan).await {
            Ok(landed) => return Ok(landed),
            Err(SinkError::NotDone(_) | SinkError::Unknown(_)) => {}
            Err(other) => return Err(format!("landing ended with: {other}")),
        }
        match sink.standing(plan).await {
            Ok(Some(landed)) => return Ok(landed),
            Ok(None) | Err(SinkError::NotDone(_) | SinkError::Unknown(_)) => {}
            Err(other) => return Err(format!("asking what stands ended with: {other}")),
        }
    }
    Err("five attempts did not land it".into())
}

/// The destination shows exactly the rows of the plan.
pub async fn shows(destination: &dyn Destination, plan: &Plan, rows: &[Row]) -> Result<(), String> {
    let Some(read) = destination.read(plan).await else {
        return Err(format!("nothing of {} can be read", plan.range()));
    };
    let read = rows::rows_of(&read);
    if read.len() != rows.len() {
        return Err(format!("{} has {} rows instead of {}", plan.range(), read.len(), rows.len()));
    }
    match read.iter().zip(rows).find(|(read, row)| read != row) {
        Some((read, row)) => Err(format!("{}: a row is {read:?} instead of {row:?}", plan.range())),
        None => Ok(()),
    }
}

/// What was returned is what the plan asked for.
pub fn is_of(landed: &Landed, plan: &Plan, rows: u64, gaps: &[Span]) -> Result<(), String> {
    ensure(landed.stream == plan.stream && landed.span == plan.span, || {
        format!("what landed is of {} {}, not of {}", landed.stream, landed.span, plan.range())
    })?;
    ensure(landed.rows == rows, || format!("what landed has {} rows instead of {rows}", landed.rows))?;
    ensure(landed.gaps == gaps, || format!("what landed has the gaps {:?} instead of {gaps:?}", landed.gaps))
}

pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// An error of the sink where there should be none.
pub fn unexpected(error: SinkError) -> String {
    format!("unexpected error: {error} ({error:?})")
}
