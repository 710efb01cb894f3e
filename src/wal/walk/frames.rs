//! What the frames of a group tell the ledger and the index, and what is taken of a group that is hit.

use super::super::damage::{Damage, Lost};
use super::super::format::{BLOCK, FrameType, GroupHeader, StreamDef, group_flags};
use super::super::scan::{BadGroup, FrameAt, GroupReader, unknown};
use super::Walk;

impl Walk<'_> {
    pub(super) fn take(&mut self, frames: &[FrameAt], group: &GroupHeader, reader: &GroupReader<'_>) {
        self.groups += 1;
        self.clean_close = group.has(group_flags::CLEAN_CLOSE);
        for frame in frames {
            self.frame(frame, group, reader);
        }
    }

    fn frame(&mut self, frame: &FrameAt, group: &GroupHeader, reader: &GroupReader<'_>) {
        let header = &frame.header;
        let lsn = group.lsn;
        if unknown(header.kind) || header.codec != 0 {
            let what = format!(
                "a frame of type {} and codec {}, which this release does not know",
                header.kind.code(),
                header.codec
            );
            self.ledger.named(self.new_damage(lsn, lsn + group.total(), &what));
            return;
        }
        self.ledger.max_id = self.ledger.max_id.max(header.stream_id);
        match header.kind {
            FrameType::StreamDef if frame.sound => match StreamDef::decode(frame.payload(reader)) {
                Ok(def) => drop(self.defs.insert(header.stream_id, def)),
                Err(error) => self.damage(lsn, lsn + group.total(), &error.to_string()),
            },
            FrameType::Data | FrameType::Assign | FrameType::Gap => self.moved(frame, group),
            _ => {}
        }
    }

    fn moved(&mut self, frame: &FrameAt, group: &GroupHeader) {
        let (header, lsn) = (&frame.header, group.lsn);
        let known =
            self.defs.get(&header.stream_id).or(self.ledger.streams.get(&header.stream_id).map(|known| &known.def));
        let Some(def) = known.cloned() else {
            let what = format!("a frame of a stream that is nowhere defined (id {})", header.stream_id);
            self.ledger.named(self.new_damage(lsn, lsn + group.total(), &what));
            return;
        };
        let repair = group.has(group_flags::REPAIR);
        if repair {
            self.ledger.meet(header.stream_id, &def);
        } else {
            self.see(header.stream_id, &def, header.prev_next_offset, header.next_offset, lsn);
        }
        if frame.sound {
            self.index.note(header, &def, lsn, repair);
        }
    }

    pub(super) fn see(&mut self, id: u32, def: &StreamDef, prev_next: i64, next: i64, lsn: u64) {
        if let Err((why, lost)) = self.ledger.see(id, def, prev_next, next) {
            let damage = self.new_damage(lsn, lsn + BLOCK, &why);
            self.ledger.named(Damage { lost: lost.into_iter().map(|lost| *lost).collect(), ..damage });
        }
    }

    /// Takes what is proven of a group that is hit, and names what is not.
    pub(super) fn salvage(&mut self, bad: &BadGroup, reader: &GroupReader<'_>, at: u64, until: u64) {
        let unsound = bad.frames.iter().any(|frame| !frame.sound);
        let whole = |header: &GroupHeader| unsound && bad.frames.len() == header.frames as usize;
        let end = bad.header.as_ref().filter(|header| whole(header)).map(|header| at + header.total());
        if end.is_none() {
            self.damage(at, until, bad.why);
        }
        let Some(group) = bad.header else { return };
        for frame in &bad.frames {
            self.frame(frame, &group, reader);
            if !frame.sound {
                let lost = self.lost(frame);
                self.ledger.named(Damage { lost, ..self.new_damage(at, end.unwrap_or(until), bad.why) });
            }
        }
        // All frames of this one are known; what else is hit before the next one are not.
        if let Some(end) = end.filter(|end| *end < until) {
            self.damage(end, until, "no group of this log starts here");
        }
        if end.is_none() {
            self.ledger.within();
        }
    }

    /// What a frame held whose header is whole and whose payload is not.
    fn lost(&self, frame: &FrameAt) -> Vec<Lost> {
        let (header, id) = (&frame.header, frame.header.stream_id);
        let def = self.defs.get(&id).or(self.ledger.streams.get(&id).map(|known| &known.def));
        let def = def.filter(|_| header.kind == FrameType::Data);
        let lost = |def: &StreamDef| Lost {
            stream: def.stream.clone(),
            from: header.prev_next_offset,
            until: Some(header.next_offset),
        };
        def.map(lost).into_iter().collect()
    }

    fn damage(&mut self, from: u64, until: u64, what: &str) {
        let damage = self.new_damage(from, until, what);
        self.swallowed = true;
        self.ledger.swallowed(damage);
    }

    pub(super) fn new_damage(&self, from_lsn: u64, until_lsn: u64, what: &str) -> Damage {
        let (file, segment) = (self.display.to_string(), Some(self.header.seq));
        Damage { file, segment, from_lsn, until_lsn, what: what.into(), lost: Vec::new() }
    }
}
