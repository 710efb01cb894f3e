//! The committer: the one thread that writes. A group is one write and one fdatasync; while that runs the next group
//! gathers by itself.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use landfall_lake::fault::{self, point};

use super::Core;
use super::catalog::Live;
use super::error::Poison;
use super::format::{
    BLOCK, FrameHeader, FrameType, GROUP_HEADER, GroupHeader, Pair, StreamDef, Stretch, Trailer, blocks, group_flags,
};
use super::stage::{Staged, Work};
use super::survey::End;
use super::volume::LogFile;

/// Frames below this are copied together; longer ones are written from where they are.
const SMALL: usize = 4096;
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// The segment that is written, and how far.
pub(super) struct Active {
    pub live: Arc<Live>,
    pub file: Box<dyn LogFile>,
    pub groups: u64,
    /// Streams that are defined in it, by id.
    pub defs: BTreeMap<u32, StreamDef>,
    /// The index is no longer than this. Its length itself is looked up only where that decides something.
    pub index_most: usize,
}

impl Active {
    pub fn new(live: Arc<Live>, file: Box<dyn LogFile>) -> Active {
        let index_most = live.with_index(|index| index.encoded_len());
        Active { live, file, groups: 0, defs: BTreeMap::new(), index_most }
    }

    /// Whether there is room for a group and, behind it, for a seal with an index that is longer by `more`.
    fn has_room(&self, end: u64, group: u64, more: usize) -> bool {
        let seal = blocks((GROUP_HEADER + 96 + self.index_most + more) as u64);
        // The heartbeat may come in between.
        end - self.live.header.base_lsn + group + seal + 2 * BLOCK <= self.live.header.capacity
    }
}

/// What the committer knows; nobody else touches it.
pub(super) struct Committer {
    pub core: Arc<Core>,
    pub end: End,
    /// Everything below was synced with success.
    pub synced_lsn: u64,
    pub active: Option<Active>,
    /// The stream's next offset behind the last frame that was written, by id.
    pub next: BTreeMap<u32, i64>,
}

/// The committer stops; whoever waits is told why.
pub(super) struct Stopped(pub Option<Poison>);

impl From<Poison> for Stopped {
    fn from(poison: Poison) -> Stopped {
        Stopped(Some(poison))
    }
}

impl Committer {
    /// The thread. Returns when the log is closed or poisoned.
    pub fn run(mut self) {
        let core = self.core.clone();
        let mut guard = Guard { core: core.clone(), armed: true };
        let stopped = self.work();
        if let Err(Stopped(Some(poison))) = stopped {
            tracing::error!(%poison, "the log stopped");
            core.stage.poisoned(poison);
        }
        guard.armed = false;
        core.stage.ended();
        core.preparer.stop();
    }

    fn work(&mut self) -> Result<(), Stopped> {
        let (mut unproven, mut woken) = (false, 0);
        loop {
            let idle = unproven.then_some(self.core.options.heartbeat);
            match self.core.stage.take(idle, woken) {
                Work::Frames(frames) => {
                    let count = frames.len() as u64;
                    let took = self.frames(frames)?;
                    point("wal.group.before_wake").map_err(|error| self.poison("waking", &error))?;
                    woken = self.core.stage.finish(count, took);
                    unproven = true;
                }
                Work::Idle => {
                    self.group(&[], group_flags::HEARTBEAT)?;
                    (unproven, woken) = (false, 0);
                }
                Work::Close => return self.seal(group_flags::CLEAN_CLOSE),
                Work::Stop => return Err(Stopped(None)),
            }
        }
    }

    fn frames(&mut self, frames: Vec<Staged>) -> Result<Duration, Stopped> {
        let bytes: usize = frames.iter().map(|frame| frame.frame.len()).sum();
        let ids: std::collections::BTreeSet<u32> = frames.iter().map(|frame| frame.header.stream_id).collect();
        // A jump begins another stretch in the index, and so may every copy.
        let jumps = frames.iter().filter(|one| one.repair || one.header.kind == FrameType::Assign).count();
        self.make_room(bytes, ids.len(), jumps)?;
        let repair = frames.first().is_some_and(|frame| frame.repair);
        let defined = self.define(&frames, repair)?;
        let all: Vec<Staged> = defined.into_iter().chain(frames).collect();
        let took = self.group(&all, if repair { group_flags::REPAIR } else { 0 })?;
        if !repair {
            self.next.extend(
                all.iter()
                    .filter(|one| one.header.kind != FrameType::StreamDef)
                    .map(|one| (one.header.stream_id, one.header.next_offset)),
            );
        }
        Ok(took)
    }

