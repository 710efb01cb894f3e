//! Between appenders and the committer: the door that refuses what was appended before, the queue of frames, and the
//! waiters for what becomes durable.
//!
//! A frame comes finished; under the lock only its place among the stream's offsets is decided. The buffers are
//! moved, never copied, so appenders do not wait for each other's bytes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use landfall_lake::fault;
use landfall_sink::{Isolation, Stream};

use super::error::{AppendError, Poison};
use super::format::{AssignReason, FRAME_HEADER, FrameHeader, FrameType, StreamDef, Uuid};
use super::run::Run;

/// How long the committer stays awake for a lone appender.
const AWAKE: Duration = Duration::from_micros(60);

/// A stream of an open log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(super) u32);

/// The right to ask whether an append is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// A frame that waits for the committer.
#[derive(Debug)]
pub struct Staged {
    pub header: FrameHeader,
    pub frame: Vec<u8>,
    /// It stood in the log before, or was fetched again: it does not move the stream.
    pub repair: bool,
}

#[derive(Debug, Clone)]
pub struct Door {
    pub stream: Stream,
    pub isolation: Isolation,
    /// `None` until a run is started.
    pub next: Option<i64>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Staged>,
    queued_bytes: usize,
    in_flight: usize,
    next_ticket: u64,
    /// By id; a map, so that an id that is damage takes no room.
    doors: BTreeMap<u32, Door>,
    last_id: u32,
    ids: HashMap<(Stream, Isolation), u32>,
    closing: bool,
    /// How many frames the committer waits for; `None` while it is at work and looks by itself.
    wanted: Option<usize>,
    /// Appenders that wait for room.
    crowd: usize,
    /// How many of them have a frame that is longer than what may be staged. Nobody goes before them: there would always
    /// be somebody.
    long: usize,
}

#[derive(Debug, Default)]
struct Done {
    /// Every frame with a lower or equal number is durable.
    ticket: u64,
    poison: Option<Poison>,
    /// The committer is gone: what is not durable now never will be.
    ended: bool,
    waiting: usize,
    /// By ticket, so that neither a poll nor a group looks at those of all the others.
    wakers: BTreeMap<u64, Vec<Waker>>,
}

#[derive(Debug)]
pub struct Stage {
    uuid: Uuid,
    limit: usize,
    max_frame: usize,
    group: usize,
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
    done: Mutex<Done>,
    woken: Condvar,
    durable: AtomicU64,
    /// Whether frames are queued, for those who look without the lock.
    pending: AtomicBool,
    last_sync_us: AtomicU64,
}

/// What the committer is to do next.
#[derive(Debug)]
pub enum Work {
    Frames(Vec<Staged>),
    /// Nothing came for a while: prove the last group.
    Idle,
    Close,
    /// Somebody else met a failure: nothing is written any more.
    Stop,
}

/// A lock that a panicking thread left is entered all the same: the committer poisons the log when it dies.
fn enter<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|dead| dead.into_inner())
}

impl Stage {
    /// No id up to `last_id` is given out again, also where no segment defines it any more.
    pub fn new(
        uuid: Uuid,
        limit: usize,
        max_frame: usize,
        group: usize,
        doors: BTreeMap<u32, Door>,
        last_id: u32,
    ) -> Stage {
        let ids = doors.iter().map(|(id, door)| ((door.stream.clone(), door.isolation), *id)).collect();
        let state = State { doors, last_id, ids, ..State::default() };
        Stage {
            uuid,
            limit,
            max_frame,
            group,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
            done: Mutex::default(),
            woken: Condvar::new(),
            durable: AtomicU64::new(0),
            pending: AtomicBool::new(false),
            last_sync_us: AtomicU64::new(0),
        }
    }

