//! What a test appended, what it was told is durable, and what must therefore be read back: nothing acknowledged
//! lost, nothing invented, nothing wrong, nothing out of order, and what is lost of the rest is the end of it.

use std::collections::BTreeMap;

use landfall::wal::{Isolation, Record, Run, Ticket, Wal, WalError};

use crate::rig::{stream, value};

/// Whether a partition has a record at an offset: some are compacted.
pub fn has(partition: i32, offset: i64) -> bool {
    partition % 3 != 2 || offset % 3 != 1
}

/// The records of `[from, until)` of a partition; perhaps none.
pub fn part(partition: i32, from: i64, until: i64) -> Run {
    let offsets: Vec<i64> = (from..until).filter(|offset| has(partition, *offset)).collect();
    let values: Vec<Vec<u8>> = offsets.iter().map(|offset| value(partition, *offset)).collect();
    let record = |(offset, value): (&i64, &Vec<u8>)| (*offset, value.clone());
    let pairs: Vec<(i64, Vec<u8>)> = offsets.iter().zip(&values).map(record).collect();
    let records: Vec<Record<'_>> = pairs
        .iter()
        .map(|(offset, value)| Record { offset: *offset, timestamp_ms: from, value: Some(value), ..Record::default() })
        .collect();
    match records.is_empty() {
        true => Run::empty(from, until),
        false if partition % 3 == 2 => Run::new(&records, until).sparse(),
        false => Run::new(&records, until),
    }
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub partition: i32,
    /// Equal where a run was only started.
    pub from: i64,
    pub until: i64,
    pub ticket: Option<Ticket>,
    pub acked: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// In the order of their tickets.
    pub sent: Vec<Sent>,
    /// Up to where each partition was committed elsewhere: the log may forget what lies below.
    pub committed: BTreeMap<i32, i64>,
}

/// What stood where the ledger says otherwise.
#[derive(Debug)]
#[allow(dead_code, reason = "they are printed")]
pub enum Fault {
    Lost(String),
    Invented(String),
    Wrong(String),
    Reordered(String),
    /// Reading named damage.
    Named(WalError),
}

/// Everything that is held of a partition, by the stretches it is held in.
pub fn read(wal: &Wal, partition: i32) -> Result<Vec<(i64, i64)>, Fault> {
    let Some(id) = wal.stream(&stream(partition), Isolation::ReadCommitted).ok() else { return Ok(Vec::new()) };
    let held = wal.held(id);
    for (from, until) in &held {
        let mut offsets = Vec::new();
        for frame in wal.cursor(id, *from, *until).map_err(Fault::Named)? {
            let frame = frame.map_err(Fault::Named)?;
            for record in frame.records() {
                let record = record.map_err(|error| Fault::Wrong(error.to_string()))?;
                if record.value != Some(value(partition, record.offset).as_slice()) {
                    return Err(Fault::Wrong(format!("orders/{partition} offset {}", record.offset)));
                }
                offsets.push(record.offset);
            }
        }
        let expected: Vec<i64> = (*from..*until).filter(|offset| has(partition, *offset)).collect();
        if offsets != expected {
            return Err(Fault::Reordered(format!("orders/{partition}: held {from}-{until}, read {offsets:?}")));
        }
    }
    Ok(held)
}

impl Ledger {
    pub fn sent(&mut self, partition: i32, from: i64, until: i64, ticket: Ticket) {
        self.sent.push(Sent { partition, from, until, ticket: Some(ticket), acked: false });
    }

    /// A wait returned: the append and every one before it is durable.
    pub fn acked(&mut self, ticket: Ticket) {
        self.sent
            .iter_mut()
            .filter(|sent| sent.ticket.is_none_or(|of| of <= ticket))
            .for_each(|sent| sent.acked = true);
    }

    pub fn acked_until(&self, partition: i32) -> i64 {
        self.sent
            .iter()
            .filter(|sent| sent.partition == partition && sent.acked)
            .map(|sent| sent.until)
            .max()
            .unwrap_or(0)
    }

