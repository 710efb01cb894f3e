//! A volume in memory that keeps what a power cut would lose apart from what it would not: sectors of files, lengths,
//! and names of the directory. It cuts the power at any operation, fails on demand, lies about syncs, and fills up.
//!
//! A cut keeps any of the unsynced sectors in any version, torn at 512 bytes, any of the unsynced lengths that came
//! first, and any of the directory's changes. Nothing of a process that was cut off can write any more.

mod disk;
mod inode;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use landfall::wal::volume::{FileMeta, LogFile, LogVolume};

use disk::{DirOp, off};
pub use disk::{Disk, Fault, How, Op, Survives};
pub use inode::{BLOCK, Inode, SECTOR, put};

/// The files of a disk by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// States of a disk, each with the mark of its moment.
type History = Vec<(Disk, i64)>;

/// A computer with one disk. Volumes of it belong to one process; a restart makes those of before useless.
#[derive(Clone)]
pub struct Machine {
    disk: Arc<(Mutex<Disk>, Condvar)>,
    /// Syncs wait while it is true.
    held: Arc<(Mutex<bool>, Condvar)>,
    /// One copy of the disk for each state that it was in, where they are kept, with the mark of that moment.
    history: Arc<Mutex<Option<History>>>,
    mark: Arc<Mutex<i64>>,
}

impl Machine {
    pub fn new(seed: u64) -> Machine {
        Machine::with(Disk::new(seed))
    }

    pub fn of(image: Image, seed: u64) -> Machine {
        Machine::with(Disk::of(image, seed))
    }

    pub fn with(disk: Disk) -> Machine {
        Machine {
            disk: Arc::new((Mutex::new(disk), Condvar::new())),
            held: Arc::default(),
            history: Arc::default(),
            mark: Arc::default(),
        }
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.0.lock().unwrap_or_else(|dead| dead.into_inner())
    }

    pub fn volume(&self) -> Arc<SimVolume> {
        Arc::new(SimVolume { epoch: self.disk().epoch, machine: self.clone() })
    }

    /// Cuts the power at the `n`-th change from now on.
    pub fn cut_after(&self, n: u64) {
        let mut disk = self.disk();
        disk.cut_at = Some(disk.ops + n);
    }

    pub fn is_off(&self) -> bool {
        self.disk().dead
    }

    /// Cuts the power, if it is not cut, and turns it on again.
    pub fn restart(&self, survives: Survives) {
        self.disk().restart(survives);
        self.hold_syncs(false);
    }

    /// Ends the process, and nothing else.
    pub fn kill(&self) {
        self.disk().killed();
        self.hold_syncs(false);
    }

    pub fn fault(&self, op: Op, file: &'static str, skip: u64, how: How) {
        self.disk().faults.push(Fault { op, file, skip, times: 1, how });
    }

    pub fn heal(&self) {
        self.disk().faults.clear();
    }

    pub fn hold_syncs(&self, hold: bool) {
        *self.held.0.lock().unwrap() = hold;
        self.held.1.notify_all();
    }

    fn wait_while_held(&self) {
        let held = self.held.0.lock().unwrap();
        drop(self.held.1.wait_timeout_while(held, Duration::from_secs(5), |held| *held).unwrap());
    }

    /// How often something was asked of files with such a name.
    pub fn count(&self, op: Op, file: &str) -> usize {
        self.disk().journal.iter().filter(|(of, name)| *of == op && name.contains(file)).count()
    }

    /// Keeps a copy of the disk after every change from now on.
    pub fn keep_history(&self) {
        *self.history.lock().unwrap() = Some(Vec::new());
    }

    /// What the history says besides the disk: the test's own figure, from now on.
    pub fn mark(&self, mark: i64) {
        let disk = self.disk();
        *self.mark.lock().unwrap() = mark;
        self.remember(&disk);
    }

    pub fn take_history(&self) -> Vec<(Disk, i64)> {
        self.history.lock().unwrap().take().unwrap_or_default()
    }

    fn remember(&self, disk: &Disk) {
        if let Some(history) = self.history.lock().unwrap().as_mut() {
            history.push((disk.clone(), *self.mark.lock().unwrap()));
        }
    }

    /// What the running system sees.
    pub fn image(&self) -> Image {
        let disk = self.disk();
        disk.names.iter().map(|(name, inode)| (name.clone(), disk.inodes[*inode].seen.clone())).collect()
    }
}

pub struct SimVolume {
    machine: Machine,
    epoch: u64,
}

struct SimFile {
    machine: Machine,
    epoch: u64,
    inode: usize,
    write: bool,
}

fn enter(machine: &Machine, epoch: u64) -> io::Result<MutexGuard<'_, Disk>> {
    let disk = machine.disk();
    if disk.dead || disk.epoch != epoch { Err(off()) } else { Ok(disk) }
}