    pub fn stream(&self, stream: &Stream, isolation: Isolation) -> Option<StreamId> {
        let forgotten = Stream { topic_id: None, ..stream.clone() };
        let stream = if fault::sabotaged("wal_forget_topic_id") { &forgotten } else { stream };
        let def = StreamDef { stream: stream.clone(), isolation, first_next: 0 };
        let mut state = enter(&self.state);
        if let Some(id) = state.ids.get(&(stream.clone(), isolation)) {
            return Some(StreamId(*id));
        }
        def.encode()?;
        let id = state.last_id.checked_add(1)?;
        state.last_id = id;
        state.doors.insert(id, Door { stream: stream.clone(), isolation, next: None });
        state.ids.insert((stream.clone(), isolation), id);
        Some(StreamId(id))
    }

    pub fn door(&self, id: StreamId) -> Option<Door> {
        enter(&self.state).doors.get(&id.0).cloned()
    }

    /// The first stream of that name that has a run: its id and next offset.
    pub fn find(&self, stream: &Stream) -> Option<(StreamId, i64)> {
        let state = enter(&self.state);
        state
            .doors
            .iter()
            .filter(|(_, door)| door.stream == *stream)
            .find_map(|(id, door)| Some((StreamId(*id), door.next?)))
    }

    /// Starts a run: the stream goes on at `offset`, and what lies before it is not this log's.
    pub fn start_run(&self, id: StreamId, offset: i64, reason: AssignReason) -> Result<Ticket, AppendError> {
        if offset < 0 {
            let stream = self.door(id).ok_or(AppendError::Closed)?.stream;
            return Err(AppendError::Invalid { stream, why: format!("a run cannot start at offset {offset}") });
        }
        let mut header = FrameHeader::of(FrameType::Assign, &[reason.code()]);
        let mut frame = vec![0; FRAME_HEADER + 8];
        frame[FRAME_HEADER] = reason.code();
        (header.base_offset, header.last_offset, header.next_offset) = (offset, offset - 1, offset);
        let mut state = self.with_room(frame.len(), true)?;
        let Some(door) = state.doors.get_mut(&id.0) else { return Err(AppendError::Closed) };
        if let Some(next) = door.next.filter(|next| *next > offset) {
            return Err(AppendError::Duplicate { stream: door.stream.clone(), base: offset, next });
        }
        header.prev_next_offset = door.next.unwrap_or(offset);
        door.next = Some(offset);
        header.stream_id = id.0;
        Ok(self.push(&mut state, header, frame, false))
    }

    pub fn append(&self, id: StreamId, run: Run, wait: bool) -> Result<Ticket, AppendError> {
        if run.frame.len() > self.max_frame {
            let stream = self.door(id).ok_or(AppendError::Closed)?.stream;
            return Err(AppendError::TooLarge { stream, bytes: run.frame.len(), most: self.max_frame });
        }
        let mut state = self.with_room(run.frame.len(), wait)?;
        let Some(door) = state.doors.get_mut(&id.0) else { return Err(AppendError::Closed) };
        let (stream, base) = (|| door.stream.clone(), run.base_offset());
        if let Some(why) = run.flaw() {
            return Err(AppendError::Invalid { stream: stream(), why });
        }
        let Some(next) = door.next else { return Err(AppendError::NoRun { stream: stream() }) };
        if base < next {
            return Err(AppendError::Duplicate { stream: stream(), base, next });
        }
        if base > next && !run.is_sparse() {
            return Err(AppendError::Gap { stream: stream(), base, expected: next });
        }
        let header = FrameHeader { stream_id: id.0, prev_next_offset: next, ..run.header };
        door.next = Some(header.next_offset);
        Ok(self.push(&mut state, header, run.frame, false))
    }

    /// Appends a frame that does not move its stream. The header is the caller's, with the stream's id.
    pub fn repair(&self, header: FrameHeader, frame: Vec<u8>) -> Result<Ticket, AppendError> {
        let mut state = self.with_room(frame.len(), true)?;
        Ok(self.push(&mut state, header, frame, true))
    }

