//! The checksum of a file's rows, which another program can compute again.
//!
//! It is over the *content* of the columns in a fixed little-endian form, column after column, so it does
//! not depend on how rows were cut into batches, pages or row groups. One CRC-32C runs over each of
//! twelve streams; the checksum is the CRC-32C of the number of rows and the twelve results. Streams
//! instead of rows because a column is one stretch of memory: row by row the same bytes take five to ten
//! times as long, which was a tenth of the whole encoding. `docs/file-format.md` has a worked example.

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteArrayType, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, GenericByteArray, ListArray, RecordBatch, StructArray};
use arrow_buffer::Buffer;
use crc32c::crc32c_append;
use landfall_sink::envelope::column;

/// A null timestamp. No record can carry it: Kafka's own timestamps are not below −1.
const NO_TIMESTAMP: i64 = i64::MIN;
/// The length that stands for null.
const NULL: i32 = -1;

mod stream {
    pub const OFFSET: usize = 0;
    pub const TIMESTAMP: usize = 1;
    pub const TIMESTAMP_TYPE: usize = 2;
    pub const KEY_LENGTH: usize = 3;
    pub const VALUE_LENGTH: usize = 5;
    pub const HEADER_COUNT: usize = 7;
    pub const HEADER_KEY_LENGTH: usize = 8;
    pub const HEADER_VALUE_LENGTH: usize = 10;
    pub const COUNT: usize = 12;
}

/// The checksum of the rows so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksum {
    rows: u64,
    streams: [u32; stream::COUNT],
}

impl Checksum {
    pub fn new() -> Checksum {
        Checksum::default()
    }

    /// Takes the next rows in order of offset. The batch has the envelope's schema.
    pub fn update(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        let offsets = batch.column(column::OFFSET).as_primitive::<Int64Type>();
        self.add(stream::OFFSET, &little_endian_i64(offsets.values().inner()));
        let times = batch.column(column::TIMESTAMP).as_primitive::<TimestampMillisecondType>();
        if times.null_count() == 0 {
            self.add(stream::TIMESTAMP, &little_endian_i64(times.values().inner()));
        } else {
            let values: Vec<i64> = times.iter().map(|time| time.unwrap_or(NO_TIMESTAMP)).collect();
            self.add(stream::TIMESTAMP, &little_endian_i64(&Buffer::from_vec(values)));
        }
        let types = batch.column(column::TIMESTAMP_TYPE).as_primitive::<Int32Type>();
        self.add(stream::TIMESTAMP_TYPE, &little_endian_i32(types.values().inner()));
        self.bytes(stream::KEY_LENGTH, batch.column(column::KEY).as_binary::<i32>());
        self.bytes(stream::VALUE_LENGTH, batch.column(column::VALUE).as_binary::<i32>());
        self.headers(batch.column(column::HEADERS).as_list::<i32>());
    }

    /// As it stands in `landfall.checksum`.
    pub fn text(&self) -> String {
        let mut summary = Vec::with_capacity(8 + 4 * stream::COUNT);
        summary.extend_from_slice(&self.rows.to_le_bytes());
        for crc in self.streams {
            summary.extend_from_slice(&crc.to_le_bytes());
        }
        format!("crc32c:{:08x}", crc32c::crc32c(&summary))
    }

    fn add(&mut self, stream: usize, bytes: &[u8]) {
        self.streams[stream] = crc32c_append(self.streams[stream], bytes);
    }

    /// A column of bytes is two streams: `lengths`, and after it the bytes themselves.
    fn bytes<T: ByteArrayType<Offset = i32>>(&mut self, lengths: usize, array: &GenericByteArray<T>) {
        let offsets = array.value_offsets();
        let mut sizes: Vec<i32> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A null slot may legally cover bytes; they are no content.
        let mut hidden = false;
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            for (size, valid) in sizes.iter_mut().zip(nulls.iter()) {
                if !valid {
                    hidden |= *size > 0;
                    *size = NULL;
                }
            }
        }
        self.add(lengths, &little_endian_i32(&Buffer::from_vec(sizes)));
        if hidden {
            for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
                let value: &[u8] = array.value(row).as_ref();
                self.add(lengths + 1, value);
            }
        } else if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
            self.add(lengths + 1, &array.value_data()[*first as usize..*last as usize]);
        }
    }

    fn headers(&mut self, list: &ListArray) {
        let offsets = list.value_offsets();
        let counts: Vec<i32> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        self.add(stream::HEADER_COUNT, &little_endian_i32(&Buffer::from_vec(counts)));
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return };
        if first == last {
            return;
        }
        let items = list.values().slice(*first as usize, (*last - *first) as usize);
        let items: &StructArray = items.as_struct();
        self.bytes(stream::HEADER_KEY_LENGTH, items.column(0).as_string::<i32>());
        self.bytes(stream::HEADER_VALUE_LENGTH, items.column(1).as_binary::<i32>());
    }
}

/// Arrow keeps numbers in the machine's order; on nearly every machine that is little-endian already.
fn little_endian_i64(values: &Buffer) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return values.as_slice().into();
    }
    values.typed_data::<i64>().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn little_endian_i32(values: &Buffer) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return values.as_slice().into();
    }
    values.typed_data::<i32>().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// One number for each row, to compare rows one by one with another source of them: offset, and the
/// CRC-32C of offset, timestamp, type, key, value and headers of that row.
pub fn each_row(batch: &RecordBatch) -> impl Iterator<Item = (i64, u32)> + '_ {
    let offsets = batch.column(column::OFFSET).as_primitive::<Int64Type>();
    let times = batch.column(column::TIMESTAMP).as_primitive::<TimestampMillisecondType>();
    let types = batch.column(column::TIMESTAMP_TYPE).as_primitive::<Int32Type>();
    let keys = batch.column(column::KEY).as_binary::<i32>();
    let values = batch.column(column::VALUE).as_binary::<i32>();
    let headers = batch.column(column::HEADERS).as_list::<i32>();
    let items: &StructArray = headers.values().as_struct();
    let (header_keys, header_values) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
    let mut bytes = Vec::new();
    (0..batch.num_rows()).map(move |row| {
        bytes.clear();
        bytes.extend_from_slice(&offsets.value(row).to_le_bytes());
        let time = if times.is_null(row) { NO_TIMESTAMP } else { times.value(row) };
        bytes.extend_from_slice(&time.to_le_bytes());
        bytes.extend_from_slice(&types.value(row).to_le_bytes());
        push(&mut bytes, keys.is_valid(row).then(|| keys.value(row)));
        push(&mut bytes, values.is_valid(row).then(|| values.value(row)));
        let ends = headers.value_offsets();
        bytes.extend_from_slice(&(ends[row + 1] - ends[row]).to_le_bytes());
        for item in ends[row] as usize..ends[row + 1] as usize {
            push(&mut bytes, Some(header_keys.value(item).as_bytes()));
            push(&mut bytes, header_values.is_valid(item).then(|| header_values.value(item)));
        }
        (offsets.value(row), crc32c::crc32c(&bytes))
    })
}

fn push(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(NULL, |value| value.len() as i32);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(value.unwrap_or_default());
}
