//! Two writers over one stream and a linearizable checkpoint store (sled, memory) that may answer unclearly:
//! plan, read (also ahead of the plan), create-only write, commit, announce; with crashes, late puts,
//! retention, both gap policies and two layouts.

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

impl Writers {
    fn layout_of(&self, p: usize) -> u8 {
        if self.two_layouts { p as u8 } else { 0 }
    }

    /// The layout that names the file: the plan's.
    fn named(&self, p: usize, writer: &Writer) -> usize {
        let layout = if self.broken == Broken::LayoutNotFrozen { self.layout_of(p) } else { writer.layout };
        key(writer.from, writer.until, layout)
    }

    fn deliverable(&self, log_start: u8, from: u8, until: u8) -> u8 {
        mask(from, until) & !self.empty & !mask(0, log_start)
    }

    fn land(&self, s: &mut State, key: usize, content: u16) -> bool {
        if s.files[key] == 0 {
            s.files[key] = content;
            return true;
        }
        if self.broken == Broken::OverwriteData {
            s.changed |= s.files[key] != content;
            s.files[key] = content;
            return true;
        }
        false
    }

    /// Equal writers are interchangeable: one order of them is enough (but a trace reads better with names).
    fn with(&self, s: &State, p: usize, writer: Writer) -> State {
        let mut to = *s;
        to.writers[p] = writer;
        if !self.two_layouts && self.broken == Broken::Nothing {
            to.writers.sort();
        }
        to
    }

    fn idle(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let from = if self.broken == Broken::StartAtTheGroupOffset { s.group } else { s.next };
        for until in from + 1..=self.offsets {
            let writer = Writer { from, until, layout: self.layout_of(p), ..IDLE };
            let plan = Writer { pc: Pc::Plan, version: s.version, ..writer };
            steps.go(self.with(s, p, plan), || format!("writer {p} will plan [{from}, {until})"));
            if self.read_ahead && s.log_start <= from {
                let rows = self.deliverable(s.log_start, from, until);
                let ahead = Writer { pc: Pc::Ahead, rows, ahead: true, ..writer };
                steps.go(self.with(s, p, ahead), || format!("writer {p} reads [{from}, {until}) ahead"));
            }
        }
        for from in 0..self.offsets {
            let found = s.planned[from as usize];
            if found != 0 {
                let (until, layout) = (found / 2, found % 2);
                let look = Writer { pc: Pc::Look, from, until, layout, ..IDLE };
                steps.go(self.with(s, p, look), || {
                    format!("writer {p} finds the plan [{from}, {until}) of layout {layout}")
                });
            }
        }
    }

    /// Rows are encoded: load, and see whether they can still be used.
    fn ahead(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let found = s.planned[w.from as usize];
        if s.next == w.from {
            let mut to = *s;
            if self.broken == Broken::PutBeforePlan {
                self.land(&mut to, self.named(p, &w), file(w.rows, 0));
            }
            let plan = Writer { pc: Pc::Plan, version: s.version, ..w };
            steps.go(self.with(&to, p, plan), || format!("writer {p} will plan its rows [{}, {})", w.from, w.until));
        } else if found == w.until * 2 + w.layout
            || (self.broken == Broken::OwnRangeWithOwnLayout && found / 2 == w.until)
        {
            steps.go(self.with(s, p, Writer { pc: Pc::Look, ..w }), || {
                format!("writer {p} finds its range [{}, {}) planned", w.from, w.until)
            });
        } else if self.broken == Broken::ReadAheadForOtherBounds && found % 2 == w.layout && found != 0 {
            let other = Writer { pc: Pc::Look, until: found / 2, ..w };
            steps.go(self.with(s, p, other), || format!("writer {p} uses its rows for [{}, {})", w.from, found / 2));
        } else {
            steps.go(self.with(s, p, IDLE), || format!("writer {p} throws its rows away"));
        }
    }

