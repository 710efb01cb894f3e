//! Readers that are given anything: no panic, and no more memory than the bytes that are really there account for,
//! whatever lengths they claim. Inputs start from `corpus/` (a file's name says for which reader) and from the golden
//! log; most mutations are signed again, so that hostile numbers come past the checksums.
//!
//! `LANDFALL_SEED` repeats a run; an input that fails is kept in the temporary directory and belongs into the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use landfall::wal::format::{
    FrameHeader, GapNote, GroupHeader, Index, Meta, Records, SegmentHeader, SegmentName, StreamDef, Trailer,
};
use landfall::wal::{Wal, check_on, frames_on};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::allocations::most;
use crate::base::{beside, options};
use crate::flips::{everything, seed};
use crate::memory::{Image, Memory};

/// Bytes that a reader may hold for one byte of input (a parsed record's header is 32 bytes and stands in 2), and for
/// the least thing that can be parsed.
const FACTOR: usize = 24;
const LEAST: usize = 16 << 10;

fn read(kind: &str, bytes: &[u8]) {
    match kind {
        "index" => {
            if let Ok(index) = Index::decode(bytes) {
                let again = index.encode();
                assert_eq!(again.len(), index.encoded_len());
                assert_eq!(Index::decode(&again).as_ref(), Ok(&index));
                let _ = index.records();
                for entry in index.entries.values() {
                    let _ = (entry.start(0), entry.start(i64::MAX), entry.until());
                }
            }
        }
        "def" => {
            if let Ok(def) = StreamDef::decode(bytes) {
                assert_eq!(def.encode().map(|again| StreamDef::decode(&again)), Some(Ok(def)));
            }
        }
        "gap" => drop(GapNote::decode(bytes)),
        "records" => {
            let (head, payload) = bytes.split_at(bytes.len().min(4));
            let count = head.try_into().map_or(0, u32::from_le_bytes);
            let read = Records::new(payload, count, 5, 7).filter(Result::is_ok).count();
            assert!(read <= payload.len());
        }
        "meta" => drop(Meta::choose(bytes)),
        "segment" => drop(SegmentHeader::decode(bytes)),
        "name" => drop(SegmentName::parse(&String::from_utf8_lossy(bytes))),
        "group" => {
            let _ = GroupHeader::decode(bytes, &[7; 16]).map(|group| group.total());
            let _ = FrameHeader::decode(bytes, &[7; 16]).map(|frame| frame.total());
        }
        other => panic!("no reader for {other}"),
    }
}

fn hostile(random: &mut SmallRng) -> u64 {
    let few = [0, 1, 7, 8, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, (1 << 62) - 1, 1 << 62, 1 << 63, u64::MAX];
    match random.random_range(0..3) {
        0 => random.random(),
        1 => few[random.random_range(0..few.len())].wrapping_sub(random.random_range(0..3)),
        _ => 1 << random.random_range(0..64),
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut SmallRng) {
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            return bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        let len = random.random_range(1..=(bytes.len() - at).min(64));
        match random.random_range(0..9) {
            0 | 1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes[at] = random.random(),
            3 | 4 => {
                let (at, word) = (at & !3, hostile(random).to_le_bytes());
                let len = [1, 2, 4, 8][random.random_range(0..4)].min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&word[..len]);
            }
            5 => bytes[at..at + len].fill([0, 0xff, 0x80][random.random_range(0..3)]),
            6 => drop(bytes.drain(at..at + len)),
            7 => {
                let piece = bytes[at..at + len].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(at),
        }
    }
}

/// Runs one input; what fails is kept.
fn one(kind: &str, case: u64, bytes: &[u8]) -> usize {
    let (done, held) = most(|| catch_unwind(AssertUnwindSafe(|| read(kind, bytes))));
    if done.is_err() || held > FACTOR * bytes.len() + LEAST {
        let kept = std::env::temp_dir().join(format!("{kind}-{case}.bin"));
        std::fs::write(&kept, bytes).unwrap();
        panic!("{}: {held} bytes were held for {}, panic: {}", kept.display(), bytes.len(), done.is_err());
    }
    held
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(beside("corpus")).unwrap().map(Result::unwrap);
    let mut corpus: Vec<(String, Vec<u8>)> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect();
    corpus.sort();
    assert!(corpus.len() > 10, "the corpus is not there");
    corpus
}

