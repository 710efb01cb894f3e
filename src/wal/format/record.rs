//! One record in a frame's payload: the fields of Kafka's record format, version 2, in its order.
//!
//! Two things are not Kafka's: the lengths of key and value are written plus one (so that a null is 0), and the bits
//! 0 and 1 of the attributes hold the timestamp's type.

use super::FormatError;
use super::bytes::{Fields, put_varint, varint_len};

/// What a record's timestamp says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimestampType {
    #[default]
    Create,
    Append,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

/// A record whose bytes are borrowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub timestamp_type: TimestampType,
    /// A null is not an empty key.
    pub key: Option<&'a [u8]>,
    /// A null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// In their order, repetitions kept.
    pub headers: Vec<Header<'a>>,
}

/// Appends a record to a payload. Offset and timestamp are relative to those of the frame.
pub fn encode_record(into: &mut Vec<u8>, record: &Record<'_>, base_offset: i64, base_ms: i64) {
    let delta_ms = record.timestamp_ms.wrapping_sub(base_ms);
    let delta_offset = record.offset.wrapping_sub(base_offset);
    // The length comes first, so it is computed, and each byte is copied once.
    let bytes = |bytes: Option<&[u8]>| prefixed(bytes.map_or(0, |bytes| bytes.len() as i64 + 1), bytes);
    let header = |header: &Header<'_>| {
        prefixed(header.key.len() as i64, Some(header.key.as_bytes()))
            + prefixed(header.value.map_or(-1, |value| value.len() as i64), header.value)
    };
    let headers = varint_len(record.headers.len() as i64) + record.headers.iter().map(header).sum::<usize>();
    let len = 1 + varint_len(delta_ms) + varint_len(delta_offset) + bytes(record.key) + bytes(record.value) + headers;
    put_varint(into, len as i64);
    into.push(match record.timestamp_type {
        TimestampType::Create => 0,
        TimestampType::Append => 1,
        TimestampType::None => 2,
    });
    put_varint(into, delta_ms);
    put_varint(into, delta_offset);
    for bytes in [record.key, record.value] {
        put_varint(into, bytes.map_or(0, |bytes| bytes.len() as i64 + 1));
        into.extend_from_slice(bytes.unwrap_or_default());
    }
    put_varint(into, record.headers.len() as i64);
    for header in &record.headers {
        put_varint(into, header.key.len() as i64);
        into.extend_from_slice(header.key.as_bytes());
        put_varint(into, header.value.map_or(-1, |value| value.len() as i64));
        into.extend_from_slice(header.value.unwrap_or_default());
    }
}

/// How long bytes are behind a length that is written as `len`.
fn prefixed(len: i64, bytes: Option<&[u8]>) -> usize {
    varint_len(len) + bytes.map_or(0, <[u8]>::len)
}

const WHAT: &str = "a record";

/// The records of a payload, in order. Ends after the first error.
pub struct Records<'a> {
    fields: Fields<'a>,
    left: u32,
    base_offset: i64,
    base_ms: i64,
}

impl<'a> Records<'a> {
    pub fn new(payload: &'a [u8], records: u32, base_offset: i64, base_ms: i64) -> Records<'a> {
        Records { fields: Fields::new(WHAT, payload), left: records, base_offset, base_ms }
    }

    fn read(&mut self) -> Result<Record<'a>, FormatError> {
        let len = length(self.fields.varint()?)?;
        let mut fields = Fields::new(WHAT, self.fields.take(len)?);
        let timestamp_type = match fields.take(1)?[0] & 3 {
            0 => TimestampType::Create,
            1 => TimestampType::Append,
            _ => TimestampType::None,
        };
        let timestamp_ms = self.base_ms.wrapping_add(fields.varint()?);
        let offset = self.base_offset.wrapping_add(fields.varint()?);
        let (key, value) = (nullable(&mut fields, 1)?, nullable(&mut fields, 1)?);
        let claimed = length(fields.varint()?)?;
        let count = fields.count(claimed as u64, 2)?;
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let len = length(fields.varint()?)?;
            let key = std::str::from_utf8(fields.take(len)?);
            let key = key.map_err(|_| FormatError::damaged(WHAT, "a header's key is not UTF-8"))?;
            headers.push(Header { key, value: nullable(&mut fields, 0)? });
        }
        if !fields.is_empty() {
            return Err(FormatError::damaged(WHAT, "bytes follow its headers"));
        }
        Ok(Record { offset, timestamp_ms, timestamp_type, key, value, headers })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let rest = std::mem::replace(&mut self.fields, Fields::new(WHAT, &[]));
            return (!rest.is_empty()).then(|| Err(FormatError::damaged(WHAT, "bytes follow the last one")));
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            self.left = 0;
            self.fields = Fields::new(WHAT, &[]);
        }
        Some(record)
    }
}

fn length(len: i64) -> Result<usize, FormatError> {
    usize::try_from(len).map_err(|_| FormatError::damaged(WHAT, format!("a length of {len}")))
}

/// Bytes behind their length, which is `more` larger than it is; below that, a null.
fn nullable<'a>(fields: &mut Fields<'a>, more: i64) -> Result<Option<&'a [u8]>, FormatError> {
    let len = fields.varint()?.checked_sub(more).ok_or_else(|| FormatError::damaged(WHAT, "a length out of range"))?;
    if len == -1 {
        return Ok(None);
    }
    Ok(Some(fields.take(length(len)?)?))
}