    /// Definitions of the streams that this segment does not have yet.
    fn define(&mut self, frames: &[Staged], repair: bool) -> Result<Vec<Staged>, Stopped> {
        let core = self.core.clone();
        let uuid = core.meta.uuid();
        let mut defined = Vec::new();
        let Some(active) = &mut self.active else { return Ok(defined) };
        for frame in frames.iter().filter(|frame| frame.header.stream_id != 0) {
            let id = frame.header.stream_id;
            if active.defs.contains_key(&id) {
                continue;
            }
            let Some(door) = core.stage.door(super::StreamId(id)) else { continue };
            // Copies say nothing about how far the stream is: that is what was written last.
            let written = self.next.get(&id).copied();
            let first_next =
                if repair { written.unwrap_or(frame.header.next_offset) } else { frame.header.prev_next_offset };
            let def = StreamDef { stream: door.stream, isolation: door.isolation, first_next };
            let payload = def.encode().unwrap_or_default();
            let header = FrameHeader { stream_id: id, ..FrameHeader::of(FrameType::StreamDef, &payload) };
            let mut bytes = header.encode(&uuid).to_vec();
            bytes.extend(payload);
            bytes.resize(header.total(), 0);
            defined.push(Staged { header, frame: bytes, repair });
            active.defs.insert(id, def);
        }
        Ok(defined)
    }

    /// One group: written, synced, and only then shown to anybody.
    fn group(&mut self, frames: &[Staged], flags: u32) -> Result<Duration, Stopped> {
        let header = self.group_header(frames, flags);
        let lsn = header.lsn;
        let Some(active) = &self.active else { return Ok(Duration::ZERO) };
        let head = header.encode(&self.core.meta.uuid());
        let small = Small::gather(&head, frames);
        let mut parts = small.parts(frames);
        let padding = header.total() - GROUP_HEADER as u64 - u64::from(header.body_len);
        parts.push(IoSlice::new(&ZEROS[..padding as usize]));
        if fault::sabotaged("wal_read_unsynced") {
            self.show(frames, &header, lsn + header.total());
        }
        let took = write_synced(active, &parts, lsn, &self.core, self.synced_lsn)?;
        self.core.counters.group(frames.len(), header.total());
        self.advance(&header);
        if !fault::sabotaged("wal_read_unsynced") {
            self.show(frames, &header, self.end.lsn);
        }
        Ok(took)
    }

    pub(super) fn group_header(&self, frames: &[Staged], flags: u32) -> GroupHeader {
        let crcs = frames
            .iter()
            .fold(0, |crc, frame| crc32c::crc32c_append(crc, &FrameHeader::stored_crc(&frame.frame).to_le_bytes()));
        GroupHeader {
            lsn: self.end.lsn,
            incarnation: self.core.meta.incarnation(),
            seq: self.end.group_seq,
            synced_lsn: self.synced_lsn,
            body_len: frames.iter().map(|frame| frame.frame.len() as u32).sum(),
            frames: frames.len() as u32,
            prev_chain: self.end.chain,
            frames_crc: crcs,
            flags,
        }
    }

    /// The group is durable.
    pub(super) fn advance(&mut self, header: &GroupHeader) {
        self.end.lsn += header.total();
        self.end.prev_end_lsn = self.end.lsn;
        self.end.chain = header.chain();
        self.end.group_seq += 1;
        self.synced_lsn = self.end.lsn;
        if let Some(active) = &mut self.active {
            active.groups += 1;
        }
    }

    /// Readers see the group from here on.
    fn show(&self, frames: &[Staged], header: &GroupHeader, end: u64) {
        let Some(active) = &self.active else { return };
        let mut index = active.live.index.write().unwrap_or_else(|dead| dead.into_inner());
        for frame in frames.iter().filter(|frame| frame.header.kind != FrameType::StreamDef) {
            if let Some(def) = active.defs.get(&frame.header.stream_id) {
                index.note(&frame.header, def, header.lsn, header.has(group_flags::REPAIR));
            }
        }
        // Before the index can be read: a cursor goes as far as that says.
        active.live.end.store(end, Ordering::Release);
        drop(index);
        self.core.counters.durable_lsn.store(end, Ordering::Release);
    }

    pub(super) fn poison(&self, op: &'static str, error: &std::io::Error) -> Poison {
        let file = self.active.as_ref().map_or_else(String::new, |active| self.core.volume.display(&active.live.file));
        Poison::new(op, file, self.end.lsn, error)
    }

    /// Room for a group of `bytes` and, behind it, for the seal with what it adds to the index.
    fn make_room(&mut self, bytes: usize, streams: usize, jumps: usize) -> Result<(), Stopped> {
        // A definition takes up to two frames' worth of names; an entry of the index as much again.
        let defs = streams * (FRAME_MOST + 512);
        let group = blocks((GROUP_HEADER + bytes + defs) as u64);
        let more = defs + size_of::<Stretch>() * jumps + size_of::<Pair>() * (bytes / (256 << 10));
        let end = self.end.lsn;
        if let Some(active) = &mut self.active {
            if !active.has_room(end, group, more) {
                active.index_most = active.live.with_index(|index| index.encoded_len());
            }
            if active.has_room(end, group, more) {
                active.index_most += more;
                return Ok(());
            }
            self.seal(0)?;
        }
        self.next_segment()?;
        // A group for which a whole segment has no room was refused at the door.
        self.active.iter_mut().for_each(|active| active.index_most += more);
        Ok(())
    }

