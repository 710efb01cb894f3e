//! How the segments follow each other, and which are missing.

use super::super::format::{BLOCK, FIRST_LSN, Meta, SegmentHeader, segment_flags};
use super::super::walk::{Expect, Walked};
use super::files::Present;
use super::{End, Reading};

/// Where the next segment must go on.
pub(super) struct Continue {
    pub seq: u64,
    pub lsn: Option<u64>,
    pub prev_end: u64,
    pub expect: Expect,
}

const ANY: Expect = Expect { chain: None, seq: None };

impl Continue {
    /// Where a log begins: at its floor, or at its first address.
    pub fn start(meta: Option<&Meta>) -> Continue {
        match meta.filter(|meta| meta.floor_segment > 0) {
            Some(meta) => {
                let lsn = meta.floor_lsn;
                Continue { seq: meta.floor_segment, lsn: Some(lsn), prev_end: lsn, expect: ANY }
            }
            None => {
                let uuid = meta.map_or([0; 16], |meta| meta.uuid);
                Continue { seq: 1, lsn: Some(FIRST_LSN), prev_end: FIRST_LSN, expect: Expect::start(&uuid) }
            }
        }
    }

    pub fn behind(header: &SegmentHeader, walked: &Walked, lsn: u64) -> Continue {
        Continue { seq: header.seq + 1, lsn: Some(lsn), prev_end: walked.end_lsn, expect: walked.expect }
    }

    pub fn end(&self, newest: u64) -> End {
        End {
            lsn: self.lsn.unwrap_or(FIRST_LSN),
            prev_end_lsn: self.prev_end,
            chain: self.expect.chain.unwrap_or(0),
            group_seq: self.expect.seq.unwrap_or(1),
            segment: self.seq.max(newest + 1),
        }
    }
}

impl Reading<'_> {
    /// Whether a segment follows what came before it.
    pub(super) fn continues(&mut self, one: &Present, at: &mut Continue) {
        if one.name.seq != at.seq {
            let from = at.lsn.unwrap_or(at.prev_end);
            let what = match one.name.seq - 1 {
                before if before == at.seq => format!("segment {before} is missing"),
                before => format!("segments {} to {before} are missing", at.seq),
            };
            self.swallowed_segment("", None, from, one.name.base_lsn, what);
            at.expect = ANY;
        } else if let Some(header) = &one.header {
            let gap = header.flags & segment_flags::GAP_BEFORE != 0;
            let chained = at.expect.chain.is_none_or(|chain| chain == header.prev_chain);
            if !gap && (at.lsn.is_some_and(|lsn| lsn != header.base_lsn) || !chained) {
                let from = at.prev_end.min(header.base_lsn);
                self.swallowed(
                    &one.file,
                    None,
                    from,
                    header.base_lsn,
                    "the segment does not continue the one before it",
                );
                at.expect = ANY;
            }
        }
        if let Some(header) = &one.header {
            at.expect.chain = Some(header.prev_chain);
        }
    }

    /// A segment that neither its header nor a group of it says anything about.
    pub(super) fn headless(&mut self, one: &Present, next: Option<&Present>, at: &Continue) -> Continue {
        let (name, len) = (one.name, one.len);
        let end = next.map_or(name.base_lsn + len.saturating_sub(BLOCK), |next| next.name.base_lsn);
        let what = "the segment's header is damaged";
        self.swallowed_segment(&one.file, Some(name.seq), name.base_lsn, end, what);
        Continue { seq: name.seq + 1, lsn: Some(end), prev_end: at.prev_end, expect: ANY }
    }

    /// META remembers the newest segment that was published: without it, that file's loss would look like a log that
    /// ends there.
    pub(super) fn newest_missing(&mut self, meta: Option<&Meta>, at: &Continue) {
        if let Some(meta) = meta.filter(|meta| meta.newest_segment >= at.seq) {
            let lsn = at.lsn.unwrap_or(at.prev_end);
            let what = format!("the newest segment, {}, is missing", meta.newest_segment);
            self.swallowed("", None, lsn, lsn, what);
        }
    }
}
