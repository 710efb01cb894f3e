//! The thread that owns a store's table: it does what has gathered, syncs once, and only then answers.
//!
//! So two thousand swaps that wait at the same time share one fsync, no answer is about something that a
//! power loss could take back, and no fsync runs on a thread that others wait for. Reads go the same way:
//! a record that another swap has just written is shown when it is durable, not before.
//!
//! | what happens | what the callers get | and then |
//! |---|---|---|
//! | no space, seen beforehand | not done | goes on |
//! | no space, in the middle | not known | opened again when there is space |
//! | an fsync fails, a panic, damage | not known | refused for good: stop, start again |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use landfall_lake::fault::{point, sabotaged};
use landfall_sink::Stream;
use tokio::sync::oneshot;

use super::ledger::{self, Fault, Pages};
use super::{StoreError, Swap};

/// One round never takes more jobs than this, so that the first of them does not wait for ever.
const ROUND: usize = 4096;

/// Why a job was not done, or may not have been.
#[derive(Debug, Clone)]
enum Trouble {
    NotDone(String),
    Unknown(String),
    Refused(String),
}

/// Tells the caller, once it is known whether the round is durable.
type Answer = Box<dyn FnOnce(Result<(), Trouble>) + Send>;
type Job<P> = Box<dyn FnOnce(&mut Owner<P>) -> Answer + Send>;

/// A table and the thread that owns it. Dropping it does what has been asked for, then closes the table.
pub(super) struct GroupCommit<P: Pages> {
    store: String,
    jobs: Option<mpsc::Sender<Job<P>>>,
    thread: Option<JoinHandle<()>>,
    syncs: Arc<AtomicU64>,
}

impl<P: Pages> GroupCommit<P> {
    pub(super) fn start(store: String, pages: P) -> std::io::Result<GroupCommit<P>> {
        let (jobs, queue) = mpsc::channel::<Job<P>>();
        let syncs = Arc::new(AtomicU64::new(0));
        let owner = Owner { pages, health: Health::Good, unsynced: 0, dirty: false, syncs: syncs.clone() };
        let thread = std::thread::Builder::new().name("checkpoint-sync".into()).spawn(move || owner.run(&queue))?;
        Ok(GroupCommit { store, jobs: Some(jobs), thread: Some(thread), syncs })
    }

    /// How many times the table was synced since the start.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    pub(super) async fn load(&self, stream: Stream) -> Result<Option<Vec<u8>>, StoreError> {
        self.call(move |owner| owner.read(|pages| ledger::load(pages, &stream))).await
    }

    pub(super) async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.call(|owner| owner.read(ledger::streams)).await
    }

    pub(super) async fn swap(
        &self,
        stream: Stream,
        expected: Option<u64>,
        version: u64,
        bytes: Vec<u8>,
    ) -> Result<Swap, StoreError> {
        self.call(move |owner| {
            point("store.before_swap").map_err(|error| Trouble::NotDone(error.to_string()))?;
            owner.write(bytes.len(), |pages| {
                let swap = ledger::swap(pages, &stream, expected, version, &bytes)?;
                Ok((swap, swap == Swap::Won))
            })
        })
        .await
    }

    pub(super) async fn meta(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.call(move |owner| owner.read(|pages| meta(pages, name))).await
    }

    /// Remembers a value under a name, unless there is one: returns what stands.
    pub(super) async fn remember(&self, name: &'static str, value: String) -> Result<String, StoreError> {
        self.call(move |owner| {
            owner.write(value.len(), |pages| match meta(pages, name)? {
                Some(standing) => Ok((standing, false)),
                None => pages.put(&ledger::meta_key(name), value.as_bytes()).map(|()| (value.clone(), true)),
            })
        })
        .await
    }

    /// Hands a job to the thread and waits for its answer. A caller that stops waiting does not know.
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Owner<P>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job<P> = Box::new(move |owner| {
            let outcome = job(owner);
            Box::new(move |durable| drop(reply.send(outcome.and_then(|value| durable.map(|()| value)))))
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        let ended = || "its thread has ended: see the log".to_owned();
        let outcome = match answer.await {
            Ok(outcome) => outcome,
            Err(_) if sent => Err(Trouble::Unknown(ended())),
            Err(_) => Err(Trouble::Refused(ended())),
        };
        outcome.map_err(|trouble| match trouble {
            Trouble::NotDone(message) => StoreError::NotDone { store: self.store.clone(), message },
            Trouble::Unknown(message) => StoreError::Unknown { store: self.store.clone(), message },
            Trouble::Refused(message) => StoreError::Refused { store: self.store.clone(), message },
        })
    }
}

impl<P: Pages> Drop for GroupCommit<P> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn meta<P: Pages>(pages: &P, name: &str) -> Result<Option<String>, Fault> {
    let value = pages.get(&ledger::meta_key(name))?;
    value.map(String::from_utf8).transpose().map_err(|_| Fault::Broken(format!("its {name} is damaged")))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Good,
    /// There was no space in the middle of something.
    Full(String),
    /// Never again.
    Broken(String),
}

