//! How far each stream has got while a log is walked, so that what a damage swallowed can be named by the offsets on
//! either side of it.

use std::collections::{BTreeMap, BTreeSet};

use landfall_sink::Stream;

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
    /// The last damage whose frames are not all known.
    last: Option<usize>,
    /// The last one that took definitions with it: a stream that is met after it may have begun in it.
    undefined: Option<usize>,
    settled: BTreeSet<u32>,
}

impl Ledger {
    /// A damage whose frames are not all known: what it swallowed shows when the streams are seen again.
    pub fn swallowed(&mut self, damage: Damage) {
        self.settle();
        self.damages.push(damage);
        self.open = Some(self.damages.len() - 1);
        self.last = self.open;
    }

    /// What the last damage took may have been the definitions of streams that come later.
    pub fn undefined(&mut self) {
        self.undefined = self.last;
    }

    /// A damage that is fully named, or can have hit no frame.
    pub fn named(&mut self, damage: Damage) {
        self.damages.push(damage);
    }

    /// A stream of which only copies are seen: its definition says how far it had got.
    pub fn meet(&mut self, id: u32, def: &StreamDef) {
        self.known(id, def);
    }

    fn known(&mut self, id: u32, def: &StreamDef) -> &mut Known {
        self.max_id = self.max_id.max(id);
        if let (false, Some(before)) = (self.streams.contains_key(&id), self.undefined) {
            let lost = Lost { stream: def.stream.clone(), from: -1, until: Some(def.first_next) };
            self.damages[before].lost.push(lost);
        }
        self.streams.entry(id).or_insert_with(|| Known { def: def.clone(), next: def.first_next })
    }

    /// A stream is seen whose next offset was `prev_next` and is `next`.
    ///
    /// An error says why the frame cannot follow what is known, and what is missing before it.
    pub fn see(
        &mut self,
        id: u32,
        def: &StreamDef,
        prev_next: i64,
        next: i64,
    ) -> Result<(), (String, Option<Box<Lost>>)> {
        let known = self.known(id, def);
        let before = known.next;
        let same = known.def.stream == def.stream && known.def.isolation == def.isolation;
        known.next = next;
        if !same {
            return Err((format!("{} has the id of {}", def.stream, known.def.stream), None));
        }
        if prev_next < before {
            return Err((format!("{} goes back from offset {before} to {prev_next}", def.stream), None));
        }
        if prev_next > before {
            let lost = Lost { stream: def.stream.clone(), from: before, until: Some(prev_next) };
            let Some(open) = self.open.filter(|_| !self.settled.contains(&id)) else {
                return Err((
                    format!("{} jumps from offset {before} to {prev_next}", def.stream),
                    Some(Box::new(lost)),
                ));
            };
            self.damages[open].lost.push(lost);
        }
        self.settled.insert(id);
        Ok(())
    }

    /// Copies that a segment's seal has and its groups do not, unless a damage names them already.
    pub fn lost_copies(&mut self, segment: u64, stream: &Stream, lost: &[(i64, i64)]) {
        for (from, until) in lost {
            let names =
                |lost: &Lost| lost.stream == *stream && lost.from <= *from && lost.until.is_none_or(|to| *until <= to);
            if self.damages.iter().flat_map(|damage| &damage.lost).any(names) {
                continue;
            }
            let lost = Lost { stream: stream.clone(), from: *from, until: Some(*until) };
            if let Some(hit) = self.damages.iter_mut().rfind(|damage| damage.segment == Some(segment)) {
                hit.lost.push(lost);
            }
        }
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