fn kind(name: &str) -> &str {
    name.split('-').next().unwrap()
}

#[test]
fn no_bytes_make_a_decoder_panic_or_take_more_than_they_are() {
    let mut random = SmallRng::seed_from_u64(seed());
    let corpus = corpus();
    for (name, bytes) in &corpus {
        one(kind(name), 0, bytes);
    }
    let rounds = if everything() { 3_000_000 } else { 60_000 };
    let mut worst = 0.0_f64;
    for case in 0..rounds {
        let (name, bytes) = &corpus[random.random_range(0..corpus.len())];
        let mut bytes = bytes.clone();
        mutate(&mut bytes, &mut random);
        if kind(name) == "meta" || kind(name) == "segment" {
            sign_blocks(&mut bytes);
        }
        let held = one(kind(name), case, &bytes);
        worst = worst.max(held.saturating_sub(LEAST) as f64 / bytes.len().max(1) as f64);
    }
    println!("{} inputs and {rounds} mutations: at most {worst:.1} bytes were held for a byte", corpus.len());
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Makes the checksum at the end of every block right.
fn sign_blocks(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(4096) {
        let crc = crc32c::crc32c(&block[..4092]);
        put(block, 4092, crc);
    }
}

fn salted(uuid: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(uuid), bytes)
}

/// Makes every checksum and the chain of a segment right, whatever else stands in it.
fn sign_segment(bytes: &mut [u8], uuid: &[u8]) {
    if bytes.len() < 4096 {
        return;
    }
    sign_blocks(&mut bytes[..4096]);
    let (mut chain, mut at) = (word(bytes, 64), 4096);
    while at + 64 <= bytes.len() {
        let block = bytes.len().min(at + 4096);
        if &bytes[at..at + 8] == b"LFWALEND" {
            put(bytes, at + 48, chain);
            sign_blocks(&mut bytes[at..block]);
        }
        if &bytes[at..at + 4] != b"GRP1" {
            at += 4096;
            continue;
        }
        let body = word(bytes, at + 40) as usize;
        let end = (at + 64).saturating_add(body).min(bytes.len());
        let crcs = sign_frames(&mut bytes[at + 64..end], uuid);
        put(bytes, at + 48, chain);
        put(bytes, at + 52, crcs);
        chain = crc32c::crc32c(&bytes[at + 8..at + 56]);
        put(bytes, at + 56, chain);
        let crc = salted(uuid, &bytes[at + 8..at + 64]);
        put(bytes, at + 4, crc);
        at += (end - at).div_ceil(4096) * 4096;
    }
}

fn sign_frames(body: &mut [u8], uuid: &[u8]) -> u32 {
    let (mut at, mut crcs) = (0, 0);
    while at + 96 <= body.len() && &body[at..at + 4] == b"FRM1" {
        let end = (at + 96).saturating_add(word(body, at + 12) as usize);
        if end <= body.len() {
            let crc = crc32c::crc32c(&body[at + 96..end]);
            put(body, at + 8, crc);
        }
        let crc = salted(uuid, &body[at + 8..at + 96]);
        put(body, at + 4, crc);
        crcs = crc32c::crc32c_append(crcs, &crc.to_le_bytes());
        at = end.next_multiple_of(8);
    }
    crcs
}

fn golden() -> Image {
    let entries = std::fs::read_dir(beside("golden/v1")).unwrap().map(Result::unwrap);
    let files = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    files
        .filter(|(name, _)| name != "listing.json")
        .map(|(name, path)| (name, Arc::new(std::fs::read(path).unwrap())))
        .collect()
}

