//! The rows of one partition that were read and not yet taken: plain vectors, one per Arrow buffer, so that
//! a record costs a few pushes and a batch costs no copy.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use landfall_sink::envelope::{self, timestamp_type};

/// A column may not grow beyond this between two takes: Arrow's offsets are 32 bits wide.
const COLUMN_LIMIT: usize = i32::MAX as usize;

/// Nor may a batch have more rows: the topic's name, 249 bytes at most, is repeated in each.
const ROW_LIMIT: usize = COLUMN_LIMIT / 249;

/// What is the same in every row of a partition.
#[derive(Debug, Clone)]
pub struct Constants {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// One record as librdkafka shows it; nothing of it is kept.
pub(super) struct Record<'a> {
    pub offset: i64,
    /// Type as in the envelope, and milliseconds since 1970.
    pub timestamp_type: i32,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// A column does not fit into one batch any more: nothing was appended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A nullable column of byte strings.
struct Bytes {
    ends: Vec<i32>,
    data: Vec<u8>,
    nulls: NullBufferBuilder,
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes { ends: Vec::new(), data: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }
}

impl Bytes {
    fn reserve(&mut self, rows: usize, bytes: usize) {
        self.ends.reserve(rows + 1);
        self.data.reserve(bytes);
    }

    fn fits(&self, more: usize) -> bool {
        self.data.len().saturating_add(more) <= COLUMN_LIMIT
    }

    /// The caller has asked [`Bytes::fits`].
    fn push(&mut self, bytes: Option<&[u8]>) {
        if self.ends.is_empty() {
            self.ends.push(0);
        }
        match bytes {
            Some(bytes) => {
                self.data.extend_from_slice(bytes);
                self.nulls.append_non_null();
            }
            None => self.nulls.append_null(),
        }
        self.ends.push(self.data.len() as i32);
    }

    fn split_off(&mut self, row: usize) -> Bytes {
        if self.ends.is_empty() {
            return Bytes::default();
        }
        let start = self.ends[row];
        let tail_ends = std::iter::once(0).chain(self.ends[row + 1..].iter().map(|end| end - start)).collect();
        self.ends.truncate(row + 1);
        let tail_data = self.data.split_off(start as usize);
        let (head, tail) = split_nulls(&mut self.nulls, row);
        self.nulls = head;
        Bytes { ends: tail_ends, data: tail_data, nulls: tail }
    }

    fn finish(mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        if self.ends.is_empty() {
            self.ends.push(0);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        (offsets, Buffer::from_vec(self.data), self.nulls.finish())
    }
}

fn split_nulls(nulls: &mut NullBufferBuilder, row: usize) -> (NullBufferBuilder, NullBufferBuilder) {
    let rows = nulls.len();
    let mut head = NullBufferBuilder::new(0);
    let mut tail = NullBufferBuilder::new(0);
    match nulls.finish() {
        None => {
            head.append_n_non_nulls(row);
            tail.append_n_non_nulls(rows - row);
        }
        Some(all) => {
            head.append_buffer(&all.slice(0, row));
            tail.append_buffer(&all.slice(row, rows - row));
        }
    }
    (head, tail)
}

/// The rows of one partition, in order of offset.
#[derive(Default)]
pub struct Columns {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    timestamp_types: Vec<i32>,
    untimed: usize,
    keys: Bytes,
    values: Bytes,
    header_ends: Vec<i32>,
    header_keys: Bytes,
    header_values: Bytes,
    /// Where the leader epoch of the rows changes: (first offset, epoch).
    epochs: Vec<(i64, i32)>,
    /// The offset behind the last row that was taken and has an epoch, and that epoch.
    taken: Option<(i64, i32)>,
    /// Rows, key bytes and value bytes of the last batch: the size to reserve for the next.
    last: (usize, usize, usize),
}

impl Columns {
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes that the rows take in memory: payload and the fixed columns.
    pub fn bytes(&self) -> usize {
        let payload = self.keys.data.len() + self.values.data.len();
        let headers = self.header_keys.data.len() + self.header_values.data.len() + 8 * self.header_keys.ends.len();
        payload + headers + self.rows() * FIXED_BYTES
    }

