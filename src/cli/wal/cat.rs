//! `landfall wal cat`: records as JSON, one a line.

use std::io::{self, BufWriter, Write};

use clap::Args;
use serde::{Serialize, Serializer};

use super::LogArg;
use crate::cli::{Console, Exit, Failure};
use crate::wal::format::StreamDef;
use crate::wal::{Record, TimestampType, frames};

/// Prints the records of a log, one JSON object a line
#[derive(Debug, Args)]
#[command(
    long_about = "Prints the records of a log in the order in which they were appended, one JSON object a line, whatever \
        --output says.\n\n\
        Bytes that are UTF-8 are a string; others are {\"base64\": \"…\"}. What is damaged is left out: \
        landfall wal check names it.",
    after_help = "Examples:\n  \
    landfall wal cat ./wal\n  \
    landfall wal cat ./wal --topic orders --partition 0 --from 100 --until 200 | jq .value"
)]
pub struct CatArgs {
    #[command(flatten)]
    pub log: LogArg,
    /// Only this topic
    #[arg(long)]
    pub topic: Option<String>,
    /// Only this partition
    #[arg(long)]
    pub partition: Option<i32>,
    /// From this offset on
    #[arg(long, value_name = "OFFSET")]
    pub from: Option<i64>,
    /// Up to this offset, without it
    #[arg(long, value_name = "OFFSET")]
    pub until: Option<i64>,
}

impl CatArgs {
    fn wants(&self, def: &StreamDef) -> bool {
        self.topic.as_ref().is_none_or(|topic| *topic == def.stream.topic)
            && self.partition.is_none_or(|partition| partition == def.stream.partition)
    }

    fn holds(&self, offset: i64) -> bool {
        self.from.is_none_or(|from| from <= offset) && self.until.is_none_or(|until| offset < until)
    }
}

/// One record; `timestamp` is in milliseconds.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(rename = "type")]
    kind: &'static str,
    key: Option<Bytes<'a>>,
    value: Option<Bytes<'a>>,
    headers: Vec<HeaderLine<'a>>,
}

#[derive(Debug, Serialize)]
struct HeaderLine<'a> {
    key: &'a str,
    value: Option<Bytes<'a>>,
}

impl<'a> Line<'a> {
    fn new(def: &'a StreamDef, record: &Record<'a>) -> Line<'a> {
        let header = |header: &crate::wal::Header<'a>| HeaderLine { key: header.key, value: header.value.map(Bytes) };
        Line {
            topic: &def.stream.topic,
            partition: def.stream.partition,
            offset: record.offset,
            timestamp: record.timestamp_ms,
            kind: match record.timestamp_type {
                TimestampType::Create => "create",
                TimestampType::Append => "append",
                TimestampType::None => "none",
            },
            key: record.key.map(Bytes),
            value: record.value.map(Bytes),
            headers: record.headers.iter().map(header).collect(),
        }
    }
}

#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct NoText {
            base64: String,
        }
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => NoText { base64: base64(self.0) }.serialize(serializer),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            text.push(if place <= three.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    text
}

pub fn run(args: &CatArgs, _: &Console) -> Result<Exit, Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut closed = None;
    let read = frames(&args.log.directory, |def, _, records| {
        if !args.wants(def) {
            return Ok(());
        }
        for record in records {
            let record = record.map_err(io::Error::other)?;
            if args.holds(record.offset) {
                let told = tell(&mut out, &Line::new(def, &record));
                if let Err(error) = told {
                    closed = Some(Failure::of_output(&error));
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
        }
        Ok(())
    });
    if let Some(failure) = closed {
        // What is left in the buffer is for nobody.
        let _ = out.into_parts();
        return Err(failure);
    }
    read?;
    out.flush().map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Done)
}

fn tell(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use landfall_sink::{Isolation, Stream};

    use super::*;
    use crate::wal::Header;

    fn def() -> StreamDef {
        let stream = Stream { cluster: "c".into(), topic: "orders".into(), topic_id: None, partition: 3 };
        StreamDef { stream, isolation: Isolation::ReadCommitted, first_next: 0 }
    }

    fn told(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        tell(&mut out, &Line::new(&def(), record)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_text_and_other_bytes_are_marked() {
        let headers = vec![Header { key: "trace", value: Some(b"7") }, Header { key: "none", value: None }];
        let record = Record {
            offset: 100,
            timestamp_ms: 1_700_000_000_000,
            key: Some("ключ".as_bytes()),
            value: Some(&[0xff, 0x00, 0x10]),
            headers,
            ..Record::default()
        };
        let promised = r#"{"topic":"orders","partition":3,"offset":100,"timestamp":1700000000000,"type":"create","key":"ключ","value":{"base64":"/wAQ"},"headers":[{"key":"trace","value":"7"},{"key":"none","value":null}]}"#;
        assert_eq!(told(&record), format!("{promised}\n"));
        let tombstone = Record { offset: 1, timestamp_type: TimestampType::Append, ..Record::default() };
        assert!(told(&tombstone).contains(r#""type":"append","key":null,"value":null,"headers":[]"#));
    }

    #[test]
    fn base64_is_the_usual_one() {
        let known = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, text) in known.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..len]), *text);
        }
    }
}