/// A few hostile places in a log, most of them signed.
fn hurt(golden: &Image, random: &mut SmallRng) -> Image {
    let mut image = golden.clone();
    let uuid: [u8; 16] = golden["META"][16..32].try_into().unwrap();
    let names: Vec<&String> = golden.keys().collect();
    for _ in 0..random.random_range(1..4) {
        let name = names[random.random_range(0..names.len())];
        let mut bytes = Vec::clone(&image[name]);
        // Near a header, where numbers stand, or anywhere.
        let starts: Vec<usize> = (0..bytes.len())
            .step_by(8)
            .filter(|at| {
                let magic = bytes.get(*at..at + 4).unwrap_or_default();
                magic == b"GRP1" || magic == b"FRM1" || magic == b"LFWA"
            })
            .collect();
        if starts.is_empty() || random.random_range(0..4) == 0 {
            mutate(&mut bytes, random);
        } else {
            let at = starts[random.random_range(0..starts.len())] + 4 * random.random_range(1..40);
            let (value, len) = (hostile(random).to_le_bytes(), [1, 2, 4, 8][random.random_range(0..4)]);
            if at + len <= bytes.len() {
                bytes[at..at + len].copy_from_slice(&value[..len]);
            }
        }
        match (random.random_range(0..5), name.as_str()) {
            (0, _) => {}
            (_, "META") => sign_blocks(&mut bytes),
            _ => sign_segment(&mut bytes, &uuid),
        }
        image.insert(name.clone(), Arc::new(bytes));
    }
    if random.random_range(0..8) == 0 {
        let from = names[random.random_range(0..names.len())];
        let seq = hostile(random);
        let to = format!("00-{seq:010}-{:016x}.wal", hostile(random) & !4095);
        if let Some(bytes) = image.remove(from) {
            image.insert(to, bytes);
        }
    }
    image
}

#[test]
fn no_log_makes_a_reader_panic_or_take_more_than_it_is() {
    let (seed, golden) = (seed(), golden());
    let rounds = if everything() { 200_000 } else { 3_000 };
    let (mut worst, mut opened, mut damaged) = (0, 0, 0);
    for case in 0..rounds {
        let mut random = SmallRng::seed_from_u64(seed ^ (case << 20));
        let image = hurt(&golden, &mut random);
        let size: usize = image.values().map(|bytes| bytes.len()).sum();
        let volume = Memory::of(&image);
        let look = || {
            let check = check_on(&volume);
            let _ = frames_on(&volume, |_, _, records| {
                let _ = records.filter(Result::is_ok).count();
                Ok(())
            });
            check.is_ok_and(|check| check.damages.is_empty())
        };
        let (sound, held) = most(|| catch_unwind(AssertUnwindSafe(look)));
        let Ok(sound) = sound else { panic!("LANDFALL_SEED={seed}: log {case} made a reader panic") };
        worst = worst.max(held * 100 / size);
        assert!(held <= 4 * size + LEAST, "LANDFALL_SEED={seed}: log {case} of {size} bytes took {held}");
        damaged += u64::from(!sound);
        let open = || {
            let Ok((wal, recovery)) = Wal::open_on(Arc::new(volume.clone()), options()) else { return false };
            for state in recovery.streams {
                let Ok(id) = wal.stream(&state.stream, state.isolation) else { continue };
                for (from, until) in wal.held(id) {
                    let Ok(cursor) = wal.cursor(id, from, until) else { continue };
                    for frame in cursor.take(1000).map_while(Result::ok) {
                        let _ = frame.records().filter(Result::is_ok).count();
                    }
                }
            }
            true
        };
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(done) => opened += u64::from(done),
            Err(_) => panic!("LANDFALL_SEED={seed}: log {case} made an opening panic"),
        }
    }
    println!(
        "{rounds} logs: {damaged} refused by a check, {opened} opened; at most {worst} % of a log's bytes were held"
    );
}