    /// A swap: won, lost, or answered unclearly; then `unsure` says where the writer looks again.
    fn swap(
        &self,
        s: &State,
        p: usize,
        swapped: State,
        won: Writer,
        unsure: Writer,
        what: &str,
        steps: &mut Steps<State>,
    ) {
        if s.version != s.writers[p].version {
            steps.go(self.with(s, p, unsure), || format!("writer {p} lost the swap: {what}"));
            return;
        }
        let swapped = State { version: s.version + 1, ..swapped };
        steps.go(self.with(&swapped, p, won), || format!("writer {p} swaps: {what}"));
        steps.fault(self.with(&swapped, p, unsure), || format!("writer {p} swaps, the answer is lost: {what}"));
        steps.fault(self.with(s, p, unsure), || format!("writer {p} does not swap, the answer is unclear: {what}"));
    }

    fn plan(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let mut swapped = *s;
        swapped.planned[w.from as usize] = w.until * 2 + w.layout;
        swapped.next = s.next.max(w.until);
        let won = Writer { pc: if w.ahead { Pc::Put } else { Pc::Read }, version: 0, ..w };
        let unsure = if w.ahead { Writer { pc: Pc::Ahead, version: 0, ..w } } else { IDLE };
        self.swap(s, p, swapped, won, unsure, &format!("plan [{}, {})", w.from, w.until), steps);
    }

    fn look(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let stands = s.files[self.named(p, &w)];
        let gap_first = self.broken == Broken::StopForAGapThoughAFileStands;
        if gap_first && s.log_start > w.from && self.on_gap == OnGap::Fail {
            steps.go(self.with(s, p, IDLE), || format!("writer {p} stops for a gap in [{}, {})", w.from, w.until));
        } else if stands != 0 {
            let load = Writer { pc: Pc::Load, rows: 0, gaps: gaps_of(stands), ahead: false, ..w };
            steps.go(self.with(s, p, load), || format!("writer {p} finds the file [{}, {})", w.from, w.until));
        } else if w.pc == Pc::Look {
            let pc = if w.ahead { Pc::Put } else { Pc::Read };
            steps.go(self.with(s, p, Writer { pc, ..w }), || {
                format!("writer {p} finds no file [{}, {})", w.from, w.until)
            });
        } else if self.on_gap == OnGap::Record {
            steps.go(self.with(s, p, Writer { pc: Pc::Put, ..w }), || {
                format!("writer {p} will record the gap {:#b}", w.gaps)
            });
        } else {
            steps.go(self.with(s, p, IDLE), || format!("writer {p} stops for a gap in [{}, {})", w.from, w.until));
        }
    }

    fn read(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let rows = self.deliverable(s.log_start, w.from, w.until);
        let gaps = mask(w.from, w.until) & mask(0, s.log_start);
        let pc = match self.broken {
            _ if gaps == 0 => Pc::Put,
            Broken::StopForAGapThoughAFileStands if self.on_gap == OnGap::Fail => Pc::Idle,
            _ => Pc::LookForGap,
        };
        let read = if pc == Pc::Idle { IDLE } else { Writer { pc, rows, gaps, ..w } };
        steps.go(self.with(s, p, read), || {
            format!("writer {p} reads [{}, {}): rows {rows:#b}, gap {gaps:#b}", w.from, w.until)
        });
    }

    fn put(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let (name, content) = (self.named(p, &w), file(w.rows, w.gaps));
        let load = Writer { pc: Pc::Load, rows: 0, ahead: false, ..w };
        let unclear = Writer { pc: Pc::ReadBack, ..w };
        let what = format!("[{}, {}) rows {:#b} gap {:#b}", w.from, w.until, w.rows, w.gaps);
        if self.broken == Broken::NoRowsNoFile && w.rows == 0 {
            steps.go(self.with(s, p, load), || format!("writer {p} puts no file for {what}"));
            return;
        }
        let mut landed = *s;
        if self.land(&mut landed, name, content) {
            steps.go(self.with(&landed, p, load), || format!("writer {p} puts {what}"));
            steps.fault(self.with(&landed, p, unclear), || format!("writer {p} puts {what}, the answer is lost"));
            steps.fault(self.with(s, p, unclear), || format!("writer {p} fails to put {what}, unclearly"));
            let mut late = *s;
            if late.add_late(name, content, self.late) {
                steps.fault(self.with(&late, p, unclear), || format!("writer {p} puts {what}, late, unclearly"));
                steps.fault(self.with(&late, p, IDLE), || format!("writer {p} is killed while it puts {what}"));
            }
        }
        // A store may say "exists" while another request of the same name is only under way (S3's 409).
        if s.files[name] != 0 || s.late.iter().any(|late| late.0 == name as u8) {
            let believed = self.broken == Broken::ExistsBelieved;
            let to = if believed { load } else { unclear };
            steps.go(self.with(s, p, to), || format!("writer {p} puts {what}: \"exists\""));
        }
    }

