//! Little-endian fields at fixed places, and a reader that never runs past its end.

use super::FormatError;

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array_at(bytes, at))
}

pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

pub fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Reads fields one after the other; asking for more than is there is damage, never a panic.
pub struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Fields<'a> {
        Fields { what, rest: bytes }
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        if len > self.rest.len() {
            let why = format!("it ends {} bytes too early", len - self.rest.len());
            return Err(FormatError::damaged(self.what, why));
        }
        let (field, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(field)
    }

    pub fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16_at(self.take(2)?, 0))
    }

    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32_at(self.take(4)?, 0))
    }

    pub fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64_at(self.take(8)?, 0))
    }

    pub fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64_at(self.take(8)?, 0))
    }

    /// A zigzag LEB128 number, as in Kafka's record format.
    pub fn varint(&mut self) -> Result<i64, FormatError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(FormatError::damaged(self.what, "a number is longer than ten bytes"))
    }

    pub fn text(&mut self, len: usize) -> Result<String, FormatError> {
        let what = self.what;
        let bytes = self.take(len)?.to_vec();
        String::from_utf8(bytes).map_err(|_| FormatError::damaged(what, "a name is not UTF-8"))
    }

    /// How many things of at least `least` bytes each can still follow: the bound of every count that is read.
    pub fn count(&self, claimed: u64, least: usize) -> Result<usize, FormatError> {
        let most = (self.rest.len() / least) as u64;
        if claimed > most {
            return Err(FormatError::damaged(self.what, format!("it claims {claimed} parts and has room for {most}")));
        }
        Ok(claimed as usize)
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// How many bytes [`put_varint`] writes.
pub fn varint_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

pub fn put_varint(into: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        into.push((zigzag as u8) | 0x80);
        zigzag >>= 7;
    }
    into.push(zigzag as u8);
}
