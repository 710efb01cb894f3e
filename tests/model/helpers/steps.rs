//! What a process does beside other planners, and what may go wrong there.

use super::*;

impl Helpers {
    /// One of the states that mean the same: versions that nobody can come across any more are forgotten, and equal
    /// processes are interchangeable (but a trace reads better with names).
    pub(super) fn canonical(&self, mut s: State) -> State {
        let lowest = s.processes[..self.processes].iter().map(|process| process.version).min().unwrap_or(s.newest);
        s.lower &= !((2u32 << lowest) - 1);
        if self.broken != Broken::Nothing {
            return s;
        }
        s.newest -= lowest - 1;
        s.lower >>= lowest - 1;
        for process in &mut s.processes[..self.processes] {
            process.version -= lowest - 1;
        }
        for p in 1..self.processes {
            let mut place = p;
            while place > 0 && s.processes[place - 1] > s.processes[place] {
                s.exchange(place as u8 - 1, place as u8);
                place -= 1;
            }
        }
        s
    }

    fn with(&self, s: &State, p: usize, process: Process) -> State {
        let mut to = *s;
        to.processes[p] = process;
        self.canonical(to)
    }

    pub(super) fn announced(&self, record: &Record) -> u8 {
        if self.broken != Broken::AnnouncePastAnOpenPlan {
            return record.committed();
        }
        let is_open = |offset: u8| record.opens().any(|(from, plan)| from <= offset && offset < until(plan));
        (0..record.next).rev().find(|offset| !is_open(*offset)).map_or(0, |last| last + 1)
    }

    pub(super) fn process(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let it = s.processes[p];
        if it.listing {
            let won = it.version == s.newest;
            let to = if won { it.knows(s.newest, it.record) } else { self.overtaken(s, it) };
            let word = if won { "won" } else { "lost" };
            steps.go(self.with(s, p, to), || format!("process {p} lists: {word}"));
        } else {
            if it.version != s.newest {
                steps.go(self.with(s, p, it.knows(s.newest, s.record)), || format!("process {p} loads {:?}", s.record));
            }
            self.plan(s, p, it, steps);
            self.commit(s, p, it, steps);
            self.take_up(s, p, it, steps);
        }
        self.put(s, p, it, steps);
        // Whoever starts loads first; to be frozen before that is to be killed later.
        let mut killed = *s;
        killed.rename(p as u8, GONE);
        steps.fault(self.with(&killed, p, STARTED.knows(s.newest, killed.record)), || {
            format!("process {p} is killed, and another starts in its place")
        });
        steps.fault(self.with(s, p, STARTED.knows(s.newest, s.record)), || {
            format!("process {p} begins anew under its name")
        });
    }

    /// Begins what is planned and not under way: its own, and as the owner that of another.
    fn take_up(&self, s: &State, p: usize, it: Process, steps: &mut Steps<State>) {
        for (from, plan) in it.record.opens().filter(|(from, _)| it.work[*from as usize] == 0) {
            let is_own = maker(plan) == p as u8;
            if !is_own && (s.owner != p as u8 || self.broken == Broken::LeftToItsMakerForGood) {
                continue;
            }
            let any = !is_own && self.broken == Broken::TakenOverWithOtherBounds;
            let ends = if any { from + 1..=it.record.next } else { until(plan)..=until(plan) };
            for until in ends {
                let mut to = it;
                to.work[from as usize] = until * 2;
                let word = if is_own { "its own" } else { "of another" };
                steps.go(self.with(s, p, to), || format!("process {p} takes up [{from}, {until}), {word}"));
            }
        }
    }

    /// Whatever the process has learned meanwhile: a landing under way goes on.
    fn put(&self, s: &State, p: usize, it: Process, steps: &mut Steps<State>) {
        for from in 0..self.offsets {
            let work = it.work[from as usize];
            let until = work / 2;
            if work == 0 || has_landed(work) {
                continue;
            }
            let stands = s.files & bit(from, until) != 0;
            let mut to = it;
            to.work[from as usize] += 1;
            let put = State { files: s.files | bit(from, until), ..*s };
            let word = if stands { "finds" } else { "puts" };
            steps.go(self.with(&put, p, to), || format!("process {p} {word} [{from}, {until})"));
        }
    }

    /// The record that it acts on, without what has landed here.
    fn without_what_landed(&self, p: usize, it: &Process) -> Record {
        let mut record = it.record;
        for (from, plan) in it.record.opens() {
            let work = it.work[from as usize];
            if has_landed(work) {
                record.planned[from as usize] = 0;
                if self.broken == Broken::CommitCountsForAllBefore {
                    record.planned[..from as usize].fill(0);
                }
            } else if self.broken == Broken::PlansOfOthersDropped && maker(plan) != p as u8 {
                record.planned[from as usize] = 0;
            }
        }
        record
    }