    /// Bytes that the columns hold, with the room that they have reserved: what counts against a memory budget.
    pub fn memory(&self) -> usize {
        let fixed = 8 * (self.offsets.capacity() + self.timestamps.capacity())
            + 4 * (self.timestamp_types.capacity() + self.header_ends.capacity());
        let strings = [&self.keys, &self.values, &self.header_keys, &self.header_values];
        fixed + strings.iter().map(|bytes| bytes.data.capacity() + 4 * bytes.ends.capacity()).sum::<usize>()
    }

    /// Offsets of the first and the last row.
    pub fn first_and_last(&self) -> Option<(i64, i64)> {
        Some((*self.offsets.first()?, *self.offsets.last()?))
    }

    /// The first offset that a batch which is cut before row `row` does not hold.
    pub fn offset_at(&self, row: usize) -> Option<i64> {
        self.offsets.get(row).copied()
    }

    /// The offset behind the last record before `offset`, of those read since the partition was assigned, and the
    /// leader epoch of that record. Markers and aborted records lie behind it, perhaps under a later epoch.
    pub fn lineage_before(&self, offset: i64) -> Option<(i64, i32)> {
        let upto = self.epochs.partition_point(|(first, _)| *first < offset);
        let Some((_, epoch)) = upto.checked_sub(1).map(|at| self.epochs[at]) else { return self.taken };
        let rows = self.offsets.partition_point(|row| *row < offset);
        rows.checked_sub(1).map(|row| (self.offsets[row] + 1, epoch))
    }

    /// All rows as one batch of the envelope's schema.
    pub fn take(&mut self, constants: &Constants) -> RecordBatch {
        self.take_rows(self.rows(), constants)
    }

    /// The rows below `until`; the others stay.
    pub fn take_until(&mut self, until: i64, constants: &Constants) -> RecordBatch {
        let rows = self.offsets.partition_point(|offset| *offset < until);
        self.take_rows(rows, constants)
    }

    fn take_rows(&mut self, rows: usize, constants: &Constants) -> RecordBatch {
        let mut rest = self.split_off(rows);
        if let Some(last) = self.offsets.last() {
            rest.taken = self.lineage_before(last + 1);
            rest.last = (rows, self.keys.data.len(), self.values.data.len());
        }
        std::mem::replace(self, rest).into_batch(constants)
    }

    fn split_off(&mut self, row: usize) -> Columns {
        let last = (self.last, self.taken);
        if row == self.rows() {
            return Columns { last: last.0, taken: last.1, ..Columns::default() };
        }
        let tail_types = self.timestamp_types.split_off(row);
        let untimed = tail_types.iter().filter(|kind| **kind == timestamp_type::NONE).count();
        let headers = self.header_ends.get(row).copied().unwrap_or(0);
        let header_ends = if self.header_ends.is_empty() {
            Vec::new()
        } else {
            std::iter::once(0).chain(self.header_ends[row + 1..].iter().map(|end| end - headers)).collect()
        };
        self.header_ends.truncate(row + 1);
        self.untimed -= untimed;
        let first = self.offsets[row];
        Columns {
            offsets: self.offsets.split_off(row),
            timestamps: self.timestamps.split_off(row),
            timestamp_types: tail_types,
            untimed,
            keys: self.keys.split_off(row),
            values: self.values.split_off(row),
            header_ends,
            header_keys: self.header_keys.split_off(headers as usize),
            header_values: self.header_values.split_off(headers as usize),
            epochs: self.split_epochs(first),
            taken: last.1,
            last: last.0,
        }
    }

    /// Epochs of the rows from `first` on; those before stay.
    fn split_epochs(&mut self, first: i64) -> Vec<(i64, i32)> {
        let at = self.epochs.partition_point(|(from, _)| *from <= first);
        let mut tail = self.epochs.split_off(at);
        if let Some((_, epoch)) = self.epochs.last().copied() {
            tail.insert(0, (first, epoch));
        }
        tail
    }

    /// Appends a record. Its headers follow by [`Columns::push_header`], then [`Columns::end_row`].
    #[inline]
    pub(super) fn push(&mut self, record: &Record<'_>, epoch: i32) -> Result<(), Full> {
        let key_bytes = record.key.map_or(0, <[u8]>::len);
        let value_bytes = record.value.map_or(0, <[u8]>::len);
        if !self.keys.fits(key_bytes) || !self.values.fits(value_bytes) || self.rows() >= ROW_LIMIT {
            return Err(Full);
        }
        if self.offsets.is_empty() {
            self.reserve();
        }
        if epoch >= 0 && self.epochs.last().is_none_or(|(_, last)| *last != epoch) {
            self.epochs.push((record.offset, epoch));
        }
        self.offsets.push(record.offset);
        self.timestamps.push(record.timestamp);
        self.timestamp_types.push(record.timestamp_type);
        self.untimed += usize::from(record.timestamp_type == timestamp_type::NONE);
        self.keys.push(record.key);
        self.values.push(record.value);
        Ok(())
    }

