//! The life after the checkpoint store: lost, restored from a copy, or taken over while it can still be read;
//! `rebuild` from names and metadata or from the former tree; late puts, late checkpoint creates and late
//! prune deletes of the former owner; files that users move away; `--holes land | removed`.

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

impl Rebuild {
    fn with(&self, s: &State, p: usize, writer: Writer) -> State {
        let mut to = *s;
        to.writers[p] = writer;
        if self.broken == Broken::Nothing {
            to.writers.sort();
        }
        to
    }

    /// The tree that a process uses: it reads the newest owner when it starts.
    fn tree(&self, s: &State) -> u8 {
        if self.broken == Broken::NoOwnerInThePath { 0 } else { s.owner() }
    }

    fn record(&self, s: &State) -> Option<Record> {
        s.trees[self.tree(s) as usize]
    }

    fn up(&self, s: &State, p: usize, tree: u8, steps: &mut Steps<State>) {
        let Some(record) = s.trees[tree as usize] else {
            steps.go(self.with(s, p, Writer::Down), || format!("writer {p} stops: no checkpoint"));
            return;
        };
        for until in record.next + 1..=OFFSETS {
            let mut planned = *s;
            planned.trees[tree as usize] = Some(record.plan(until));
            steps.go(planned, || format!("writer {p} plans [{}, {until})", record.next));
            if s.late_create.is_none() {
                let late = State { late_create: Some(record.plan(until)), ..*s };
                steps.fault(self.with(&late, p, Writer::Down), || {
                    format!("writer {p} is killed, its plan [{}, {until}) is under way", record.next)
                });
            }
        }
        for (from, until) in record.plans() {
            if s.file(from, until).is_some() {
                let commit = Writer::Commit { tree, from, until };
                steps.go(self.with(s, p, commit), || format!("writer {p} finds the file [{from}, {until})"));
                continue;
            }
            let gaps = mask(from, until) & mask(0, s.log_start);
            let rows = mask(from, until) & !gaps;
            let put = Writer::Put { tree, from, until, rows, gaps };
            steps.go(self.with(s, p, put), || format!("writer {p} reads [{from}, {until}): gap {gaps:#b}"));
        }
    }

    fn write(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let Writer::Put { tree, from, until, rows, gaps } = s.writers[p] else { return };
        let (name, content) = (key(from, until), STANDS | gaps << 3 | rows);
        let mut put = *s;
        if s.files[name] == 0 {
            put.files[name] = content;
        }
        let commit = Writer::Commit { tree, from, until };
        steps.go(self.with(&put, p, commit), || format!("writer {p} puts [{from}, {until})"));
        if s.files[name] == 0 && s.late_put.is_none() {
            let late = State { late_put: Some((name as u8, content)), ..*s };
            steps
                .fault(self.with(&late, p, Writer::Down), || format!("writer {p} is killed putting [{from}, {until})"));
        }
    }

    fn commit(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let Writer::Commit { tree, from, until } = s.writers[p] else { return };
        let mut committed = *s;
        if let (Some(record), Some((_, gaps))) = (s.trees[tree as usize], s.file(from, until))
            && record.planned[from as usize] == until
        {
            committed.trees[tree as usize] = Some(record.commit(from, gaps));
        }
        steps.go(self.with(&committed, p, Writer::Up { tree }), || format!("writer {p} commits [{from}, {until})"));
    }

    fn writer(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        match s.writers[p] {
            Writer::Down => {
                let tree = self.tree(s);
                if s.trees[tree as usize].is_some() && self.usable(s) {
                    steps.go(self.with(s, p, Writer::Up { tree }), || {
                        format!("writer {p} starts under owner {}", s.owner() + 1)
                    });
                }
                return;
            }
            Writer::Up { tree } => self.up(s, p, tree, steps),
            Writer::Put { .. } => self.write(s, p, steps),
            Writer::Commit { .. } => self.commit(s, p, steps),
        }
        steps.fault(self.with(s, p, Writer::Down), || format!("writer {p} is killed"));
    }

    /// Whether a starter finds a checkpoint that it may act on. A tree that was lost can show one version again,
    /// of a late create, without the one before it: that is not believed. A copy that was put back looks sound,
    /// so it is on the operator not to start anything before the rebuild.
    fn usable(&self, s: &State) -> bool {
        let rebuilt = matches!(s.phase, Phase::Done { .. });
        !s.lost || rebuilt || (self.loss == Loss::Gone && self.broken == Broken::TreeOfALateCreateBelieved)
    }

    fn lose(&self, s: &State, steps: &mut Steps<State>) {
        let (false, Some(record)) = (s.lost || s.phase != Phase::NotBegun, s.trees[0]) else { return };
        let open_when_lost = record.plans().next().is_some();
        let lost = State { lost: true, open_when_lost, copy: None, ..*s };
        match self.loss {
            Loss::Gone if s.down() => {
                steps.fault(State { trees: [None; 2], ..lost }, || "the checkpoint store is gone".into());
            }
            Loss::Restored if s.down() && s.copy.is_some() => {
                steps.fault(State { trees: [s.copy, None], ..lost }, || format!("restored from a copy: {:?}", s.copy));
            }
            Loss::Restored if s.copy.is_none() => {
                steps.fault(State { copy: s.trees[0], ..*s }, || "somebody copies the checkpoint store".into());
            }
            _ => {}
        }
    }