    fn plan(&self, s: &State, p: usize, it: Process, steps: &mut Steps<State>) {
        let record = self.without_what_landed(p, &it);
        let from = match self.broken {
            Broken::PlanWhereItLooked if it.piece != 0 => it.piece / 8,
            Broken::PlanBehindItsOwn => {
                let own = it.record.opens().filter(|(_, plan)| maker(*plan) == p as u8);
                own.map(|(_, plan)| until(plan)).max().unwrap_or(it.record.committed())
            }
            _ => record.next,
        };
        for until in from + 1..=self.offsets {
            if it.piece != 0 && it.piece != from * 8 + until {
                continue;
            }
            let mut planned = record;
            planned.planned[from as usize] = plan(until, p as u8);
            planned.next = until;
            let acts = self.broken != Broken::HelpWithoutList || s.owner == p as u8;
            let mut tried = *s;
            if self.broken == Broken::PlanWhereItLooked {
                tried.processes[p].piece = from * 8 + until;
            }
            self.swap(&tried, p, planned, acts, &format!("plan [{from}, {until})"), steps);
        }
        if self.broken == Broken::PlansOfOthersTakenBack {
            let last = record.opens().find(|(from, plan)| {
                let is_under_way = it.work[*from as usize] != 0 || s.files & bit(*from, until(*plan)) != 0;
                until(*plan) == record.next && maker(*plan) != p as u8 && !is_under_way
            });
            if let Some((from, _)) = last {
                let mut back = Record { next: from, ..record };
                back.planned[from as usize] = 0;
                self.swap(s, p, back, true, &format!("take back what begins at {from}"), steps);
            }
        }
    }

    fn commit(&self, s: &State, p: usize, it: Process, steps: &mut Steps<State>) {
        let committed = self.without_what_landed(p, &it);
        if committed != it.record {
            self.swap(s, p, committed, false, "commit what landed", steps);
        }
    }

    /// Creates the version above the one that it acts on, if there is none. `acts`: a list must follow.
    fn swap(&self, s: &State, p: usize, new: Record, acts: bool, what: &str, steps: &mut Steps<State>) {
        let it = s.processes[p];
        let version = it.version + 1;
        if version == s.newest || (version < s.newest && s.lower & 1 << version != 0) {
            let to = if acts { self.overtaken(s, it) } else { self.commit_overtaken(s, it) };
            steps.go(self.with(s, p, to), || format!("process {p} loses the swap: {what}"));
            return;
        }
        let mut created = *s;
        if version > s.newest {
            created = State { lower: s.lower | 1 << s.newest, newest: version, record: new, ..*s };
        } else {
            created.lower |= 1 << version;
        }
        let listing = Process { version, record: new, listing: true, ..it };
        let to = if acts { listing } else { it.knows(version, new) };
        steps.go(self.with(&created, p, to), || format!("process {p} creates {version}: {what}: {new:?}"));
        if !acts {
            steps.fault(self.with(&created, p, listing), || {
                format!("process {p} creates {version}, the answer is lost: {what}")
            });
        }
    }

    /// What stands is acted on, and what was to be planned is given up: it may be chosen again.
    fn overtaken(&self, s: &State, it: Process) -> Process {
        Process { piece: it.piece, ..it.knows(s.newest, s.record) }
    }

    fn commit_overtaken(&self, s: &State, it: Process) -> Process {
        if self.broken == Broken::CommitFromTheOldRecord {
            return Process { version: s.newest, ..it };
        }
        it.knows(s.newest, s.record)
    }
}

impl Process {
    /// Acts on this record from now on. What landed here and is not planned there is committed; a batch that has not
    /// landed yet goes on.
    fn knows(mut self, version: u8, record: Record) -> Process {
        for (from, work) in self.work.iter_mut().enumerate() {
            let is_open = record.planned[from] != 0;
            if has_landed(*work) && !is_open {
                *work = 0;
            }
        }
        Process { version, record, listing: false, piece: 0, work: self.work }
    }
}

impl State {
    /// `old` in place of `new` as the maker of plans, in every record that somebody may still act on.
    fn rename(&mut self, old: u8, new: u8) {
        self.record = self.record.made_by(old, new);
        for process in &mut self.processes {
            process.record = process.record.made_by(old, new);
        }
    }

    fn exchange(&mut self, a: u8, b: u8) {
        let swap = |record: &mut Record| {
            for plan in record.planned.iter_mut().filter(|plan| **plan != 0) {
                match maker(*plan) {
                    m if m == a => *plan = *plan - a + b,
                    m if m == b => *plan = *plan - b + a,
                    _ => {}
                }
            }
        };
        swap(&mut self.record);
        for process in &mut self.processes {
            swap(&mut process.record);
        }
        self.processes.swap(a as usize, b as usize);
        self.owner = match self.owner {
            owner if owner == a => b,
            owner if owner == b => a,
            owner => owner,
        };
    }
}
