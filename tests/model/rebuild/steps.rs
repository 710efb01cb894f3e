//! What writers, users, late requests and the rebuild itself do.

use super::*;

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

    pub(super) fn record(&self, s: &State) -> Option<Record> {
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

    pub(super) fn writer(&self, s: &State, p: usize, steps: &mut Steps<State>) {
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
    pub(super) fn usable(&self, s: &State) -> bool {
        let rebuilt = matches!(s.phase, Phase::Done { .. });
        !s.lost || rebuilt || (self.loss == Loss::Gone && self.broken == Broken::TreeOfALateCreateBelieved)
    }

    pub(super) fn lose(&self, s: &State, steps: &mut Steps<State>) {
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
    fn of_names(&self, s: &State, removed: bool) -> Option<Record> {
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
        both.filter_map(|removed| Some((self.of_names(s, removed)?, !removed))).collect()
    }

    pub(super) fn rebuild(&self, s: &State, steps: &mut Steps<State>) {
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
    pub(super) fn users(&self, s: &State, steps: &mut Steps<State>) {
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

    pub(super) fn late(&self, s: &State, steps: &mut Steps<State>) {
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