    /// Ends the active segment: index, trailer, and a file that is cut behind them. Durable before the next one begins.
    pub(super) fn seal(&mut self, flags: u32) -> Result<(), Stopped> {
        point("wal.seal.before").map_err(|error| self.poison("sealing", &error))?;
        let Some(active) = &self.active else { return Ok(()) };
        let (payload, records) = active.live.with_index(|index| (index.encode(), index.records()));
        let uuid = self.core.meta.uuid();
        let header = FrameHeader::of(FrameType::Index, &payload);
        let mut frame = header.encode(&uuid).to_vec();
        frame.extend(&payload);
        frame.resize(header.total(), 0);
        let frames = [Staged { header, frame, repair: false }];
        let group = self.group_header(&frames, group_flags::SEAL | flags);
        let trailer = Trailer {
            seal_lsn: group.lsn,
            end_lsn: group.lsn + group.total(),
            seq: active.live.header.seq,
            groups: active.groups + 1,
            records,
            chain: group.chain(),
            group_seq: group.seq,
        };
        let mut bytes = group.encode(&uuid).to_vec();
        bytes.extend(&frames[0].frame);
        bytes.resize(group.total() as usize, 0);
        bytes.extend(trailer.encode(&uuid));
        if !fault::sabotaged("wal_rotate_without_seal") {
            write_synced(active, &[IoSlice::new(&bytes)], group.lsn, &self.core, self.synced_lsn)?;
        }
        let poison = |error| self.poison("cutting", &error);
        point("wal.seal.after_sync").map_err(poison)?;
        let len = active.live.header.file_offset(trailer.end_lsn) + BLOCK;
        active.file.set_len(len).and_then(|()| point("wal.seal.after_truncate")).map_err(poison)?;
        active.file.sync_all().map_err(poison)?;
        active.live.end.store(trailer.end_lsn, Ordering::Release);
        active.live.closed.store(true, Ordering::Release);
        self.core.counters.group(0, group.total() + BLOCK);
        self.advance(&group);
        self.core.counters.durable_lsn.store(self.end.lsn, Ordering::Release);
        self.active = None;
        Ok(())
    }
}

/// More than any definition's frame without its names.
const FRAME_MOST: usize = 256;

/// Writes and syncs. Any failure poisons: what stands there then is not known, and a second sync would say that all is well.
fn write_synced(
    active: &Active,
    parts: &[IoSlice<'_>],
    lsn: u64,
    core: &Core,
    synced: u64,
) -> Result<Duration, Stopped> {
    debug_assert!(synced <= lsn, "W5: durable bytes are never written again");
    let offset = active.live.header.file_offset(lsn);
    let stop = |op| {
        move |error: std::io::Error| Stopped(Some(Poison::new(op, core.volume.display(&active.live.file), lsn, &error)))
    };
    point("wal.group.before_write").map_err(stop("writing"))?;
    match active.file.write_at(parts, offset) {
        Err(_) if fault::sabotaged("wal_go_on_after_error") => return Ok(Duration::ZERO),
        written => written.and_then(|()| point("wal.group.after_write")).map_err(stop("writing"))?,
    }
    let started = Instant::now();
    sync(&*active.file).and_then(|()| point("wal.group.after_sync")).map_err(stop("syncing"))?;
    let took = started.elapsed();
    core.counters.synced(took, core.options.slow_sync);
    if took > core.options.slow_sync {
        tracing::warn!(file = active.live.file, ?took, "a sync of the log was slow");
    }
    Ok(took)
}

fn sync(file: &dyn LogFile) -> std::io::Result<()> {
    if fault::sabotaged("wal_ack_before_sync") {
        return Ok(());
    }
    match file.sync_data() {
        Err(_) if fault::sabotaged("wal_retry_sync") => file.sync_data(),
        synced => synced,
    }
}

/// The group's header and its short frames, copied together so that the kernel is handed few parts.
struct Small {
    bytes: Vec<u8>,
    /// Where the copied bytes in front of each long frame end.
    pieces: Vec<(usize, usize)>,
}

impl Small {
    fn gather(head: &[u8], frames: &[Staged]) -> Small {
        let mut small = Small { bytes: head.to_vec(), pieces: Vec::new() };
        for (at, frame) in frames.iter().enumerate() {
            if frame.frame.len() < SMALL {
                small.bytes.extend_from_slice(&frame.frame);
            } else {
                small.pieces.push((small.bytes.len(), at));
            }
        }
        small
    }

    fn parts<'a>(&'a self, frames: &'a [Staged]) -> Vec<IoSlice<'a>> {
        let mut parts = Vec::with_capacity(2 * self.pieces.len() + 2);
        let mut from = 0;
        for (until, frame) in &self.pieces {
            if *until > from {
                parts.push(IoSlice::new(&self.bytes[from..*until]));
            }
            parts.push(IoSlice::new(&frames[*frame].frame));
            from = *until;
        }
        parts.push(IoSlice::new(&self.bytes[from..]));
        parts
    }
}

/// A committer that panics must not leave anybody waiting.
struct Guard {
    core: Arc<Core>,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let error = std::io::Error::other("the committer panicked");
        self.core.stage.poisoned(Poison::new("committing", self.core.volume.display(""), 0, &error));
        self.core.preparer.stop();
    }
}
