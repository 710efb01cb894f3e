//! What a stream asks of a worker, and what it hears back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use landfall_sink::{Head, SealedBatch, SinkError, Span};
use tokio::sync::mpsc::UnboundedSender;

use super::budget::Held;
use crate::checkpoint::Lineage;
use crate::kafka::{Fault, KafkaError};

/// Read one partition from an offset on: up to `stop` (a plan that was found, a piece of a backlog, the
/// end of `--once`), or on and on.
pub struct Reading {
    pub id: u64,
    /// Where the first batch begins.
    pub head: Head,
    /// Where Kafka still has records: behind `head.from` only where a gap was found and may be recorded.
    pub start_at: i64,
    /// The last record before `start_at`, where known.
    pub lineage: Option<Lineage>,
    /// Known gaps of the first batch.
    pub gaps: Vec<Span>,
    pub steer: Arc<Steer>,
    /// Batches of this reading that were sealed and have not been committed yet.
    pub unlanded: Arc<AtomicUsize>,
    /// More than one, so that reading goes on while a file is synced; few, so that little is read twice
    /// after a crash.
    pub most_unlanded: usize,
    pub reports: UnboundedSender<Report>,
}

impl Reading {
    pub(super) fn report(&self, what: Told) {
        // A stream that has ended its session no longer listens; its batches are void then.
        drop(self.reports.send(Report { id: self.id, what }));
    }

    /// A stream whose destination is slow stops reading instead of piling up sealed batches.
    pub(super) fn is_ahead(&self) -> bool {
        self.unlanded.load(Ordering::Acquire) >= self.most_unlanded
    }
}

pub struct Report {
    pub id: u64,
    pub what: Told,
}

pub enum Told {
    /// A batch whose rows are complete; nothing of it is visible.
    Batch(ReadBatch),
    /// The reading reached its stop, or is far enough ahead: its partition is free again.
    Ended,
    /// The attempt is void: its rows were thrown away and its partition is free again.
    Fault { at: i64, fault: ReadFault },
}

pub struct ReadBatch {
    pub span: Span,
    /// Of its last record, or of the last one before it where it has none.
    pub lineage: Option<Lineage>,
    pub rows: u64,
    pub size: u64,
    pub sealed: Box<dyn SealedBatch>,
    /// The memory of `sealed`, counted until it has landed or was thrown away.
    pub held: Option<Held>,
}

#[derive(Debug)]
pub enum ReadFault {
    Kafka(Fault),
    Client(KafkaError),
    Sink(SinkError),
}

/// The end of the batch under way: decided once, by the worker (it rolls) or by the stream (it plans a
/// piece of a backlog), never by both.
#[derive(Debug)]
pub struct Steer(Mutex<Course>);

#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Where the batch under way begins.
    pub from: i64,
    pub position: i64,
    pub size: u64,
    /// Where reading ends for good.
    pub stop: Option<i64>,
    /// The batch under way ends exactly at `stop`, because a plan says so.
    pub whole: bool,
}

impl Steer {
    /// On and on, or up to `stop` in as many batches as the roll policy makes.
    pub fn open(from: i64, stop: Option<i64>) -> Arc<Steer> {
        Arc::new(Steer(Mutex::new(Course { from, position: from, size: 0, stop, whole: false })))
    }

    /// Exactly the range of a plan.
    pub fn whole(span: Span) -> Arc<Steer> {
        let course = Course { from: span.from, position: span.from, size: 0, stop: Some(span.until), whole: true };
        Arc::new(Steer(Mutex::new(course)))
    }

    pub fn course(&self) -> Course {
        *self.lock()
    }

    /// The stream fixes the end of the batch under way. `false` where the worker was faster: it has read
    /// past `until` or has closed this batch already.
    pub fn freeze(&self, piece: Span) -> bool {
        let mut course = self.lock();
        let early = course.from == piece.from && course.position < piece.until && !course.whole;
        if early {
            course.stop = Some(piece.until);
            course.whole = true;
        }
        early
    }

    /// The worker has read up to `position`.
    pub(super) fn advance(&self, position: i64) -> Course {
        let mut course = self.lock();
        course.position = position;
        *course
    }

    pub(super) fn measured(&self, size: u64) {
        self.lock().size = size;
    }

    /// The worker ends the batch under way; the next one begins there. `false` where a plan fixed another end.
    pub(super) fn close(&self, until: i64) -> bool {
        let mut course = self.lock();
        if course.whole && course.stop != Some(until) {
            return false;
        }
        // The range of a plan stays where it is: the stream must go on seeing that it is under way until it has
        // heard of the batch, or it would have the plan read a second time.
        if !course.whole {
            course.from = until;
        }
        course.size = 0;
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_batch_is_decided_once() {
        let steer = Steer::open(10, None);
        steer.advance(20);
        assert!(!steer.freeze(Span::new(10, 20)), "read past it already");
        assert!(!steer.freeze(Span::new(0, 30)), "another batch");
        assert!(steer.freeze(Span::new(10, 30)));
        assert!(!steer.freeze(Span::new(10, 40)), "fixed once");
        assert!(!steer.close(25), "the plan says 30");
        assert!(steer.close(30));
    }

    #[test]
    fn a_plan_that_was_read_to_its_end_is_still_under_way() {
        let steer = Steer::whole(Span::new(0, 50));
        assert!(steer.close(50));
        assert_eq!((steer.course().from, steer.course().stop), (0, Some(50)));
    }

    #[test]
    fn a_batch_that_the_worker_closed_is_not_frozen_any_more() {
        let steer = Steer::open(0, None);
        steer.advance(5);
        assert!(steer.close(5));
        assert!(!steer.freeze(Span::new(0, 9)));
        assert!(steer.freeze(Span::new(5, 9)));
    }
}
