//! A segment by what its writer said when it ended it: enough to open a log, and a second witness for a scan.

use super::super::error::WalError;
use super::super::format::{Entry, FrameType, GroupHeader, Index, Trailer, group_flags};
use super::super::ranges::without;
use super::super::scan::GroupReader;
use super::{Expect, Walk, Walked};

impl Walk<'_> {
    /// By the trailer and the index alone, where they are whole. What the groups hold is verified when it is read.
    pub fn by_trailer(mut self, trailer: &Trailer) -> Result<Option<Walked>, WalError> {
        let mut reader = self.reader(true)?;
        let Some((index, seal)) = self.seal_index(&mut reader, trailer)? else { return Ok(None) };
        // One that points elsewhere is not followed: the scan says what is wrong with it.
        if !index.lies_within(self.header.base_lsn, trailer.seal_lsn) {
            return Ok(None);
        }
        self.clean_close = seal.has(group_flags::CLEAN_CLOSE);
        for ((id, repair), entry) in &index.entries {
            if *repair {
                self.ledger.meet(*id, &entry.def);
            } else {
                self.see(*id, &entry.def, entry.def.first_next, entry.next_offset, trailer.seal_lsn);
            }
        }
        Ok(Some(Walked {
            end_lsn: trailer.end_lsn,
            expect: Expect::after(&seal),
            index,
            groups: trailer.groups,
            sealed: true,
            clean_close: self.clean_close,
            torn_until: None,
            cut_to: None,
        }))
    }

    /// The index, where it is the one that the trailer speaks of.
    pub(super) fn seal_index(
        &self,
        reader: &mut GroupReader<'_>,
        trailer: &Trailer,
    ) -> Result<Option<(Index, GroupHeader)>, WalError> {
        let Ok(group) = reader.group(trailer.seal_lsn).map_err(WalError::io("reading", self.display))? else {
            return Ok(None);
        };
        let fits = group.header.has(group_flags::SEAL)
            && group.header.chain() == trailer.chain
            && group.header.seq == trailer.group_seq
            && trailer.seal_lsn + group.header.total() == trailer.end_lsn;
        let index = group.frames.iter().find(|frame| frame.header.kind == FrameType::Index);
        Ok(index
            .filter(|_| fits)
            .and_then(|frame| Index::decode(frame.payload(reader)).ok())
            .map(|index| (index, group.header)))
    }

    /// What the seal says about streams settles what a damage in this segment swallowed.
    pub(super) fn compare_index(&mut self, trailer: &Trailer, index: &Index, seal: &GroupHeader) {
        self.clean_close |= seal.has(group_flags::CLEAN_CLOSE);
        let mut behind = false;
        for ((id, repair), entry) in &index.entries {
            let known = self.ledger.streams.get(id).map_or(entry.def.first_next, |known| known.next);
            if !repair && known != entry.next_offset {
                behind = true;
                self.see(*id, &entry.def, entry.next_offset, entry.next_offset, trailer.seal_lsn);
            }
        }
        let hit = self.ledger.damages.iter().any(|damage| damage.segment == Some(self.header.seq));
        if hit {
            // Frames that cannot be read are in the index all the same, so it knows more than the scan.
            self.ledger.close(true);
            self.name_copies(index);
        } else if behind || *index != self.index {
            let what = "the index in the seal is not that of the groups";
            self.ledger.named(self.new_damage(trailer.seal_lsn, trailer.end_lsn, what));
        }
    }

    /// Copies move no stream, so that nothing after them tells of their loss: the seal does.
    fn name_copies(&mut self, index: &Index) {
        for (key, entry) in index.entries.iter().filter(|((_, repair), _)| *repair) {
            self.ledger.meet(key.0, &entry.def);
            let mut found: Vec<(i64, i64)> = self.index.entries.get(key).map_or_else(Vec::new, Entry::ranges);
            found.sort_unstable();
            for (from, until) in entry.ranges() {
                let lost = without((from, until), &found);
                self.ledger.lost_copies(self.header.seq, &entry.def.stream, &lost);
            }
        }
    }
}
