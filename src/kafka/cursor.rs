//! The guard on every delivered offset of one assigned partition: what is a row, what is dropped, and when
//! a range has been read to its end. Pure.

/// Where a partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The first offset that was not yet seen: one more than the last delivered offset, or the end of the
    /// partition if that is further (the offsets between are markers, aborted or compacted away).
    pub next: i64,
    /// Leader epoch of the last delivered record.
    pub epoch: Option<i32>,
    /// Whether the last thing seen was the end of the partition.
    pub at_end: bool,
    /// Offsets that were skipped between records: legal where there are transactions or compaction.
    pub holes: u64,
    /// Records below `next` that came all the same and were dropped.
    pub repeats: u64,
}

/// What to do with a delivered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Row,
    /// A row, and the last of the range.
    LastRow,
    /// Beyond the range, which is thereby complete.
    Beyond,
    /// Not wanted: seen before, or after the end or a fault.
    Drop,
}

/// What an end-of-partition event means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The range is complete.
    Stop,
    /// All that there is has been read.
    End(i64),
    Ignored,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    position: Position,
    stop: Option<i64>,
    /// Stopped or faulted: delivers nothing more until assigned anew.
    over: bool,
}

impl Cursor {
    pub fn new(from: i64, stop: Option<i64>) -> Cursor {
        Cursor { position: Position { next: from, ..Position::default() }, stop, over: false }
    }

    pub fn position(&self) -> Position {
        self.position
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    pub fn fault(&mut self) {
        self.over = true;
    }

    #[inline]
    pub fn record(&mut self, offset: i64, epoch: i32) -> Verdict {
        if self.over {
            return Verdict::Drop;
        }
        let position = &mut self.position;
        if offset < position.next {
            position.repeats += 1;
            return Verdict::Drop;
        }
        if let Some(stop) = self.stop.filter(|stop| offset >= *stop) {
            position.holes += (stop - position.next).max(0) as u64;
            position.next = position.next.max(stop);
            self.over = true;
            return Verdict::Beyond;
        }
        position.holes += (offset - position.next) as u64;
        position.next = offset + 1;
        position.at_end = false;
        if epoch >= 0 {
            position.epoch = Some(epoch);
        }
        if self.stop == Some(offset + 1) {
            self.over = true;
            return Verdict::LastRow;
        }
        Verdict::Row
    }

    pub fn end_of_partition(&mut self, offset: i64) -> Ending {
        if self.over {
            return Ending::Ignored;
        }
        let position = &mut self.position;
        if offset > position.next {
            position.holes += (offset - position.next) as u64;
            position.next = offset;
        }
        position.at_end = true;
        if self.stop.is_some_and(|stop| offset >= stop) {
            self.over = true;
            return Ending::Stop;
        }
        Ending::End(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_range_ends_at_its_last_offset() {
        let mut cursor = Cursor::new(5, Some(8));
        assert_eq!(cursor.record(5, 0), Verdict::Row);
        assert_eq!(cursor.record(7, 0), Verdict::LastRow);
        assert_eq!(cursor.record(8, 0), Verdict::Drop);
        assert_eq!(cursor.position(), Position { next: 8, epoch: Some(0), holes: 1, ..Position::default() });
    }

    #[test]
    fn a_range_whose_tail_is_never_delivered_ends_behind_it() {
        let mut cursor = Cursor::new(0, Some(10));
        assert_eq!(cursor.record(3, 2), Verdict::Row);
        assert_eq!(cursor.record(12, 2), Verdict::Beyond);
        assert_eq!(cursor.position().next, 10);
        let mut cursor = Cursor::new(0, Some(10));
        assert_eq!(cursor.end_of_partition(9), Ending::End(9));
        assert_eq!(cursor.end_of_partition(10), Ending::Stop);
        assert_eq!(cursor.end_of_partition(11), Ending::Ignored);
    }

    #[test]
    fn the_end_of_the_partition_moves_the_position_over_markers() {
        let mut cursor = Cursor::new(0, None);
        assert_eq!(cursor.record(0, -1), Verdict::Row);
        assert_eq!(cursor.end_of_partition(4), Ending::End(4));
        assert!(cursor.position().at_end);
        assert_eq!(cursor.record(2, -1), Verdict::Drop);
        assert_eq!(cursor.record(4, -1), Verdict::Row);
        assert!(!cursor.position().at_end);
        assert_eq!(cursor.position(), Position { next: 5, holes: 3, repeats: 1, ..Position::default() });
    }

    proptest! {
        #[test]
        fn rows_are_inside_the_range_and_strictly_increase(
            offsets in prop::collection::vec(0i64..30, 0..60),
            from in 0i64..20,
            length in 1i64..20,
        ) {
            let mut cursor = Cursor::new(from, Some(from + length));
            let mut rows = Vec::new();
            for offset in offsets {
                if matches!(cursor.record(offset, 0), Verdict::Row | Verdict::LastRow) {
                    rows.push(offset);
                }
            }
            prop_assert!(rows.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(rows.iter().all(|offset| (from..from + length).contains(offset)));
        }
    }
}
