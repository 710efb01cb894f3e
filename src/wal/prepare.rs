//! The next segment's file, made long before it is needed, and what is done when there is no room for one.
//!
//! A full disk is waited out, never an error: appenders wait at the door until segments are retired. So that commits
//! and retirements can be made at all, a ballast file is deleted first and made again before any new segment.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use landfall_lake::fault::point;

use super::Core;
use super::error::Poison;
use super::format::BLOCK;
use super::volume::{LogFile, is_full};

const BALLAST: &str = "reserve";
const RETRY: Duration = Duration::from_millis(100);

/// A file with room for a segment, under a name that means nothing yet.
pub struct Prepared {
    pub name: String,
    pub file: Box<dyn LogFile>,
    pub recycled: bool,
}

#[derive(Default)]
struct State {
    ready: Option<Prepared>,
    /// Names of retired files that may be written again.
    free: Vec<String>,
    made: u64,
    /// Nothing is made before the first append: a log that is only read takes no room.
    wanted: bool,
    stop: bool,
    failed: Option<Poison>,
}

#[derive(Default)]
pub struct Preparer {
    state: Mutex<State>,
    /// Something changed: a file is ready or was taken, space was freed, the log is closing.
    changed: Condvar,
}

impl Preparer {
    pub fn new(free: Vec<String>) -> Preparer {
        let made = free.iter().filter_map(|name| name.strip_prefix("free-")?.parse::<u64>().ok()).max().unwrap_or(0);
        Preparer { state: Mutex::new(State { free, made, ..State::default() }), changed: Condvar::new() }
    }

    /// Waits for the next file. `None`: the log is closing, and there is no room.
    pub fn take(&self) -> Result<Option<Prepared>, Poison> {
        let mut state = self.enter();
        state.wanted = true;
        self.changed.notify_all();
        loop {
            if let Some(prepared) = state.ready.take() {
                self.changed.notify_all();
                return Ok(Some(prepared));
            }
            if let Some(poison) = &state.failed {
                return Err(poison.clone());
            }
            if state.stop {
                return Ok(None);
            }
            state = self.changed.wait(state).unwrap_or_else(|dead| dead.into_inner());
        }
    }

    /// A retired file's new name, if the pool has room for it.
    pub fn pool_name(&self, limit: usize) -> Option<String> {
        let mut state = self.enter();
        if state.free.len() >= limit {
            return None;
        }
        state.made += 1;
        Some(format!("free-{:04}", state.made))
    }

    pub fn recycle(&self, name: String) {
        self.enter().free.push(name);
    }

    /// Segments were retired or the disk has room again.
    pub fn kick(&self) {
        self.changed.notify_all();
    }

    pub fn stop(&self) {
        self.enter().stop = true;
        self.changed.notify_all();
    }

    fn enter(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|dead| dead.into_inner())
    }

    /// The thread: keeps one file ready. Should it die, the committer must not wait for it.
    pub fn run(core: &Arc<Core>) {
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Preparer::work(core))).is_err();
        if died {
            let error = std::io::Error::other("the thread that prepares segments panicked");
            core.preparer.enter().failed = Some(Poison::new("preparing", core.volume.display(""), 0, &error));
            core.preparer.changed.notify_all();
        }
    }

    fn work(core: &Arc<Core>) {
        let this = &core.preparer;
        let mut ballast = core.options.ballast_bytes == 0;
        loop {
            let mut state = this.enter();
            while (state.ready.is_some() || !state.wanted) && !state.stop {
                state = this.changed.wait(state).unwrap_or_else(|dead| dead.into_inner());
            }
            if state.stop {
                let unused = state.ready.take().filter(|prepared| !prepared.recycled);
                drop(state);
                // Where this fails, the next opening deletes it.
                unused.map(|prepared| core.volume.unlink(&prepared.name).ok());
                return;
            }
            let mut free = state.free.pop();
            let made = state.made + 1;
            state.made = made;
            drop(state);
            let made = core.make(&mut ballast, &mut free, made);
            let mut state = this.enter();
            match made {
                Ok(prepared) => {
                    core.counters.waiting_for_space.store(false, Ordering::Relaxed);
                    state.ready = Some(prepared);
                    this.changed.notify_all();
                }
                Err(error) if is_full(&error) => {
                    state.free.extend(free);
                    if core.stage.closing() {
                        state.stop = true;
                        this.changed.notify_all();
                        return;
                    }
                    if !core.counters.waiting_for_space.swap(true, Ordering::Relaxed) {
                        tracing::warn!(log = core.volume.display(""), %error, "no room for the next segment: appends wait until segments are retired");
                    }
                    drop(this.changed.wait_timeout(state, RETRY));
                }
                Err(error) => {
                    state.failed = Some(Poison::new("preparing", core.volume.display("the next segment"), 0, &error));
                    this.changed.notify_all();
                    return;
                }
            }
        }
    }
}

impl Core {
    /// Tells the disk's other users that they come first: deletes the ballast.
    fn drop_ballast(&self) -> std::io::Result<()> {
        self.volume.unlink(BALLAST)?;
        self.volume.sync_dir()
    }

    fn reuse(&self, name: &str, len: u64) -> std::io::Result<Prepared> {
        let file = self.volume.open(name, true)?;
        file.set_len(len)?;
        // Until it is durably longer than what was sealed in it, the first bytes of a trailer that reach its old end
        // would pass for those of a sealed segment.
        file.sync_all()?;
        point("wal.prepare.recycled")?;
        Ok(Prepared { name: name.into(), file, recycled: true })
    }

    fn make_ballast(&self, segment: u64) -> std::io::Result<()> {
        let len = self.options.ballast_bytes;
        if self.volume.list()?.iter().any(|file| file.name == BALLAST && file.len == len) {
            return Ok(());
        }
        // Made and deleted in turn on a full disk, it would take its room from those that it is deleted for.
        if self.volume.room()? < len.saturating_add(segment) {
            return Err(full("there is no room for the ballast and a segment".into()));
        }
        self.volume.create(BALLAST, len).map(drop)
    }

    /// `free` is a file of the pool, and stays what it is where that is still there.
    fn make(&self, ballast: &mut bool, free: &mut Option<String>, made: u64) -> std::io::Result<Prepared> {
        // The header, the groups, and one block more, so that a sealed file is always shorter than a prepared one.
        let len = self.options.segment_bytes + 3 * BLOCK;
        point("wal.prepare.before")?;
        if self.catalog.bytes() + self.options.segment_bytes > self.options.max_bytes {
            return Err(full(format!("the log is at its limit of {} bytes", self.options.max_bytes)));
        }
        // A retired file has its blocks already: it needs no room, so it may come before the ballast.
        if let Some(name) = free.as_deref() {
            match self.reuse(name, len) {
                // On a full disk it cannot get back what its seal cut off. What it has is room for a new one, with that
                // of the next in the pool.
                Err(error) if is_full(&error) => {
                    self.volume.unlink(name)?;
                    *free = None;
                }
                made => return made,
            }
        }
        if !*ballast {
            self.make_ballast(len)?;
            *ballast = true;
        }
        let name = format!("new-{made:04}.tmp");
        let created = self.volume.create(&name, len);
        match created.and_then(|file| point("wal.prepare.created").map(|()| file)) {
            Ok(file) => Ok(Prepared { name, file, recycled: false }),
            Err(error) => {
                if is_full(&error) && self.options.ballast_bytes > 0 {
                    *ballast = false;
                    self.drop_ballast()?;
                }
                Err(error)
            }
        }
    }
}

fn full(why: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::StorageFull, why)
}
