//! The life after the checkpoint store: lost, restored from a copy, or taken over while it can still be read;
//! `rebuild` from names and metadata or from the former tree; late puts, late checkpoint creates and late
//! prune deletes of the former owner; files that users move away; `--holes land | removed`.

mod steps;

use crate::search::{Model, Steps};

const OFFSETS: u8 = 3;
const KEYS: usize = 6;
const STANDS: u8 = 1 << 7;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    Nothing,
    HolesBeforeTheFirstNameIgnored,
    RebuildBeforeTheOwnersObject,
    NoOwnerInThePath,
    HolesRemovedWithAnOpenPlan,
    RebuildWhilePutsAreUnderWay,
    /// A take-over takes bounds from names alone, though a checkpoint can be read and puts may be late.
    NamesAloneInATakeOver,
    /// A tree that was lost, and shows one version again: a late create.
    TreeOfALateCreateBelieved,
    /// Users move a file below `next` whose plan is still open.
    MoveBelowNext,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing is left.
    Gone,
    /// A copy of an earlier version is put back.
    Restored,
    /// Nothing is lost: another owner takes over.
    TakenOver,
}

pub struct Rebuild {
    pub loss: Loss,
    /// `--holes removed` may be chosen; files may be moved away by users.
    pub removed: bool,
    /// How many offsets Kafka may drop.
    pub retention: u8,
    pub broken: Broken,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Record {
    version: u8,
    next: u8,
    /// At `from`: 0, or until.
    planned: [u8; OFFSETS as usize],
    gaps: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Writer {
    Down,
    Up { tree: u8 },
    Put { tree: u8, from: u8, until: u8, rows: u8, gaps: u8 },
    Commit { tree: u8, from: u8, until: u8 },
}

/// Where the rebuild is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    NotBegun,
    /// Broken: it has scanned before the owner's object stands.
    ScannedEarly(Record, bool),
    Owner,
    /// What it will write, and whether it lands files again that users may have moved away.
    Scanned(Record, bool),
    Done {
        land: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    log_start: u8,
    /// The newest record of the tree of owner 1 and of owner 2.
    trees: [Option<Record>; 2],
    /// An earlier record that somebody copied.
    copy: Option<Record>,
    lost: bool,
    /// A plan was open when the store was lost.
    open_when_lost: bool,
    phase: Phase,
    /// By range: `STANDS`, gaps in bits 3-5, rows in bits 0-2.
    files: [u8; KEYS],
    /// Offsets of files that users moved away.
    moved: u8,
    late_put: Option<(u8, u8)>,
    late_create: Option<Record>,
    writers: [Writer; 2],
}

fn key(from: u8, until: u8) -> usize {
    (until * (until - 1) / 2 + from) as usize
}

fn mask(from: u8, until: u8) -> u8 {
    (1 << until) - (1 << from.min(until))
}

fn ranges() -> impl Iterator<Item = (u8, u8)> {
    (1..=OFFSETS).flat_map(|until| (0..until).map(move |from| (from, until)))
}

impl Record {
    fn plan(mut self, until: u8) -> Record {
        self.planned[self.next as usize] = until;
        self.next = until;
        self.version += 1;
        self
    }

    fn commit(mut self, from: u8, gaps: u8) -> Record {
        self.planned[from as usize] = 0;
        self.gaps |= gaps;
        self.version += 1;
        self
    }

    fn plans(&self) -> impl Iterator<Item = (u8, u8)> + use<> {
        let planned = self.planned;
        (0..OFFSETS).map(move |from| (from, planned[from as usize])).filter(|(_, until)| *until != 0)
    }
}

impl State {
    fn file(&self, from: u8, until: u8) -> Option<(u8, u8)> {
        let file = self.files[key(from, until)];
        (file != 0).then_some((file & 7, file >> 3 & 7))
    }

    fn down(&self) -> bool {
        self.writers == [Writer::Down; 2]
    }

    fn owner(&self) -> u8 {
        match self.phase {
            Phase::NotBegun | Phase::ScannedEarly(..) => 0,
            _ => 1,
        }
    }
}

impl Model for Rebuild {
    type State = State;

    fn initial(&self) -> Vec<State> {
        let first = Record { version: 1, next: 0, planned: [0; OFFSETS as usize], gaps: 0 };
        vec![State {
            log_start: 0,
            trees: [Some(first), None],
            copy: None,
            lost: false,
            open_when_lost: false,
            phase: Phase::NotBegun,
            files: [0; KEYS],
            moved: 0,
            late_put: None,
            late_create: None,
            writers: [Writer::Down; 2],
        }]
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        for p in 0..2 {
            self.writer(s, p, steps);
        }
        self.lose(s, steps);
        self.rebuild(s, steps);
        self.users(s, steps);
        self.late(s, steps);
        if s.log_start < self.retention {
            let moved = State { log_start: s.log_start + 1, ..*s };
            steps.fault(moved, || format!("retention: the log starts at {}", moved.log_start));
        }
    }

    fn check(&self, s: &State) -> Result<(), String> {
        let (mut named, mut rows) = (0, 0);
        for (from, until) in ranges() {
            if let Some((content, _)) = s.file(from, until) {
                if named & mask(from, until) != 0 {
                    return Err(format!("overlap: [{from}, {until}) and another file"));
                }
                named |= mask(from, until);
                rows |= content;
            }
        }
        if rows & s.moved != 0 && s.phase != (Phase::Done { land: true }) {
            return Err("a record that was moved away is landed again".into());
        }
        let (true, Some(record)) = (self.usable(s), self.record(s)) else { return Ok(()) };
        let planned = record.plans().fold(0, |all, (from, until)| all | mask(from, until));
        let committed = mask(0, record.next) & !planned;
        if committed & !(named | s.moved) != 0 {
            return Err("I5: a committed record is in no file: lost".into());
        }
        if committed & !(rows | record.gaps | s.moved) != 0 {
            return Err("I5: a committed record is neither a row nor a gap: lost".into());
        }
        if committed & rows & record.gaps != 0 {
            return Err("I5: an offset is a row and a recorded gap".into());
        }
        for (from, until) in ranges().filter(|(from, until)| s.file(*from, *until).is_some()) {
            let open = |f, u| record.planned[f as usize] == u;
            if until > record.next || (planned & mask(from, until) != 0 && !open(from, until)) {
                return Err(format!("I2: the file [{from}, {until}) overlaps what is or will be planned"));
            }
        }
        Ok(())
    }

    fn settled(&self, s: &State) -> bool {
        let done = |record: Record| record.next == OFFSETS && record.plans().next().is_none();
        self.usable(s) && self.record(s).is_some_and(done)
    }
}
