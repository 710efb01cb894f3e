//! What a writer does at each of its steps, and what may go wrong there.

use super::*;

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

    pub(super) fn land(&self, s: &mut State, key: usize, content: u16) -> bool {
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

    /// A swap to `swapped`: won, lost, or answered unclearly. The writer goes on as `won`, or, where it must look
    /// again, as `unsure`.
    fn swap(
        &self,
        s: &State,
        p: usize,
        swapped: State,
        (won, unsure): (Writer, Writer),
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
        self.swap(s, p, swapped, (won, unsure), &format!("plan [{}, {})", w.from, w.until), steps);
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
        self.swap(s, p, swapped, (won, unsure), &what, steps);
        if self.joined {
            for until in s.next + 1..=self.offsets {
                let layout = self.layout_of(p);
                let mut both = swapped;
                both.planned[s.next as usize] = until * 2 + layout;
                both.next = until;
                let won = Writer { pc: Pc::Read, from: s.next, until, layout, ..IDLE };
                self.swap(s, p, both, (won, unsure), &format!("{what} and plan [{}, {until})", s.next), steps);
            }
        }
    }

    pub(super) fn writer(&self, s: &State, p: usize, steps: &mut Steps<State>) {
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