    pub fn partitions(&self) -> Vec<i32> {
        let mut partitions: Vec<i32> = self.sent.iter().map(|sent| sent.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    fn committed(&self, partition: i32) -> i64 {
        self.committed.get(&partition).copied().unwrap_or(0)
    }

    /// Holds a log that was opened against the ledger.
    pub fn verify(&self, wal: &Wal) -> Result<(), Fault> {
        let mut held = BTreeMap::new();
        for partition in self.partitions() {
            held.insert(partition, read(wal, partition)?);
        }
        let mut gone: Option<&Sent> = None;
        for sent in self.sent.iter().filter(|sent| sent.until > self.committed(sent.partition)) {
            let there = sent.from == sent.until || covers(&held[&sent.partition], sent.from, sent.until);
            match (there, gone) {
                (false, _) if sent.acked => return Err(Fault::Lost(format!("{sent:?} of {held:?}"))),
                (true, Some(before)) if sent.from < sent.until => {
                    return Err(Fault::Reordered(format!("{sent:?} is there and {before:?} is not")));
                }
                (false, _) => gone = Some(sent),
                (true, _) => {}
            }
        }
        for (partition, held) in &held {
            self.invented(*partition, held)?;
            self.next(wal, *partition)?;
        }
        Ok(())
    }

    fn invented(&self, partition: i32, held: &[(i64, i64)]) -> Result<(), Fault> {
        let mut ours: Vec<(i64, i64)> = Vec::new();
        for sent in self.sent.iter().filter(|sent| sent.partition == partition && sent.from < sent.until) {
            match ours.last_mut() {
                Some(last) if last.1 == sent.from => last.1 = sent.until,
                _ => ours.push((sent.from, sent.until)),
            }
        }
        match held.iter().find(|(from, until)| !covers(&ours, *from, *until)) {
            Some(range) => Err(Fault::Invented(format!("orders/{partition} {range:?} of {ours:?}"))),
            None => Ok(()),
        }
    }

    fn next(&self, wal: &Wal, partition: i32) -> Result<(), Fault> {
        let Ok(id) = wal.stream(&stream(partition), Isolation::ReadCommitted) else { return Ok(()) };
        let next = wal.next_offset(id);
        let (acked, nexts) = (self.acked_until(partition), self.sent.iter().filter(|sent| sent.partition == partition));
        let known = next.is_none_or(|next| nexts.clone().any(|sent| sent.until == next));
        // A stream of which every segment was retired is forgotten, also where a run had been started behind it.
        let records = nexts.clone().filter(|sent| sent.acked && sent.from < sent.until).map(|sent| sent.until).max();
        let forgotten = next.is_none() && records.unwrap_or(0) <= self.committed(partition);
        if !forgotten && (next.unwrap_or(0) < acked || !known) {
            return Err(Fault::Lost(format!(
                "orders/{partition}: the next offset is {next:?}, acknowledged is {acked}"
            )));
        }
        Ok(())
    }

    /// What is there now has been shown, so it must stay; what is not must never come back.
    pub fn settle(&mut self, wal: &Wal) {
        let next: BTreeMap<i32, i64> = self
            .partitions()
            .into_iter()
            .filter_map(|partition| {
                let id = wal.stream(&stream(partition), Isolation::ReadCommitted).ok()?;
                Some((partition, wal.next_offset(id)?))
            })
            .collect();
        let there = |sent: &Sent| next.get(&sent.partition).is_some_and(|next| sent.until <= *next);
        self.sent.retain(|sent| sent.acked || there(sent));
        for sent in &mut self.sent {
            (sent.acked, sent.ticket) = (true, None);
        }
    }
}

fn covers(held: &[(i64, i64)], from: i64, until: i64) -> bool {
    held.iter().any(|(start, end)| *start <= from && until <= *end)
}
