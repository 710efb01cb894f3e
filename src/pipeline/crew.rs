//! The workers, and which of them reads what.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use landfall_sink::{Isolation, Sink};

use tokio::sync::mpsc::UnboundedSender;

use super::budget::Budget;
use super::pulse::Pulse;
use super::reading::Reading;
use super::worker::{Order, Worker};
use crate::kafka::{Kafka, KafkaError, ReaderLimits};
use crate::plan::Roll;

/// A worker's number.
pub type WorkerId = usize;

/// No record for so long: a worker has time for others.
const QUIET: Duration = Duration::from_millis(150);

pub struct Crew {
    kafka: Kafka,
    sink: Arc<dyn Sink>,
    roll: Roll,
    pub budget: Arc<Budget>,
    /// What ends the whole process: a worker that is lost takes its streams with it.
    fatal: UnboundedSender<String>,
    seats: Mutex<Vec<Seat>>,
    next_id: AtomicU64,
}

struct Seat {
    isolation: Isolation,
    orders: Sender<Order>,
    pulse: Arc<Pulse>,
    readings: HashSet<u64>,
    thread: JoinHandle<()>,
}

impl Crew {
    pub fn new(
        kafka: Kafka,
        sink: Arc<dyn Sink>,
        roll: Roll,
        budget: Arc<Budget>,
        fatal: UnboundedSender<String>,
    ) -> Crew {
        Crew { kafka, sink, roll, budget, fatal, seats: Mutex::default(), next_id: AtomicU64::new(1) }
    }

    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The worker with the fewest readings among those that do not read this stream already (one
    /// consumer handle can hold a partition once). `None` where each of them does.
    pub fn place(&self, isolation: Isolation, taken: &[WorkerId]) -> Result<Option<WorkerId>, KafkaError> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let hired = seats.iter().filter(|seat| seat.isolation == isolation).count();
        let free = |(id, seat): &(usize, &Seat)| seat.isolation == isolation && !taken.contains(id);
        let least = seats.iter().enumerate().filter(free).min_by_key(|(_, seat)| seat.readings.len());
        match least {
            Some((id, seat)) if seat.readings.is_empty() || hired >= self.budget.workers() => return Ok(Some(id)),
            None if hired >= self.budget.workers() => return Ok(None),
            _ => {}
        }
        let seat = self.hire(isolation, seats.len())?;
        seats.push(seat);
        Ok(Some(seats.len() - 1))
    }

    pub fn read(&self, worker: WorkerId, reading: Reading) {
        self.with(worker, |seat| {
            seat.readings.insert(reading.id);
            drop(seat.orders.send(Order::Read(Box::new(reading))));
        });
    }

    /// The reading has ended by itself.
    pub fn ended(&self, worker: WorkerId, id: u64) {
        self.with(worker, |seat| {
            seat.readings.remove(&id);
        });
    }

    /// Ends a reading; what it read is thrown away.
    pub fn cancel(&self, worker: WorkerId, id: u64) {
        self.with(worker, |seat| {
            if seat.readings.remove(&id) {
                drop(seat.orders.send(Order::Drop(id)));
            }
        });
    }

    /// Workers with nothing to do, hired or not.
    pub fn idle(&self, isolation: Isolation) -> usize {
        self.idle_for(isolation, QUIET)
    }

    /// Workers that have had nothing to do for so long.
    pub fn idle_for(&self, isolation: Isolation, quiet: Duration) -> usize {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let hired: Vec<&Seat> = seats.iter().filter(|seat| seat.isolation == isolation).collect();
        let free = hired.iter().filter(|seat| seat.readings.is_empty() || seat.pulse.is_idle(quiet)).count();
        free + self.budget.workers().saturating_sub(hired.len())
    }

    /// Ends every worker; what they have not sealed is thrown away.
    pub fn dismiss(&self) {
        let seats = std::mem::take(&mut *self.seats.lock().unwrap_or_else(PoisonError::into_inner));
        let threads: BTreeMap<usize, JoinHandle<()>> = seats.into_iter().map(|seat| seat.thread).enumerate().collect();
        for (number, thread) in threads {
            if thread.join().is_err() {
                tracing::error!("worker {number} panicked");
            }
        }
    }

    fn hire(&self, isolation: Isolation, number: usize) -> Result<Seat, KafkaError> {
        let limits = ReaderLimits {
            queued_bytes: self.budget.queued_bytes(),
            fetch_bytes: self.budget.fetch_bytes(),
            ..ReaderLimits::default()
        };
        let (kafka, fatal) = (self.kafka.clone(), self.fatal.clone());
        let (orders, inbox) = channel();
        let pulse = Arc::new(Pulse::new());
        let worker = Worker {
            reader: self.kafka.reader(isolation, limits)?,
            another: Box::new(move || kafka.reader(isolation, limits)),
            sink: self.sink.clone(),
            roll: self.roll.clone(),
            budget: self.budget.clone(),
            pulse: pulse.clone(),
            orders: inbox,
            drafts: BTreeMap::new(),
            next_slot: 0,
            spare: Vec::new(),
            aged: Instant::now(),
            busy: 0,
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                    drop(fatal.send(format!("worker {number} panicked; nothing is lost: start again")));
                }
            })
            .map_err(|error| KafkaError::Other(format!("no thread for worker {number}: {error}")))?;
        Ok(Seat { isolation, orders, pulse, readings: HashSet::new(), thread })
    }

    fn with(&self, worker: WorkerId, act: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.seats.lock().unwrap_or_else(PoisonError::into_inner).get_mut(worker) {
            act(seat);
        }
    }
}