/// An index whose checksums are right and whose addresses are none of its segment.
#[test]
fn an_index_that_points_out_of_its_segment_is_not_followed() {
    let base = crate::base::build(true);
    let uuid: [u8; 16] = base.image["META"][16..32].try_into().unwrap();
    let last = base.segments.last().unwrap();
    let seal = base.groups.iter().rfind(|group| group.file == *last && group.header.flags & 1 != 0).unwrap();
    let entry = seal.offset + 64 + 96 + 8;
    let names = word(&base.image[last], entry + 8) as usize;
    let stretches = word(&base.image[last], entry + 12) as usize;
    let pair = entry + 88 + names + 16 * stretches + 8;
    for (place, address) in [(entry + 32, 0), (entry + 40, 1 << 61), (pair, 0_u64), (pair, 4097), (pair, u64::MAX)] {
        let mut image = base.image.clone();
        let mut bytes = Vec::clone(&image[last]);
        bytes[place..place + 8].copy_from_slice(&address.to_le_bytes());
        sign_segment(&mut bytes, &uuid);
        image.insert(last.clone(), Arc::new(bytes));
        assert!(!check_on(&Memory::of(&image)).unwrap().damages.is_empty(), "{place} {address:#x}");
        let Ok((wal, recovery)) = Wal::open_on(Arc::new(Memory::of(&image)), options()) else { continue };
        for state in recovery.streams {
            let id = wal.stream(&state.stream, state.isolation).unwrap();
            for (from, until) in wal.held(id) {
                let _ = wal.cursor(id, from, until).unwrap().take(1000).map_while(Result::ok).count();
            }
        }
    }
}

/// The corpus's first files; others were found since.
#[test]
#[ignore = "writes the corpus"]
fn write_the_corpus() {
    let golden = golden();
    let keep = |name: &str, bytes: &[u8]| std::fs::write(beside("corpus").join(name), bytes).unwrap();
    std::fs::create_dir_all(beside("corpus")).unwrap();
    let meta = &golden["META"];
    keep("meta-golden.bin", meta);
    let uuid: [u8; 16] = meta[16..32].try_into().unwrap();
    let (mut defs, mut datas, mut indexes) = (0, 0, 0);
    for (name, bytes) in golden.iter().filter(|(name, _)| name.ends_with(".wal")) {
        let header = SegmentHeader::decode(bytes).unwrap();
        keep(&format!("segment-{}.bin", header.seq), &bytes[..4096]);
        keep(&format!("name-{}.bin", header.seq), name.as_bytes());
        assert!(
            bytes.len() < 8192 || Trailer::decode(&bytes[bytes.len() - 4096..], &header).is_some() || header.seq == 5
        );
        for at in (4096..bytes.len() - 96).step_by(8) {
            let Some(frame) = FrameHeader::decode(&bytes[at..], &uuid) else { continue };
            let payload = &bytes[at + 96..at + 96 + frame.payload_len as usize];
            let counted = [&frame.records.to_le_bytes()[..], payload].concat();
            match frame.kind.code() {
                1 if datas < 6 => keep(&format!("records-{datas}.bin"), &counted),
                2 if defs < 4 => keep(&format!("def-{defs}.bin"), payload),
                6 => keep(&format!("index-{indexes}.bin"), payload),
                _ => {}
            }
            match frame.kind.code() {
                1 => datas += 1,
                2 => defs += 1,
                6 => indexes += 1,
                _ => {}
            }
        }
    }
    // Lengths that are lies.
    let varint = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    keep("records-lengths-that-are-lies.bin", &[&1u32.to_le_bytes()[..], &[40, 0, 0, 0], &varint, &varint].concat());
    keep("records-many-headers.bin", &[&u32::MAX.to_le_bytes()[..], &[120, 0, 0, 0, 0, 0, 54], &[0; 54]].concat());
    keep("records-none-of-many.bin", &u32::MAX.to_le_bytes());
    keep("index-of-many-entries.bin", &u64::MAX.to_le_bytes());
    keep(
        "index-of-many-pairs.bin",
        &[&1u64.to_le_bytes()[..], &[1; 8], &[40, 0, 0, 0], &[0xff; 8], &[0; 140]].concat(),
    );
    keep("def-of-long-names.bin", &[&[1, 0][..], &[0xff; 4], &[1, 0], &[0; 40]].concat());
    keep("gap-of-a-long-note.bin", &[0xff; 6]);
    keep("name-far.bin", b"00-18446744073709551615-fffffffffffff000.wal");
    keep("name-zero.bin", b"00-0000000000-0000000000001000.wal");
    let group = GroupHeader {
        lsn: 4096,
        incarnation: 1,
        seq: u64::MAX >> 2,
        synced_lsn: u64::MAX,
        body_len: 0xffff_fff8,
        frames: u32::MAX,
        prev_chain: 0,
        frames_crc: 0,
        flags: 0,
    };
    keep("group-far.bin", &group.encode(&[7; 16]));
}
