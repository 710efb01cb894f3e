//! One partition being read by a worker: rows go into the batch under way, which is sealed when its
//! end is known.

use std::time::Instant;

use landfall_lake::fault;
use landfall_sink::{BatchWriter, Facts, Head, Sink, SinkError, Span, Weight};

use super::reading::{ReadBatch, Reading};
use crate::checkpoint::Lineage;
use crate::kafka::{Columns, Constants};
use crate::plan::{Roll, Sight};

pub(super) struct Draft {
    pub reading: Reading,
    /// Where the batch under way begins.
    pub from: i64,
    pub weight: Weight,
    /// Since when there is something to land.
    pub seen: Option<Instant>,
    gaps: Vec<Span>,
    constants: Constants,
    writer: Option<Box<dyn BatchWriter>>,
}

impl Draft {
    pub fn new(mut reading: Reading) -> Draft {
        let from = reading.head.from;
        let gaps = std::mem::take(&mut reading.gaps);
        let stream = &reading.head.stream;
        let constants = Constants { topic: stream.topic.as_str().into(), partition: stream.partition };
        Draft { reading, from, weight: Weight::default(), seen: None, gaps, constants, writer: None }
    }

    pub fn sight(&self, position: i64, now: Instant) -> Sight {
        let age = self.seen.map(|seen| now.saturating_duration_since(seen));
        Sight { from: self.from, position, size: self.weight.size, age }
    }

    /// The exact offset that the batch under way must not pass.
    pub fn bound(&self, roll: &Roll) -> i64 {
        let course = self.reading.steer.course();
        let stop = course.stop.unwrap_or(i64::MAX);
        if course.whole { stop } else { stop.min(roll.last_until(self.from)) }
    }

    /// Moves the rows below `until` from the columns into the writer.
    pub fn absorb(&mut self, sink: &dyn Sink, columns: &mut Columns, until: i64) -> Result<(), SinkError> {
        let rows = columns.take_until(until, &self.constants);
        if rows.num_rows() > 0 {
            self.writer(sink)?.write(&rows)?;
            self.weigh();
        }
        Ok(())
    }

    pub fn relieve(&mut self) -> Result<(), SinkError> {
        if let Some(writer) = self.writer.as_mut() {
            writer.relieve()?;
            self.weigh();
        }
        Ok(())
    }

    /// Ends the batch under way at `until`; the next one begins there.
    pub fn seal(&mut self, sink: &dyn Sink, until: i64, lineage: Option<Lineage>) -> Result<ReadBatch, SinkError> {
        let span = Span::new(self.from, until);
        self.writer(sink)?;
        let Some(writer) = self.writer.take() else {
            return Err(SinkError::NotDone(format!("no writer for {}", self.reading.head.stream)));
        };
        let weight = writer.weight();
        let sealed = writer.seal(&Facts { span, gaps: std::mem::take(&mut self.gaps) })?;
        fault::point("pipeline.after_read").map_err(|error| SinkError::NotDone(error.to_string()))?;
        self.from = until;
        self.weight = Weight::default();
        self.seen = None;
        Ok(ReadBatch { span, lineage, rows: weight.rows, size: weight.size, sealed, held: None })
    }

    fn writer(&mut self, sink: &dyn Sink) -> Result<&mut Box<dyn BatchWriter>, SinkError> {
        if self.writer.is_none() {
            let head = Head { from: self.from, ..self.reading.head.clone() };
            self.writer = Some(sink.begin(&head)?);
        }
        self.writer.as_mut().ok_or_else(|| SinkError::NotDone(format!("no writer for {}", self.reading.head.stream)))
    }

    fn weigh(&mut self) {
        if let Some(writer) = &self.writer {
            self.weight = writer.weight();
            self.reading.steer.measured(self.weight.size);
        }
    }
}