/// Does a change as far as the disk lets it, and says what the disk says.
fn change(
    machine: &Machine,
    epoch: u64,
    op: Op,
    name: impl FnOnce(&Disk) -> String,
    act: impl FnOnce(&mut Disk),
) -> io::Result<()> {
    let mut disk = enter(machine, epoch)?;
    let file = name(&disk);
    let result = match disk.change(op, &file) {
        Ok(true) => {
            act(&mut disk);
            Ok(())
        }
        Ok(false) => Ok(()),
        Err((happened, error)) => {
            if happened {
                act(&mut disk);
            }
            Err(error)
        }
    };
    machine.remember(&disk);
    result
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there"))
}

impl SimVolume {
    fn change(&self, op: Op, name: &str, act: impl FnOnce(&mut Disk)) -> io::Result<()> {
        change(&self.machine, self.epoch, op, |_| name.to_string(), act)
    }

    fn file(&self, inode: usize, write: bool) -> Box<dyn LogFile> {
        Box::new(SimFile { machine: self.machine.clone(), epoch: self.epoch, inode, write })
    }
}

struct Lock(Machine, u64);

impl Drop for Lock {
    fn drop(&mut self) {
        let mut disk = self.0.disk();
        if disk.epoch == self.1 {
            disk.locked = false;
        }
    }
}

impl LogVolume for SimVolume {
    fn display(&self, name: &str) -> String {
        format!("sim/{name}")
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut disk = enter(&self.machine, self.epoch)?;
        if disk.locked {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another"));
        }
        disk.locked = true;
        Ok(Box::new(Lock(self.machine.clone(), self.epoch)))
    }

    fn list(&self) -> io::Result<Vec<FileMeta>> {
        let disk = enter(&self.machine, self.epoch)?;
        let meta = |(name, inode): (&String, &usize)| FileMeta {
            name: name.clone(),
            len: disk.inodes[*inode].seen.len() as u64,
        };
        Ok(disk.names.iter().map(meta).collect())
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>> {
        if enter(&self.machine, self.epoch)?.full(len as usize) {
            return Err(io::Error::from_raw_os_error(28));
        }
        let mut made = 0;
        self.change(Op::Create, name, |disk| {
            made = match disk.names.get(name) {
                Some(inode) => *inode,
                None => {
                    disk.inodes.push(Inode::default());
                    let inode = disk.inodes.len() - 1;
                    disk.directory(DirOp::Link(name.into(), inode));
                    inode
                }
            };
            let inode = &mut disk.inodes[made];
            if !inode.seen.is_empty() {
                inode.set_len(0);
            }
            inode.set_len(len as usize);
        })?;
        Ok(self.file(made, true))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn LogFile>> {
        let disk = enter(&self.machine, self.epoch)?;
        let inode = *disk.names.get(name).ok_or_else(|| not_found(name))?;
        Ok(self.file(inode, write))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let inode = *enter(&self.machine, self.epoch)?.names.get(from).ok_or_else(|| not_found(from))?;
        self.change(Op::Rename, &format!("{from} {to}"), |disk| {
            disk.directory(DirOp::Rename(from.into(), to.into(), inode));
        })
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let Some(inode) = enter(&self.machine, self.epoch)?.names.get(name).copied() else { return Ok(()) };
        self.change(Op::Unlink, name, |disk| disk.directory(DirOp::Unlink(name.into(), inode)))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change(Op::SyncDir, "", Disk::sync_dir)
    }
}

impl SimFile {
    fn name(&self, disk: &Disk) -> String {
        disk.names.iter().find(|(_, inode)| **inode == self.inode).map_or_else(String::new, |(name, _)| name.clone())
    }

    fn change(&self, op: Op, act: impl FnOnce(&mut Disk)) -> io::Result<()> {
        assert!(self.write || matches!(op, Op::SyncAll), "{op:?} of a file that was opened for reading");
        change(&self.machine, self.epoch, op, |disk| self.name(disk), act)
    }

    /// A sync; where it fails as a disk does, what was to be written counts as clean.
    fn sync(&self, op: Op, act: fn(&mut Inode)) -> io::Result<()> {
        self.machine.wait_while_held();
        let result = self.change(op, |disk| act(&mut disk.inodes[self.inode]));
        if let Err(error) = &result
            && error.raw_os_error() == Some(5)
        {
            let mut disk = enter(&self.machine, self.epoch)?;
            let mut rng = disk.rng.clone();
            disk.inodes[self.inode].lose_unsynced(&mut rng);
            disk.rng = rng;
        }
        result
    }
}

impl LogFile for SimFile {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.change(Op::Write, |disk| disk.inodes[self.inode].write(&bytes, offset as usize))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = enter(&self.machine, self.epoch)?;
        let seen = &disk.inodes[self.inode].seen;
        let from = (offset as usize).min(seen.len());
        let len = into.len().min(seen.len() - from);
        into[..len].copy_from_slice(&seen[from..from + len]);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(Op::SyncData, Inode::sync_data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let more = (len as usize).saturating_sub(self.len()? as usize);
        if more > 0 && enter(&self.machine, self.epoch)?.full(more) {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.change(Op::SetLen, |disk| disk.inodes[self.inode].set_len(len as usize))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(Op::SyncAll, Inode::sync_all)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(enter(&self.machine, self.epoch)?.inodes[self.inode].seen.len() as u64)
    }
}
