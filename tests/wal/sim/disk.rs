//! The simulated disk: files, the directory, what of both is durable, and what goes wrong when.

use std::collections::BTreeMap;
use std::io;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::inode::Inode;

/// What a log asks of its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Create,
    Write,
    SyncData,
    SetLen,
    SyncAll,
    Rename,
    Unlink,
    SyncDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It fails; whether it happened is not known.
    Eio,
    /// Only of what takes room: it fails and nothing happened.
    Full,
    /// A sync fails and what it should have written counts as clean: the next one says that all is well.
    Drop,
}

/// The `skip + 1`-th operation of a kind on files whose name contains `file`, and `times - 1` after it.
#[derive(Debug, Clone)]
pub struct Fault {
    pub op: Op,
    pub file: &'static str,
    pub skip: u64,
    pub times: u64,
    pub how: How,
}

#[derive(Debug, Clone)]
pub enum DirOp {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String, usize),
}

type Names = BTreeMap<String, usize>;

impl DirOp {
    pub fn apply(&self, names: &mut Names) {
        let remove = |names: &mut Names, name: &String, inode: usize| {
            if names.get(name) == Some(&inode) {
                names.remove(name);
            }
        };
        match self {
            DirOp::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
            DirOp::Rename(from, to, inode) => {
                remove(names, from, *inode);
                names.insert(to.clone(), *inode);
            }
            DirOp::Unlink(name, inode) => remove(names, name, *inode),
        }
    }
}

/// What survives the next cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    Nothing,
    All,
    /// Names yes, bytes no; and the other way round.
    OnlyNames,
    OnlyBytes,
    /// Any sectors, and of the directory's changes any subset, or as many as came first.
    Some,
}

impl Survives {
    pub fn any(rng: &mut StdRng) -> Survives {
        use Survives::{All, Nothing, OnlyBytes, OnlyNames};
        [Nothing, All, OnlyNames, OnlyBytes, Survives::Some, Survives::Some, Survives::Some][rng.random_range(0..7)]
    }
}

#[derive(Clone)]
pub struct Disk {
    pub inodes: Vec<Inode>,
    pub names: Names,
    pub stored_names: Names,
    pub dir_ops: Vec<DirOp>,
    pub rng: StdRng,
    pub faults: Vec<Fault>,
    /// Changes so far, and the one at which the power goes.
    pub ops: u64,
    pub cut_at: Option<u64>,
    pub dead: bool,
    pub epoch: u64,
    pub locked: bool,
    pub capacity: Option<usize>,
    /// Every change that was asked for, with the file's name.
    pub journal: Vec<(Op, String)>,
    /// How many syncs say that all is well and do nothing, of a hundred.
    pub lies: u32,
}

pub fn off() -> io::Error {
    io::Error::other("the machine is off")
}

impl Disk {
    pub fn new(seed: u64) -> Disk {
        Disk {
            inodes: Vec::new(),
            names: Names::new(),
            stored_names: Names::new(),
            dir_ops: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            faults: Vec::new(),
            ops: 0,
            cut_at: None,
            dead: false,
            epoch: 0,
            locked: false,
            capacity: None,
            journal: Vec::new(),
            lies: 0,
        }
    }

    pub fn of(image: BTreeMap<String, Vec<u8>>, seed: u64) -> Disk {
        let mut disk = Disk::new(seed);
        for (name, bytes) in image {
            disk.names.insert(name, disk.inodes.len());
            disk.inodes.push(Inode::of(bytes));
        }
        disk.stored_names.clone_from(&disk.names);
        disk
    }

    /// Counts a change and decides about it: `Ok(true)` to do it, `Ok(false)` to only say so, `Err` after doing it or
    /// not, with what the caller is told.
    pub fn change(&mut self, op: Op, file: &str) -> Result<bool, (bool, io::Error)> {
        self.ops += 1;
        self.journal.push((op, file.to_string()));
        if self.cut_at.is_some_and(|at| self.ops >= at) {
            self.dead = true;
            return Err((self.rng.random_bool(0.5), off()));
        }
        let sync = matches!(op, Op::SyncData | Op::SyncAll | Op::SyncDir);
        let mut struck = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op && file.contains(fault.file)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 && struck.is_none() {
                fault.times -= 1;
                struck = Some(fault.how);
            }
        }
        match struck {
            Some(How::Full) => Err((false, io::Error::from_raw_os_error(28))),
            Some(How::Eio) => Err((self.rng.random_bool(0.5), io::Error::from_raw_os_error(5))),
            Some(How::Drop) => Err((false, io::Error::from_raw_os_error(5))),
            None if sync && self.lies > 0 => Ok(self.rng.random_range(0..100) >= self.lies),
            None => Ok(true),
        }
    }

    pub fn full(&self, more: usize) -> bool {
        let used: usize = self.names.values().map(|inode| self.inodes[*inode].seen.len()).sum();
        self.capacity.is_some_and(|capacity| used + more > capacity)
    }

    pub fn directory(&mut self, op: DirOp) {
        op.apply(&mut self.names);
        self.dir_ops.push(op);
    }

    pub fn sync_dir(&mut self) {
        self.stored_names.clone_from(&self.names);
        self.dir_ops.clear();
    }

    /// The files after a power cut.
    pub fn after_cut(&mut self, survives: Survives) -> BTreeMap<String, Vec<u8>> {
        let (bytes, ops) = match survives {
            Survives::Nothing => (0.0, 0.0),
            Survives::All => (1.0, 1.0),
            Survives::OnlyNames => (0.0, 1.0),
            Survives::OnlyBytes => (1.0, 0.0),
            Survives::Some => ([0.1, 0.5, 0.9][self.rng.random_range(0..3)], 0.5),
        };
        let in_order = self.rng.random_bool(0.5);
        let first = match ops {
            0.0 => 0,
            1.0 => self.dir_ops.len(),
            _ => self.rng.random_range(0..=self.dir_ops.len()),
        };
        let mut names = self.stored_names.clone();
        for (at, op) in self.dir_ops.iter().enumerate() {
            if if in_order { at < first } else { self.rng.random_bool(ops) } {
                op.apply(&mut names);
            }
        }
        let rng = &mut self.rng;
        names.into_iter().map(|(name, inode)| (name, self.inodes[inode].after_cut(rng, bytes))).collect()
    }

    /// The power comes back.
    pub fn restart(&mut self, survives: Survives) {
        let image = self.after_cut(survives);
        let fresh = Disk::of(image, self.rng.random());
        *self = Disk { ops: self.ops, epoch: self.epoch + 1, capacity: self.capacity, lies: self.lies, ..fresh };
    }

    /// Only the process ended: what it wrote is still to be seen, and no more durable than before.
    pub fn killed(&mut self) {
        self.epoch += 1;
        (self.dead, self.locked, self.cut_at) = (false, false, None);
        self.faults.clear();
        self.journal.clear();
    }
}