    fn with_room(&self, len: usize, wait: bool) -> Result<MutexGuard<'_, State>, AppendError> {
        let mut state = enter(&self.state);
        let long = usize::from(len > self.limit);
        loop {
            if let Some(poison) = self.poison() {
                return Err(poison.into());
            }
            if state.closing {
                return Err(AppendError::Closed);
            }
            let taken = state.queued_bytes + state.in_flight;
            if (long == 1 && taken == 0) || (state.long == 0 && taken + len <= self.limit) {
                return Ok(state);
            }
            if !wait {
                return Err(AppendError::Full);
            }
            state.crowd += 1;
            state.long += long;
            state = self.room.wait(state).unwrap_or_else(|dead| dead.into_inner());
            state.crowd -= 1;
            state.long -= long;
        }
    }

    fn push(&self, state: &mut State, header: FrameHeader, mut frame: Vec<u8>, repair: bool) -> Ticket {
        frame[..FRAME_HEADER].copy_from_slice(&header.encode(&self.uuid));
        state.next_ticket += 1;
        state.queued_bytes += frame.len();
        state.queue.push_back(Staged { header, frame, repair });
        self.pending.store(true, Ordering::Release);
        let enough = |wanted| state.queue.len() >= wanted || state.queued_bytes >= self.group;
        // A condition variable makes a system call also where nobody waits.
        if state.wanted.is_some_and(enough) {
            self.work.notify_one();
        }
        Ticket(state.next_ticket)
    }

    /// The next group's frames, all of one kind; waits for them. `idle_after` is how long.
    pub fn take(&self, idle_after: Option<Duration>, woken: usize) -> Work {
        self.release();
        self.linger(woken);
        let mut state = enter(&self.state);
        state = self.gather(state, woken);
        let started = Instant::now();
        loop {
            if self.poison().is_some() {
                return Work::Stop;
            }
            if !state.queue.is_empty() {
                break;
            }
            if state.closing {
                return Work::Close;
            }
            state.wanted = Some(1);
            state = match idle_after.map(|limit| limit.saturating_sub(started.elapsed())) {
                None => self.work.wait(state).unwrap_or_else(|dead| dead.into_inner()),
                Some(Duration::ZERO) => return Work::Idle,
                Some(left) => self.work.wait_timeout(state, left).unwrap_or_else(|dead| dead.into_inner()).0,
            };
            state.wanted = None;
        }
        let repair = state.queue.front().is_some_and(|first| first.repair);
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state
            .queue
            .pop_front_if(|next| next.repair == repair && (frames.is_empty() || bytes + next.frame.len() <= self.group))
        {
            bytes += next.frame.len();
            frames.push(next);
        }
        state.queued_bytes -= bytes;
        state.in_flight = bytes;
        Work::Frames(frames)
    }

    /// What was in flight is done with. Who waits for room is woken when there is some to speak of: woken for every
    /// group, appenders would take the processor from the committer.
    fn release(&self) {
        let mut state = enter(&self.state);
        state.in_flight = 0;
        self.pending.store(!state.queue.is_empty(), Ordering::Release);
        let roomy = state.crowd > 0 && state.queued_bytes <= self.limit / 2;
        drop(state);
        if roomy {
            self.room.notify_all();
        }
    }

    /// A lone appender that was just told is back within microseconds: waking up for it would take as long as half a
    /// sync, so the committer stays awake for a moment.
    fn linger(&self, woken: usize) {
        let started = Instant::now();
        while woken == 1 && !self.pending.load(Ordering::Acquire) && started.elapsed() < AWAKE {
            std::thread::yield_now();
        }
    }

    /// Those who were just told that their append is durable are about to append again: one sync for all of them is
    /// worth a moment that is short against a sync.
    fn gather<'a>(&self, mut state: MutexGuard<'a, State>, woken: usize) -> MutexGuard<'a, State> {
        let most = Duration::from_micros((self.last_sync_us.load(Ordering::Relaxed) / 4).min(300));
        let started = Instant::now();
        state.wanted = Some(woken.max(1));
        while woken > 1 && state.queue.len() < woken && state.queued_bytes < self.group && !state.closing {
            let left = most.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(|dead| dead.into_inner()).0;
        }
        state.wanted = None;
        state
    }

    /// Every frame up to the `count`-th from here on is durable. Returns how many waiters were told.
    pub fn finish(&self, count: u64, took: Duration) -> usize {
        self.last_sync_us.store(took.as_micros() as u64, Ordering::Relaxed);
        let mut done = enter(&self.done);
        // After a failure elsewhere those who waited were told that it is not known; it stays so.
        if done.poison.is_some() {
            return 0;
        }
        done.ticket += count;
        let ticket = done.ticket;
        self.durable.store(ticket, Ordering::Release);
        let later = done.wakers.split_off(&(ticket + 1));
        let ready: Vec<Waker> = std::mem::replace(&mut done.wakers, later).into_values().flatten().collect();
        let (waiting, woken) = (done.waiting, done.waiting + ready.len());
        drop(done);
        if waiting > 0 {
            self.woken.notify_all();
        }
        ready.into_iter().for_each(Waker::wake);
        woken
    }

    /// Fails everything that waits and everything that comes.
    pub fn poisoned(&self, poison: Poison) {
        let mut done = enter(&self.done);
        done.poison.get_or_insert(poison);
        let wakers = std::mem::take(&mut done.wakers);
        drop(done);
        if fault::sabotaged("wal_leave_waiters") {
            return;
        }
        self.woken.notify_all();
        wakers.into_values().flatten().for_each(Waker::wake);
        // Whoever waits for room or work must look again; taking the lock makes sure that it is waiting or has not
        // looked yet.
        drop(enter(&self.state));
        self.room.notify_all();
        self.work.notify_one();
    }

    /// The committer will not come back.
    pub fn ended(&self) {
        let mut done = enter(&self.done);
        done.ended = true;
        let wakers = std::mem::take(&mut done.wakers);
        drop(done);
        if fault::sabotaged("wal_leave_waiters") {
            return;
        }
        self.woken.notify_all();
        wakers.into_values().flatten().for_each(Waker::wake);
        self.close();
    }

    pub fn poison(&self) -> Option<Poison> {
        enter(&self.done).poison.clone()
    }

    /// No more appends; the committer finishes what is queued.
    pub fn close(&self) {
        enter(&self.state).closing = true;
        self.room.notify_all();
        self.work.notify_one();
    }

    pub fn closing(&self) -> bool {
        enter(&self.state).closing
    }

    /// Frames that were taken and are not durable.
    pub fn unfinished(&self) -> u64 {
        enter(&self.state).next_ticket - enter(&self.done).ticket
    }

    pub fn staged_bytes(&self) -> usize {
        let state = enter(&self.state);
        state.queued_bytes + state.in_flight
    }

    pub fn wait(&self, ticket: Ticket) -> Result<(), AppendError> {
        if self.durable.load(Ordering::Acquire) >= ticket.0 {
            return Ok(());
        }
        let mut done = enter(&self.done);
        done.waiting += 1;
        while done.ticket < ticket.0 && done.poison.is_none() && !done.ended {
            done = self.woken.wait(done).unwrap_or_else(|dead| dead.into_inner());
        }
        done.waiting -= 1;
        if done.ticket >= ticket.0 {
            Ok(())
        } else {
            Err(done.poison.clone().map_or(AppendError::Closed, AppendError::from))
        }
    }
}

/// Resolves when an append is durable, on any executor. The log that it belongs to lives as long.
#[derive(Debug)]
pub struct Durable {
    pub(super) stage: Arc<Stage>,
    pub(super) ticket: Ticket,
}

impl Future for Durable {
    type Output = Result<(), AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut done = enter(&self.stage.done);
        if done.ticket >= self.ticket.0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(poison) = &done.poison {
            return Poll::Ready(Err(poison.clone().into()));
        }
        if done.ended {
            return Poll::Ready(Err(AppendError::Closed));
        }
        let ticket = self.ticket.0;
        // One place a future: a select loop that polls it often must not fill the list.
        let wakers = done.wakers.entry(ticket).or_default();
        wakers.retain(|waker| !waker.will_wake(context.waker()));
        wakers.push(context.waker().clone());
        Poll::Pending
    }
}