struct Owner<P: Pages> {
    pages: P,
    health: Health,
    /// Bytes that the table was given since the last sync.
    unsynced: u64,
    dirty: bool,
    syncs: Arc<AtomicU64>,
}

impl<P: Pages> Owner<P> {
    fn run(mut self, queue: &mpsc::Receiver<Job<P>>) {
        while let Ok(first) = queue.recv() {
            let round: Vec<Job<P>> = std::iter::once(first).chain(queue.try_iter().take(ROUND - 1)).collect();
            self.round(round);
        }
        // Closing writes too, and may panic where a disk fails; everything that was answered is durable.
        let closed = catch_unwind(AssertUnwindSafe(move || drop(self)));
        if closed.is_err() {
            tracing::error!("the checkpoint store did not close cleanly; what was acknowledged is durable");
        }
    }

    fn round(&mut self, round: Vec<Job<P>>) {
        self.recover();
        let mut answers = Vec::with_capacity(round.len());
        for job in round {
            match catch_unwind(AssertUnwindSafe(|| job(self))) {
                Ok(answer) => answers.push(answer),
                Err(_) => self.failed(&Fault::Broken("it panicked".into())),
            }
        }
        let durable = self.make_durable();
        for answer in answers {
            answer(durable.clone());
        }
    }

    /// After a full disk: opens the table again if there is space.
    fn recover(&mut self) {
        if !matches!(self.health, Health::Full(_)) || self.pages.room(0).is_err() {
            return;
        }
        match catch_unwind(AssertUnwindSafe(|| self.pages.reopen())) {
            Ok(Ok(())) => (self.health, self.dirty, self.unsynced) = (Health::Good, false, 0),
            Ok(Err(fault)) => self.failed(&fault),
            Err(_) => self.failed(&Fault::Broken("it panicked when it was opened again".into())),
        }
    }

    fn make_durable(&mut self) -> Result<(), Trouble> {
        let unknown = |error: std::io::Error| Trouble::Unknown(error.to_string());
        if self.health == Health::Good && self.dirty {
            point("store.after_swap").map_err(unknown)?;
            if !sabotaged("swap_without_sync") {
                let synced = catch_unwind(AssertUnwindSafe(|| self.pages.sync()));
                match synced.unwrap_or_else(|_| Err(Fault::Broken("it panicked while it was synced".into()))) {
                    Ok(()) => _ = self.syncs.fetch_add(1, Ordering::SeqCst),
                    Err(fault) => self.failed(&fault),
                }
            }
            if self.health == Health::Good {
                (self.dirty, self.unsynced) = (false, 0);
                point("store.after_sync").map_err(unknown)?;
            }
        }
        match &self.health {
            Health::Good => Ok(()),
            Health::Full(why) | Health::Broken(why) => Err(Trouble::Unknown(why.clone())),
        }
    }

    fn read<T>(&mut self, read: impl FnOnce(&P) -> Result<T, Fault>) -> Result<T, Trouble> {
        self.usable()?;
        read(&self.pages).map_err(|fault| {
            self.failed(&fault);
            match fault {
                Fault::Full(why) => Trouble::NotDone(why),
                Fault::Broken(why) => Trouble::Refused(why),
            }
        })
    }

    /// `write` says whether it changed anything: only then is there something to sync.
    fn write<T>(&mut self, bytes: usize, write: impl FnOnce(&P) -> Result<(T, bool), Fault>) -> Result<T, Trouble> {
        self.usable()?;
        let bytes = bytes as u64 + 256;
        self.pages.room(self.unsynced + bytes).map_err(Trouble::NotDone)?;
        match write(&self.pages) {
            Ok((outcome, changed)) => {
                self.dirty |= changed;
                self.unsynced += if changed { bytes } else { 0 };
                Ok(outcome)
            }
            Err(fault) => {
                self.failed(&fault);
                match fault {
                    Fault::Full(why) | Fault::Broken(why) => Err(Trouble::Unknown(why)),
                }
            }
        }
    }

    fn usable(&self) -> Result<(), Trouble> {
        match &self.health {
            Health::Good => Ok(()),
            Health::Full(why) => Err(Trouble::NotDone(why.clone())),
            Health::Broken(why) => Err(Trouble::Refused(format!("{why}: stop, see to the disk, and start again"))),
        }
    }

    fn failed(&mut self, fault: &Fault) {
        match (fault, &self.health) {
            (_, Health::Broken(_)) => {}
            (Fault::Full(why), _) => {
                tracing::warn!(why, "no space for the checkpoint store");
                self.health = Health::Full(why.clone());
            }
            (Fault::Broken(why), _) => {
                tracing::error!(why, "the checkpoint store can no longer be believed; nothing more is written to it");
                self.health = Health::Broken(why.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
