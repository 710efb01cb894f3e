//! Records on top of an ordered table of keys and values: which keys there are, and the compare of the
//! compare-and-swap. One thread uses it; nothing here is durable before [`Pages::sync`].
//!
//! | key | value |
//! |---|---|
//! | `m/<name>` | about the store itself: its id, its lake |
//! | `r/<stream>` | version (8 bytes), number of parts (4 bytes), and the record if it has no parts |
//! | `p/<stream><version><part>` | a part of a long record |
//!
//! A stream is spelled as a JSON array, so no name is the beginning of another. Long records are cut up
//! because the table underneath keeps long values in files of their own, which it does not make durable.
//! The parts are written before the head that names their version: a crash between leaves parts that
//! nobody names, and the next swap of the stream removes them.

use landfall_sink::Stream;

use super::Swap;

/// Values stay far below the size from which the table puts a page into a file of its own.
const PART: usize = 2048;

/// Why the table did not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// No space. What was written since the last sync may be there or not; it can be opened again.
    Full(String),
    /// What it holds can no longer be believed: no call may follow.
    Broken(String),
}

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// An ordered table of bytes, with a sync of its own.
pub(super) trait Pages: Send + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault>;
    fn remove(&self, key: &[u8]) -> Result<(), Fault>;
    /// Every pair whose key begins with `prefix`, in order.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, Fault>;
    /// Makes everything that was put durable. [`Fault::Broken`] if the disk may have lost some of it.
    fn sync(&mut self) -> Result<(), Fault>;
    /// Whether there is space for so many bytes more; otherwise says where and how much there is.
    fn room(&self, bytes: u64) -> Result<(), String>;
    /// Opens the table again after [`Fault::Full`]; what it shows then is durable.
    fn reopen(&mut self) -> Result<(), Fault>;
}

pub(super) fn meta_key(name: &str) -> Vec<u8> {
    format!("m/{name}").into_bytes()
}

fn spelled(stream: &Stream) -> String {
    serde_json::json!([stream.cluster, stream.topic, stream.topic_id, stream.partition]).to_string()
}

fn head_key(stream: &Stream) -> Vec<u8> {
    format!("r/{}", spelled(stream)).into_bytes()
}

fn parts_prefix(stream: &Stream) -> Vec<u8> {
    format!("p/{}", spelled(stream)).into_bytes()
}

fn part_key(stream: &Stream, version: u64, part: u32) -> Vec<u8> {
    let (version, part) = (version.to_be_bytes(), part.to_be_bytes());
    [parts_prefix(stream).as_slice(), &version, &part].concat()
}

/// The stream that a head's key spells.
fn parse_head_key(key: &[u8]) -> Result<Stream, Fault> {
    let spelled = key.strip_prefix(b"r/").unwrap_or_default();
    let (cluster, topic, topic_id, partition) = serde_json::from_slice(spelled)
        .map_err(|error| Fault::Broken(format!("it holds a key that spells no stream: {error}")))?;
    Ok(Stream { cluster, topic, topic_id, partition })
}

struct Head {
    version: u64,
    parts: u32,
    inline: Vec<u8>,
}

impl Head {
    fn parse(stream: &Stream, value: &[u8]) -> Result<Head, Fault> {
        let damaged = || Fault::Broken(format!("the record of {stream} is damaged: it has no head"));
        let (version, rest) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (parts, inline) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        Ok(Head { version: u64::from_be_bytes(*version), parts: u32::from_be_bytes(*parts), inline: inline.to_vec() })
    }

    fn to_bytes(&self) -> Vec<u8> {
        [&self.version.to_be_bytes()[..], &self.parts.to_be_bytes(), &self.inline].concat()
    }
}

fn head<P: Pages>(pages: &P, stream: &Stream) -> Result<Option<Head>, Fault> {
    pages.get(&head_key(stream))?.map(|value| Head::parse(stream, &value)).transpose()
}

/// The bytes of a stream's record.
pub(super) fn load<P: Pages>(pages: &P, stream: &Stream) -> Result<Option<Vec<u8>>, Fault> {
    let Some(head) = head(pages, stream)? else { return Ok(None) };
    let mut bytes = head.inline;
    for part in 0..head.parts {
        let value = pages.get(&part_key(stream, head.version, part))?;
        bytes.extend(value.ok_or_else(|| Fault::Broken(format!("the record of {stream} lacks part {part}")))?);
    }
    Ok(Some(bytes))
}

/// Puts a record in the place of the one with version `expected`, or nothing at all.
pub(super) fn swap<P: Pages>(
    pages: &P,
    stream: &Stream,
    expected: Option<u64>,
    version: u64,
    bytes: &[u8],
) -> Result<Swap, Fault> {
    let standing = head(pages, stream)?;
    let lost = standing.as_ref().map(|head| head.version) != expected;
    if lost && !landfall_lake::fault::sabotaged("swap_ignores_version") {
        return Ok(Swap::Lost);
    }
    let mut new = Head { version, parts: 0, inline: Vec::new() };
    if bytes.len() <= PART {
        new.inline = bytes.to_vec();
    } else {
        for part in bytes.chunks(PART) {
            pages.put(&part_key(stream, version, new.parts), part)?;
            new.parts += 1;
        }
    }
    pages.put(&head_key(stream), &new.to_bytes())?;
    if new.parts > 0 || standing.is_some_and(|head| head.parts > 0) {
        remove_other_parts(pages, stream, &new)?;
    }
    Ok(Swap::Won)
}

fn remove_other_parts<P: Pages>(pages: &P, stream: &Stream, head: &Head) -> Result<(), Fault> {
    let named = part_key(stream, head.version, 0)..part_key(stream, head.version, head.parts);
    for (key, _) in pages.scan(&parts_prefix(stream))? {
        if !named.contains(&key) {
            pages.remove(&key)?;
        }
    }
    Ok(())
}

/// Every stream that has a record, in order.
pub(super) fn streams<P: Pages>(pages: &P) -> Result<Vec<Stream>, Fault> {
    let heads = pages.scan(b"r/")?;
    let mut streams = heads.iter().map(|(key, _)| parse_head_key(key)).collect::<Result<Vec<_>, _>>()?;
    streams.sort_unstable();
    Ok(streams)
}