    pub(super) fn push_header(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Full> {
        if !self.header_keys.fits(key.len().saturating_mul(3)) {
            return Err(Full);
        }
        if !self.header_values.fits(value.map_or(0, <[u8]>::len)) {
            return Err(Full);
        }
        // Kafka's header keys are UTF-8 by contract; what is not is made so, for Arrow must hold text.
        match std::str::from_utf8(key) {
            Ok(_) => self.header_keys.push(Some(key)),
            Err(_) => self.header_keys.push(Some(String::from_utf8_lossy(key).as_bytes())),
        }
        self.header_values.push(value);
        Ok(())
    }

    #[inline]
    pub(super) fn end_row(&mut self) {
        if self.header_ends.is_empty() {
            self.header_ends.push(0);
        }
        self.header_ends.push(self.header_keys.ends.len().saturating_sub(1) as i32);
    }

    fn reserve(&mut self) {
        let (rows, key_bytes, value_bytes) = self.last;
        self.offsets.reserve(rows);
        self.timestamps.reserve(rows);
        self.timestamp_types.reserve(rows);
        self.header_ends.reserve(rows + 1);
        self.keys.reserve(rows, key_bytes);
        self.values.reserve(rows, value_bytes);
    }

    fn into_batch(mut self, constants: &Constants) -> RecordBatch {
        let rows = self.rows();
        let untimed = (self.untimed > 0)
            .then(|| NullBuffer::from_iter(self.timestamp_types.iter().map(|kind| *kind != timestamp_type::NONE)));
        if self.header_ends.is_empty() {
            self.header_ends.push(0);
        }
        let timestamps = TimestampMillisecondArray::new(ScalarBuffer::from(self.timestamps), untimed);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(repeated(&constants.topic, rows)),
            Arc::new(Int32Array::new(ScalarBuffer::from(vec![constants.partition; rows]), None)),
            Arc::new(Int64Array::new(ScalarBuffer::from(self.offsets), None)),
            Arc::new(timestamps.with_timezone("UTC")),
            Arc::new(Int32Array::new(ScalarBuffer::from(self.timestamp_types), None)),
            Arc::new(binary(self.keys)),
            Arc::new(binary(self.values)),
            Arc::new(headers(self.header_ends, self.header_keys, self.header_values)),
        ];
        RecordBatch::try_new(envelope::schema(), columns)
            .expect("columns are pushed together, so they are of one length, and of the schema's types")
    }
}

/// Offset, timestamp, its type, and the ends of key, value and headers, partition and topic's end.
const FIXED_BYTES: usize = 8 + 8 + 4 + 3 * 4 + 4 + 4;

fn binary(column: Bytes) -> BinaryArray {
    let (offsets, data, nulls) = column.finish();
    BinaryArray::new(offsets, data, nulls)
}

fn headers(ends: Vec<i32>, keys: Bytes, values: Bytes) -> ListArray {
    let (offsets, data, _) = keys.finish();
    let keys = StringArray::new(offsets, data, None);
    let items = StructArray::new(envelope::header_fields(), vec![Arc::new(keys), Arc::new(binary(values))], None);
    ListArray::new(
        Arc::new(envelope::header_item()),
        OffsetBuffer::new(ScalarBuffer::from(ends)),
        Arc::new(items),
        None,
    )
}

/// The same text in every row, written by doubling.
fn repeated(text: &str, rows: usize) -> StringArray {
    let total = text.len() * rows;
    let mut data: Vec<u8> = Vec::with_capacity(total);
    data.extend_from_slice(&text.as_bytes()[..text.len().min(total)]);
    while data.len() < total {
        let more = data.len().min(total - data.len());
        data.extend_from_within(..more);
    }
    let ends: Vec<i32> = (0..=rows).map(|row| (row * text.len()) as i32).collect();
    StringArray::new(OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(data), None)
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