    fn read_back(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let stands = s.files[self.named(p, &w)];
        if stands == 0 {
            steps.go(self.with(s, p, Writer { pc: Pc::Put, ..w }), || format!("writer {p} reads back: absent"));
            return;
        }
        let gaps = if self.broken == Broken::GapOfTheAttempt { w.gaps } else { gaps_of(stands) };
        let load = Writer { pc: Pc::Load, rows: 0, gaps, ahead: false, ..w };
        steps.go(self.with(s, p, load), || format!("writer {p} reads back: stands, gap {:#b}", gaps_of(stands)));
    }

    fn load(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let layout =
            if self.broken == Broken::OwnRangeWithOwnLayout { s.planned[w.from as usize] % 2 } else { w.layout };
        if s.planned[w.from as usize] == w.until * 2 + layout {
            let commit = Writer { pc: Pc::Commit, layout, version: s.version, ..w };
            steps.go(self.with(s, p, commit), || format!("writer {p} will commit [{}, {})", w.from, w.until));
        } else {
            steps.go(self.with(s, p, IDLE), || format!("writer {p} sees [{}, {}) committed", w.from, w.until));
        }
    }

    fn commit(&self, s: &State, p: usize, w: Writer, steps: &mut Steps<State>) {
        let mut swapped = *s;
        swapped.planned[w.from as usize] = 0;
        swapped.gaps |= w.gaps;
        let unsure = Writer { pc: Pc::Load, version: 0, ..w };
        let what = format!("commit [{}, {}) gap {:#b}", w.from, w.until, w.gaps);
        let committed = (0..swapped.next).find(|o| swapped.planned[*o as usize] != 0).unwrap_or(swapped.next);
        let won = if self.announce { Writer { pc: Pc::Announce, from: committed, ..IDLE } } else { IDLE };
        self.swap(s, p, swapped, won, unsure, &what, steps);
        if self.joined {
            for until in s.next + 1..=self.offsets {
                let layout = self.layout_of(p);
                let mut both = swapped;
                both.planned[s.next as usize] = until * 2 + layout;
                both.next = until;
                let won = Writer { pc: Pc::Read, from: s.next, until, layout, ..IDLE };
                self.swap(s, p, both, won, unsure, &format!("{what} and plan [{}, {until})", s.next), steps);
            }
        }
    }

    fn writer(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let w = s.writers[p];
        match w.pc {
            Pc::Idle => self.idle(s, p, steps),
            Pc::Ahead => self.ahead(s, p, w, steps),
            Pc::Plan => self.plan(s, p, w, steps),
            Pc::Look | Pc::LookForGap => self.look(s, p, w, steps),
            Pc::Read => self.read(s, p, w, steps),
            Pc::Put => self.put(s, p, w, steps),
            Pc::ReadBack => self.read_back(s, p, w, steps),
            Pc::Load => self.load(s, p, w, steps),
            Pc::Commit => self.commit(s, p, w, steps),
            Pc::Announce => {
                let announced = State { group: w.from, ..*s };
                steps.go(self.with(&announced, p, IDLE), || format!("writer {p} announces {}", w.from));
            }
        }
        if w.pc != Pc::Idle {
            steps.fault(self.with(s, p, IDLE), || format!("writer {p} is killed"));
        }
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
