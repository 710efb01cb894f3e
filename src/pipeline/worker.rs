//! A worker: one plain thread with one consumer handle, which reads many partitions and encodes what it
//! reads on the same core (run to completion).
//!
//! One turn: take orders, poll Kafka, move rows into the batches under way, seal those that are due,
//! and give memory back when the budget is spent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use landfall_sink::Sink;

use super::budget::Budget;
use super::draft::Draft;
use super::pulse::Pulse;
use super::reading::{ReadFault, Reading, Told};
use crate::checkpoint::Lineage;
use crate::kafka::{Event, KafkaError, Notice, Reader, Slot, Start, Turn};
use crate::plan::Roll;

/// What the crew tells a worker.
pub(super) enum Order {
    Read(Box<Reading>),
    /// Forget a reading; what it read is thrown away.
    Drop(u64),
}

pub(super) struct Worker {
    pub reader: Reader,
    /// Makes another reader when this one can never work again.
    pub another: Box<dyn Fn() -> Result<Reader, KafkaError> + Send>,
    pub sink: Arc<dyn Sink>,
    pub roll: Roll,
    pub budget: Arc<Budget>,
    pub pulse: Arc<Pulse>,
    pub orders: Receiver<Order>,
    pub drafts: BTreeMap<Slot, Draft>,
    pub next_slot: Slot,
    /// Slots that were given free: the reader's table is as long as the largest slot.
    pub spare: Vec<Slot>,
    pub aged: Instant,
    /// How many partitions had rows in the turn before.
    pub busy: usize,
}

const POLL: Duration = Duration::from_millis(20);
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long after a client that could not be made another is tried.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the ages of batches are looked at.
const AGING: Duration = Duration::from_millis(50);

impl Worker {
    /// Until the crew is gone.
    pub fn run(mut self) {
        let mut turn = Turn::default();
        while self.take_orders() {
            if self.budget.landing_is_full() {
                // Sealed batches that hold memory wait for their destination: read no further.
                std::thread::sleep(POLL);
                continue;
            }
            let busy = self.drafts.values().any(|draft| draft.seen.is_some());
            let rows = self.reader.poll(if busy { POLL } else { IDLE_POLL }, &mut turn);
            self.pulse.beat(rows);
            self.look_at(&mut turn);
            self.age();
            self.relieve();
        }
    }

