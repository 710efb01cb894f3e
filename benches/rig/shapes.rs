//! The records that are measured: their sizes, and how random they are.

use rand::Rng;
use rand::rngs::StdRng;

/// One kind of record, and how many of them a round has.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub records: u64,
    /// Enough that the in-process broker keeps everything: less than 5 MiB of batches in each.
    pub partitions: i32,
    pub value: fn(&mut StdRng, u64, &mut String),
}

/// Values compress about five times with zstd, as logs and events do.
pub const SHAPES: [Shape; 3] = [
    Shape { name: "100B", records: 9_000_000, partitions: 150, value: hundred },
    Shape { name: "1KB", records: 1_200_000, partitions: 120, value: kilobyte },
    Shape { name: "json", records: 5_000_000, partitions: 180, value: bid },
];

pub fn shape(name: &str) -> Option<Shape> {
    SHAPES.into_iter().find(|shape| shape.name == name)
}

/// 16 bytes, each key seen many times.
pub fn key(rng: &mut StdRng, into: &mut String) {
    use std::fmt::Write;
    into.clear();
    let _ = write!(into, "user-{:011}", rng.random_range(0..200_000u64));
}

/// A small event of exactly 100 bytes.
fn hundred(rng: &mut StdRng, sequence: u64, into: &mut String) {
    use std::fmt::Write;
    const KINDS: [&str; 4] = ["view", "cart", "order", "search"];
    let kind = KINDS[rng.random_range(0..4)];
    let (item, cents) = (rng.random_range(0..9_000u32), rng.random_range(99..99_999u32));
    let _ =
        write!(into, r#"{{"seq":{sequence:010},"kind":"{kind}","item":"sku-{item:05}","cents":{cents},"shop":"north""#);
    pad(into, 100);
}

/// A document of exactly 1,000 bytes: an order with its lines.
fn kilobyte(rng: &mut StdRng, sequence: u64, into: &mut String) {
    use std::fmt::Write;
    let (session, ip) = (rng.random::<u32>(), rng.random::<u16>());
    let _ = write!(
        into,
        r#"{{"order":{sequence},"session":"{session:08x}","address":"10.0.{}.{}","lines":["#,
        ip >> 8,
        ip & 255
    );
    while into.len() < 880 {
        let (item, count, cents) =
            (rng.random_range(0..9_000u32), rng.random_range(1..9u8), rng.random_range(99..9_999u32));
        let name = WORDS[item as usize % WORDS.len()];
        let _ = write!(
            into,
            r#"{{"sku":"sku-{item:05}","name":"{name}","count":{count},"cents":{cents},"unit":"piece"}},"#
        );
    }
    into.push_str("{}]");
    pad(into, 1000);
}

/// A bid of the Nexmark benchmark as JSON: about 230 bytes.
fn bid(rng: &mut StdRng, sequence: u64, into: &mut String) {
    use std::fmt::Write;
    const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
    let channel = rng.random_range(0..4usize);
    let (auction, bidder) = (1000 + sequence / 50 + rng.random_range(0..100u64), 1000 + rng.random_range(0..50_000u32));
    let price = rng.random_range(100..9_999_999u32);
    let (seconds, milliseconds) = ((sequence / 10_000) % 60, sequence % 1000);
    let _ = write!(
        into,
        r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"{}","url":"https://www.nexmark.com/{}/item.htm?query=1&channel_id={}","dateTime":"2026-05-01 10:20:{seconds:02}.{milliseconds:03}","extra":""#,
        CHANNELS[channel],
        WORDS[rng.random_range(0..WORDS.len())],
        rng.random_range(0..10_000u32),
    );
    while into.len() < 226 {
        into.push(char::from(b'a' + rng.random_range(0..16u8)));
    }
    into.push_str("\"}");
}

fn pad(into: &mut String, length: usize) {
    const ROOM: usize = r#","p":""}"#.len();
    if into.len() + ROOM <= length {
        into.push_str(r#","p":""#);
        while into.len() + 2 < length {
            into.push('.');
        }
        into.push_str("\"}");
    } else {
        into.push('}');
    }
}

const WORDS: [&str; 48] = [
    "harbour", "signal", "north", "cargo", "voyage", "anchor", "delta", "record", "stream", "lake", "landing", "pilot",
    "crane", "depth", "tide", "chart", "beacon", "vessel", "manifest", "quay", "ballast", "current", "bearing",
    "coast", "lantern", "compass", "rudder", "mast", "sail", "hull", "keel", "bridge", "deck", "engine", "rope",
    "knot", "wave", "storm", "calm", "island", "strait", "channel", "lock", "dock", "berth", "freight", "customs",
    "log",
];
