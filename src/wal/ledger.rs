//! How far each stream has got while a log is walked, so that what a damage swallowed can be named by the offsets on
//! either side of it.

use std::collections::{BTreeMap, BTreeSet};

use super::damage::{Damage, Lost};
use super::format::StreamDef;

#[derive(Debug, Clone)]
pub struct Known {
    pub def: StreamDef,
    /// The stream's next offset, as far as the log has been walked.
    pub next: i64,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub streams: BTreeMap<u32, Known>,
    /// No stream has a higher id, also none whose definition cannot be read.
    pub max_id: u32,
    pub damages: Vec<Damage>,
    /// The damage that may have swallowed frames of every stream that is not in `settled`.
    open: Option<usize>,
    settled: BTreeSet<u32>,
}

impl Ledger {
    /// A damage whose frames are not all known: what it swallowed shows when the streams are seen again.
    pub fn swallowed(&mut self, damage: Damage) {
        self.settle();
        self.damages.push(damage);
        self.open = Some(self.damages.len() - 1);
    }

    /// A damage that is fully named, or can have hit no frame.
    pub fn named(&mut self, damage: Damage) {
        self.damages.push(damage);
    }

    /// A stream of which only copies are seen: its definition says how far it had got.
    pub fn meet(&mut self, id: u32, def: &StreamDef) {
        self.max_id = self.max_id.max(id);
        self.streams.entry(id).or_insert_with(|| Known { def: def.clone(), next: def.first_next });
    }

    /// A stream is seen whose next offset was `prev_next` and is `next`.
    pub fn see(&mut self, id: u32, def: &StreamDef, prev_next: i64, next: i64) -> Result<(), String> {
        self.max_id = self.max_id.max(id);
        // Met in the middle of a run: what the damage before it held of the run is not known, so it is named from the
        // first offset that there can be.
        if let Some(open) = self.open.filter(|_| !self.streams.contains_key(&id) && 0 < prev_next && prev_next < next) {
            self.damages[open].lost.push(Lost { stream: def.stream.clone(), from: 0, until: Some(prev_next) });
        }
        let known = self.streams.entry(id).or_insert_with(|| Known { def: def.clone(), next: def.first_next });
        let before = known.next;
        let same = known.def.stream == def.stream && known.def.isolation == def.isolation;
        known.next = next;
        if !same {
            return Err(format!("{} has the id of {}", def.stream, known.def.stream));
        }
        if prev_next < before {
            return Err(format!("{} goes back from offset {before} to {prev_next}", def.stream));
        }
        if prev_next > before {
            let Some(open) = self.open.filter(|_| !self.settled.contains(&id)) else {
                return Err(format!("{} jumps from offset {before} to {prev_next}", def.stream));
            };
            let lost = Lost { stream: def.stream.clone(), from: before, until: Some(prev_next) };
            self.damages[open].lost.push(lost);
        }
        self.settled.insert(id);
        Ok(())
    }

    /// The last frame was seen that stands in the damage itself. A stream that went on there without a hole may have
    /// lost what follows; where one has a hole, that was the one frame that is hit.
    pub fn within(&mut self) {
        let found = self.open.is_some_and(|open| !self.damages[open].lost.is_empty());
        if found { self.close(true) } else { self.settled.clear() }
    }

    /// Nothing that comes can tell more about the open damage. `all` says that streams which were not seen had
    /// nothing in it (the segment's index has none of them).
    pub fn close(&mut self, all: bool) {
        if all {
            self.open = None;
            self.settled.clear();
        }
        self.settle();
    }

    fn settle(&mut self) {
        if let Some(open) = self.open.take() {
            for (id, known) in &self.streams {
                if !self.settled.contains(id) {
                    let lost = Lost { stream: known.def.stream.clone(), from: known.next, until: None };
                    self.damages[open].lost.push(lost);
                }
            }
        }
        self.settled.clear();
    }
}