    /// From names and metadata alone: `None` where `--holes removed` may not be chosen.
    fn from_names(&self, s: &State, removed: bool) -> Option<Record> {
        if removed && s.open_when_lost && self.broken != Broken::HolesRemovedWithAnOpenPlan {
            return None;
        }
        let mut record = Record { version: 1, next: 0, planned: [0; OFFSETS as usize], gaps: 0 };
        let mut covered = 0;
        for (from, until) in ranges() {
            if let Some((_, gaps)) = s.file(from, until) {
                covered |= mask(from, until);
                record.gaps |= gaps;
                record.next = until;
            }
        }
        let first = covered.trailing_zeros() as u8;
        let believed = |o: u8| self.broken == Broken::HolesBeforeTheFirstNameIgnored && o < first;
        let mut from = 0;
        while from < record.next && !removed {
            let hole = |o: u8| o < record.next && covered >> o & 1 == 0 && !believed(o);
            let until = (from..=record.next).find(|o| !hole(*o)).unwrap_or(record.next);
            if until > from {
                record.planned[from as usize] = until;
            }
            from = until.max(from + 1);
        }
        Some(record)
    }

    fn scan(&self, s: &State) -> Vec<(Record, bool)> {
        let readable = self.loss == Loss::TakenOver && self.broken != Broken::NamesAloneInATakeOver
            || self.broken == Broken::TreeOfALateCreateBelieved;
        if let (true, Some(former)) = (readable, s.trees[0]) {
            return vec![(Record { version: 1, ..former }, false)];
        }
        let waits = !matches!(self.broken, Broken::RebuildWhilePutsAreUnderWay | Broken::NamesAloneInATakeOver);
        if waits && s.late_put.is_some() {
            return Vec::new();
        }
        let both = [false, self.removed].into_iter().take(1 + usize::from(self.removed));
        both.filter_map(|removed| Some((self.from_names(s, removed)?, !removed))).collect()
    }

    fn rebuild(&self, s: &State, steps: &mut Steps<State>) {
        let due = s.lost || self.loss == Loss::TakenOver;
        match s.phase {
            Phase::NotBegun if due && s.down() => {
                if self.broken == Broken::RebuildBeforeTheOwnersObject {
                    for (record, land) in self.scan(s) {
                        let scanned = State { phase: Phase::ScannedEarly(record, land), ..*s };
                        steps.go(scanned, || format!("the rebuild scans: {record:?}"));
                    }
                } else {
                    steps.go(State { phase: Phase::Owner, ..*s }, || "the rebuild puts the owner's object".into());
                }
            }
            Phase::ScannedEarly(record, land) => {
                let owned = State { phase: Phase::Scanned(record, land), ..*s };
                steps.go(owned, || "the rebuild puts the owner's object".into());
            }
            Phase::Owner => {
                for (record, land) in self.scan(s) {
                    let scanned = State { phase: Phase::Scanned(record, land), ..*s };
                    steps.go(scanned, || format!("the rebuild scans (land: {land}): {record:?}"));
                }
            }
            Phase::Scanned(record, land) => {
                let mut done = State { phase: Phase::Done { land }, ..*s };
                done.trees[self.tree(s) as usize] = Some(record);
                steps.go(done, || "the rebuild writes the first version".into());
                let again = State { phase: Phase::Owner, ..*s };
                steps.fault(again, || "the rebuild is killed and run again".into());
            }
            _ => {}
        }
    }

    /// A user moves a file away: committed, not the last one, and nobody is about to put it.
    fn users(&self, s: &State, steps: &mut Steps<State>) {
        let (true, false, Some(record)) = (self.removed, s.lost, self.record(s)) else { return };
        let last = ranges().filter(|(from, until)| s.file(*from, *until).is_some()).map(|(_, until)| until).max();
        for (from, until) in ranges().filter(|(from, until)| s.file(*from, *until).is_some()) {
            let name = key(from, until) as u8;
            let busy = s.writers.iter().any(|writer| match writer {
                Writer::Put { from: f, until: u, .. } | Writer::Commit { from: f, until: u, .. } => {
                    (*f, *u) == (from, until)
                }
                _ => false,
            });
            let open = record.planned[from as usize] == until && self.broken != Broken::MoveBelowNext;
            let late = s.late_put.is_some_and(|late| late.0 == name);
            if until <= record.next && Some(until) != last && !busy && !open && !late {
                let mut moved = State { moved: s.moved | mask(from, until), ..*s };
                moved.files[name as usize] = 0;
                steps.fault(moved, || format!("a user moves [{from}, {until}) away"));
            }
        }
    }

    fn late(&self, s: &State, steps: &mut Steps<State>) {
        if let Some((name, content)) = s.late_put {
            let mut landed = State { late_put: None, ..*s };
            if s.files[name as usize] == 0 {
                landed.files[name as usize] = content;
            }
            steps.go(landed, || format!("a late put lands: rows {:#b}", content & 7));
        }
        if let Some(record) = s.late_create {
            // Older versions are pruned, so a lower number is free, and dead.
            let mut landed = State { late_create: None, ..*s };
            if s.trees[0].is_none_or(|newest| newest.version < record.version) {
                landed.trees[0] = Some(record);
            }
            steps.go(landed, || format!("a late create lands below owner 1: {record:?}"));
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
