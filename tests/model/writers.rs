//! Two writers over one stream and a linearizable checkpoint store (sled, memory) that may answer unclearly:
//! plan, read (also ahead of the plan), create-only write, commit, announce; with crashes, late puts,
//! retention, both gap policies and two layouts.

mod steps;

use crate::search::{Model, Steps};

/// Most offsets that a state has room for.
const MAX: usize = 4;
const KEYS: usize = MAX * (MAX + 1);
const STANDS: u16 = 1 << 15;
const FREE: u8 = 0xff;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    Nothing,
    OverwriteData,
    StartAtTheGroupOffset,
    PutBeforePlan,
    LayoutNotFrozen,
    GapOfTheAttempt,
    ExistsBelieved,
    OwnRangeWithOwnLayout,
    ReadAheadForOtherBounds,
    NoRowsNoFile,
    StopForAGapThoughAFileStands,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnGap {
    Fail,
    Record,
}

pub struct Writers {
    pub offsets: u8,
    /// Offsets without a deliverable record: markers, aborted, compacted away.
    pub empty: u8,
    pub on_gap: OnGap,
    pub retention: bool,
    pub two_layouts: bool,
    pub read_ahead: bool,
    /// Committing one batch and planning the next in one swap.
    pub joined: bool,
    pub announce: bool,
    /// How many puts may be under way without a writer waiting for them.
    pub late: usize,
    pub broken: Broken,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Pc {
    /// Ended or just started: nothing is remembered.
    Idle,
    /// Rows of [from, until) are encoded, before any plan.
    Ahead,
    /// About to swap the plan in.
    Plan,
    /// Looks for the name.
    Look,
    Read,
    /// Read, and found a gap: looks for the name before it is declared.
    LookForGap,
    Put,
    ReadBack,
    /// Loads the checkpoint to commit.
    Load,
    Commit,
    Announce,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Writer {
    pc: Pc,
    from: u8,
    until: u8,
    layout: u8,
    /// Of the attempt; `ahead` says that they were read before the plan.
    rows: u8,
    gaps: u8,
    ahead: bool,
    version: u8,
}

const IDLE: Writer = Writer { pc: Pc::Idle, from: 0, until: 0, layout: 0, rows: 0, gaps: 0, ahead: false, version: 0 };

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    log_start: u8,
    version: u8,
    next: u8,
    /// At `from`: 0, or until * 2 + layout.
    planned: [u8; MAX],
    gaps: u8,
    /// By name: `STANDS`, gaps in bits 4-7, rows in bits 0-3.
    files: [u16; KEYS],
    /// Puts under way that nobody waits for: name and content.
    late: [(u8, u16); 2],
    group: u8,
    /// A file that stood was changed.
    changed: bool,
    writers: [Writer; 2],
}

fn mask(from: u8, until: u8) -> u8 {
    ((1u16 << until) - (1u16 << from.min(until))) as u8
}

fn key(from: u8, until: u8, layout: u8) -> usize {
    let (from, until) = (from as usize, until as usize);
    (until * (until - 1) / 2 + from) * 2 + layout as usize
}

fn ranges(offsets: u8) -> impl Iterator<Item = (u8, u8, u8)> {
    (1..=offsets).flat_map(|until| (0..until).flat_map(move |from| (0..2).map(move |layout| (from, until, layout))))
}

fn file(rows: u8, gaps: u8) -> u16 {
    STANDS | u16::from(gaps) << 4 | u16::from(rows)
}

fn rows_of(file: u16) -> u8 {
    (file & 0xf) as u8
}

fn gaps_of(file: u16) -> u8 {
    (file >> 4 & 0xf) as u8
}

impl State {
    fn add_late(&mut self, key: usize, content: u16, most: usize) -> bool {
        match self.late[..most].iter_mut().find(|slot| slot.0 == FREE) {
            Some(slot) => *slot = (key as u8, content),
            None => return false,
        }
        self.late.sort();
        true
    }
}

impl Model for Writers {
    type State = State;

    fn initial(&self) -> Vec<State> {
        vec![State {
            log_start: 0,
            version: 1,
            next: 0,
            planned: [0; MAX],
            gaps: 0,
            files: [0; KEYS],
            late: [(FREE, 0); 2],
            group: 0,
            changed: false,
            writers: [IDLE; 2],
        }]
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        for p in 0..2 {
            self.writer(s, p, steps);
        }
        for slot in 0..2 {
            let (name, content) = s.late[slot];
            if name != FREE {
                let mut lost = *s;
                lost.late[slot] = (FREE, 0);
                lost.late.sort();
                let mut landed = lost;
                self.land(&mut landed, name as usize, content);
                steps.go(landed, || format!("a late put lands: rows {:#b}", rows_of(content)));
                steps.fault(lost, || "a late put is lost".into());
            }
        }
        if self.retention && s.log_start < self.offsets {
            let moved = State { log_start: s.log_start + 1, ..*s };
            steps.fault(moved, || format!("retention: the log starts at {}", moved.log_start));
        }
    }

    fn check(&self, s: &State) -> Result<(), String> {
        // Where one of these is what was broken on purpose, its consequence is waited for instead.
        let obey = |rule: Broken| self.broken != rule;
        if s.changed && obey(Broken::OverwriteData) {
            return Err("I3: a file that stood was changed".into());
        }
        let mut planned = 0;
        for from in 0..self.offsets {
            let until = s.planned[from as usize] / 2;
            let range = if until == 0 { 0 } else { mask(from, until) };
            if planned & range != 0 {
                return Err("I2: two plans overlap".into());
            }
            planned |= range;
        }
        let (mut named, mut rows) = (0, 0);
        for (from, until, layout) in ranges(self.offsets) {
            let file = s.files[key(from, until, layout)];
            if file == 0 {
                continue;
            }
            let range = mask(from, until);
            if named & range != 0 {
                return Err(format!("overlap: [{from}, {until}) and another file"));
            }
            if rows_of(file) & !range != 0 {
                return Err("I4: a row outside its file's range".into());
            }
            if until > s.next && obey(Broken::PutBeforePlan) {
                return Err(format!("I6: the file [{from}, {until}) stands without a plan"));
            }
            named |= range;
            rows |= rows_of(file);
        }
        let committed = mask(0, s.next) & !planned;
        if committed & !named != 0 && obey(Broken::NoRowsNoFile) {
            return Err("I5: a committed batch has no name".into());
        }
        if committed & !self.empty & !(rows | s.gaps) != 0 {
            return Err("I5: a committed record is neither a row nor a gap: lost".into());
        }
        if rows & s.gaps != 0 {
            return Err("I5: an offset is a row and a recorded gap".into());
        }
        Ok(())
    }

    fn settled(&self, s: &State) -> bool {
        let open = (0..self.offsets).filter(|from| s.planned[*from as usize] != 0);
        let lost = |from: u8| {
            let plan = s.planned[from as usize];
            s.log_start > from && s.files[key(from, plan / 2, plan % 2)] == 0
        };
        let stopped = self.on_gap == OnGap::Fail && open.clone().any(lost);
        stopped || (s.next == self.offsets && open.count() == 0)
    }
}