    /// `false` when there will be no more orders. New partitions are assigned in one wave.
    fn take_orders(&mut self) -> bool {
        let mut wave = Vec::new();
        if self.drafts.is_empty() {
            match self.orders.recv_timeout(Duration::from_secs(1)) {
                Ok(order) => self.obey(order, &mut wave),
                Err(RecvTimeoutError::Timeout) => {
                    // The client is served even when it has nothing to read, so that it notices brokers that come back.
                    self.reader.poll(Duration::ZERO, &mut Turn::default());
                    return true;
                }
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.obey(order, &mut wave),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        self.assign(wave);
        true
    }

    fn obey(&mut self, order: Order, wave: &mut Vec<Start>) {
        match order {
            Order::Read(reading) => {
                let slot = self.spare.pop().unwrap_or_else(|| {
                    self.next_slot += 1;
                    self.next_slot - 1
                });
                wave.push(Start {
                    slot,
                    topic: reading.head.stream.topic.as_str().into(),
                    partition: reading.head.stream.partition,
                    from: reading.start_at,
                    lineage: reading.lineage.map(|lineage| (lineage.at, lineage.epoch)),
                    stop: None,
                });
                self.drafts.insert(slot, Draft::new(*reading));
            }
            Order::Drop(id) => {
                let slots: Vec<Slot> =
                    self.drafts.iter().filter(|(_, draft)| draft.reading.id == id).map(|(slot, _)| *slot).collect();
                wave.retain(|start| !slots.contains(&start.slot));
                slots.iter().for_each(|slot| drop(self.free(*slot)));
            }
        }
    }

    fn assign(&mut self, wave: Vec<Start>) {
        if wave.is_empty() {
            return;
        }
        let slots: Vec<Slot> = wave.iter().map(|start| start.slot).collect();
        if let Err(error) = self.reader.assign(wave) {
            for slot in slots {
                self.void(slot, ReadFault::Client(error.clone()));
            }
        }
    }

    fn look_at(&mut self, turn: &mut Turn) {
        for slot in turn.touched.drain(..) {
            self.advance(slot, false);
        }
        for (slot, event) in turn.events.drain(..) {
            match event {
                Event::Stop | Event::End(_) => self.advance(slot, false),
                Event::Fault(fault) => self.void(slot, ReadFault::Kafka(fault)),
            }
        }
        for notice in turn.notices.drain(..) {
            match notice {
                // Each reader has connections of its own: whether brokers are away is said once, by who asks for
                // the ends of all partitions.
                Notice::Recovered => tracing::debug!("records arrive again"),
                Notice::BrokersDown(why) | Notice::Broker(why) => tracing::debug!("a reader: {why}"),
                Notice::Authentication(why) => tracing::error!("{why}; check the credentials in kafka.properties"),
                Notice::Fatal(why) => return self.give_up(why),
            }
        }
    }

    /// Takes what has arrived for one partition into its batch, and ends the batch where it is due.
    fn advance(&mut self, slot: Slot, aging: bool) {
        loop {
            let Some(draft) = self.drafts.get_mut(&slot) else { return };
            let position = self.reader.position(slot);
            let course = draft.reading.steer.advance(position.next);
            if position.next > draft.from && draft.seen.is_none() {
                draft.seen = Some(Instant::now());
            }
            let bound = draft.bound(&self.roll);
            let columns = self.reader.columns(slot);
            let ends_here = position.next >= bound;
            if !ends_here && !aging && columns.bytes() < self.budget.batch_bytes(self.roll.max_size, self.busy) {
                return;
            }
            if let Err(error) = draft.absorb(self.sink.as_ref(), columns, bound) {
                return self.void(slot, ReadFault::Sink(error));
            }
            let until = match (ends_here, course.whole) {
                (true, _) => bound,
                (false, true) => return,
                (false, false) => match self.roll.due(&draft.sight(position.next, Instant::now())) {
                    Some(until) => until,
                    None if self.budget.is_heavy(draft.weight.memory) => match draft.relieve() {
                        // It cannot give memory back: the batch ends here.
                        Ok(()) if self.budget.is_heavy(draft.weight.memory) => position.next,
                        Ok(()) => return,
                        Err(error) => return self.void(slot, ReadFault::Sink(error)),
                    },
                    None => return,
                },
            };
            if !draft.reading.steer.close(until) {
                // A plan fixed a later end meanwhile: look again.
                continue;
            }
            let done = course.stop == Some(until);
            if !self.seal(slot, until, done) {
                return;
            }
        }
    }

    /// `false` where the partition was given free.
    fn seal(&mut self, slot: Slot, until: i64, done: bool) -> bool {
        let read = self.reader.columns(slot).lineage_before(until);
        let Some(draft) = self.drafts.get_mut(&slot) else { return false };
        let lineage = read.map(|(at, epoch)| Lineage { at, epoch }).or(draft.reading.lineage);
        let mut batch = match draft.seal(self.sink.as_ref(), until, lineage) {
            Ok(batch) => batch,
            Err(error) => {
                self.void(slot, ReadFault::Sink(error));
                return false;
            }
        };
        batch.held = Some(self.budget.hold(batch.sealed.memory()));
        draft.reading.unlanded.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        draft.reading.report(Told::Batch(batch));
        if done || draft.reading.is_ahead() {
            if let Some(draft) = self.free(slot) {
                draft.reading.report(Told::Ended);
            }
            return false;
        }
        true
    }

    fn void(&mut self, slot: Slot, fault: ReadFault) {
        let at = self.drafts.get(&slot).map_or(0, |draft| draft.reading.steer.course().position);
        if let Some(draft) = self.free(slot) {
            draft.reading.report(Told::Fault { at, fault });
        }
    }

    /// The client can never work again: every reading begins anew, elsewhere or later.
    fn give_up(&mut self, why: String) {
        tracing::error!("the Kafka client of this worker cannot go on: {why}");
        let slots: Vec<Slot> = self.drafts.keys().copied().collect();
        for slot in slots {
            self.void(slot, ReadFault::Client(KafkaError::Other(why.clone())));
        }
        // Without another one nothing can be read: until there is one, whoever asks is told.
        loop {
            match (self.another)() {
                Ok(reader) => {
                    self.reader = reader;
                    return;
                }
                Err(error) => tracing::error!("and no other can be made yet: {error}"),
            }
            std::thread::sleep(AGAIN);
            loop {
                match self.orders.try_recv() {
                    Ok(Order::Read(reading)) => {
                        let (at, why) = (reading.start_at, KafkaError::Other(why.clone()));
                        reading.report(Told::Fault { at, fault: ReadFault::Client(why) });
                    }
                    Ok(Order::Drop(_)) => {}
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    fn free(&mut self, slot: Slot) -> Option<Draft> {
        if let Err(error) = self.reader.release(&[slot]) {
            tracing::debug!("releasing a partition: {error}");
        }
        let freed = self.drafts.remove(&slot);
        if freed.is_some() {
            self.spare.push(slot);
        }
        freed
    }

    /// Ages fire without a further record.
    fn age(&mut self) {
        if self.aged.elapsed() < AGING {
            return;
        }
        self.aged = Instant::now();
        let max_age = self.roll.max_age;
        let due = |draft: &Draft| draft.seen.is_some_and(|seen| seen.elapsed() >= max_age);
        let old: Vec<Slot> = self.drafts.iter().filter(|(_, draft)| due(draft)).map(|(slot, _)| *slot).collect();
        old.into_iter().for_each(|slot| self.advance(slot, true));
    }

    /// Memory of this worker: rows that wait for their batch, and batches under way.
    fn held(&self) -> usize {
        self.drafts.iter().map(|(slot, draft)| draft.weight.memory + self.reader.waiting(*slot)).sum()
    }

    /// The partitions, the one that holds the most memory last.
    fn by_weight(&self) -> Vec<(usize, Slot)> {
        let weigh = |(slot, draft): (&Slot, &Draft)| (draft.weight.memory + self.reader.waiting(*slot), *slot);
        let mut heavy: Vec<(usize, Slot)> = self.drafts.iter().map(weigh).collect();
        heavy.sort_unstable();
        heavy
    }

    /// Where this worker holds more than its share: the rows of the heaviest partitions go into their batches,
    /// which are asked for their memory; where that frees too little, the heaviest batches end.
    fn relieve(&mut self) {
        self.busy = self.drafts.values().filter(|draft| draft.seen.is_some()).count();
        let mut held = self.held();
        let share = self.budget.writers_share();
        if held <= share {
            return;
        }
        let mut heavy = self.by_weight();
        while held > share / 4 * 3 {
            let Some((before, slot)) = heavy.pop() else { break };
            self.advance(slot, true);
            if let Some(Err(error)) = self.drafts.get_mut(&slot).map(Draft::relieve) {
                self.void(slot, ReadFault::Sink(error));
            }
            let now = self.drafts.get(&slot).map_or(0, |draft| draft.weight.memory) + self.reader.waiting(slot);
            held = held - before + now.min(before);
        }
        if held > share {
            self.end_the_heaviest(held, share);
        }
    }

    /// Batches that cannot give memory back end where they are, as far as sealed ones may hold memory. A batch whose
    /// plan fixes its end goes on.
    fn end_the_heaviest(&mut self, mut held: usize, share: usize) {
        let mut heavy = self.by_weight();
        while held > share && !self.budget.landing_is_full() {
            let Some((before, slot)) = heavy.pop() else { return };
            let Some(draft) = self.drafts.get(&slot) else { continue };
            let until = self.reader.position(slot).next;
            let whole = draft.reading.steer.course().whole;
            if !whole && until > draft.from && draft.reading.steer.close(until) {
                let done = draft.reading.steer.course().stop == Some(until);
                self.seal(slot, until, done);
                held -= before;
            }
        }
    }
}
