//! What a writer does at each of its steps, and what may go wrong there.

use super::*;

impl LakeStore {
    pub(super) fn canonical(&self, mut s: State) -> State {
        if self.forgetful {
            s.forget_the_dead();
        }
        s.newest = s.newest.max(s.highest().unwrap_or(0));
        s.sorted(self.forgetful)
    }

    pub(super) fn with(&self, s: &State, p: usize, writer: Writer) -> State {
        let mut to = *s;
        let attempt = |writer: &Writer| {
            matches!(writer, Writer::Creating { .. } | Writer::ReadingBack { .. } | Writer::Listing { .. })
        };
        if attempt(&s.writers[p]) && !attempt(&writer) {
            to.forget(p);
        }
        to.writers[p] = writer;
        self.canonical(to)
    }

    pub(super) fn create(&self, s: &mut State, version: u8, content: Version) -> bool {
        let slot = &mut s.versions[version as usize];
        if slot.is_some() && self.broken != Broken::OverwriteAVersion {
            return false;
        }
        *slot = Some(content);
        true
    }

    pub(super) fn idle(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let Some(version) = s.highest() else { return };
        let shown = if self.broken == Broken::NextLowerOfAList { s.shown() } else { 0 };
        steps.go(self.with(s, p, Writer::Listed { version, same: true, shown }), || {
            format!("writer {p} lists: {version} is the highest")
        });
    }

    pub(super) fn read(&self, s: &State, p: usize, version: u8, same: bool, shown: u16, steps: &mut Steps<State>) {
        let found = s.versions[version as usize];
        let believed = same || self.broken == Broken::ListAndReadApart;
        let lower = shown & ((1 << version) - 1);
        match found {
            Some(found) if believed => {
                steps.go(self.with(s, p, Writer::Has { version, record: found.record }), || {
                    format!("writer {p} reads {version}: {:?}", found.record)
                });
            }
            None if lower != 0 => {
                let version = 15 - lower.leading_zeros() as u8;
                steps.go(self.with(s, p, Writer::Listed { version, same: true, shown: lower }), || {
                    format!("writer {p} takes the next lower, {version}")
                });
            }
            _ => steps.go(self.with(s, p, Writer::Idle), || format!("writer {p}: {version} is gone, lists again")),
        }
    }

    pub(super) fn act(&self, s: &State, p: usize, version: u8, record: Record, steps: &mut Steps<State>) {
        for until in record.next + 1..=self.offsets {
            let record = record.plan(until);
            steps.go(self.with(s, p, Writer::Creating { version: version + 1, record, plans: true }), || {
                format!("writer {p} will create {}: {record:?}", version + 1)
            });
        }
        for from in 0..self.offsets {
            let until = record.planned[from as usize];
            if until == 0 {
                continue;
            }
            if s.files & bit(from, until) == 0 {
                let put = State { files: s.files | bit(from, until), ..*s };
                steps.go(put, || format!("writer {p} puts [{from}, {until})"));
            } else {
                let record = record.commit(from);
                steps.go(self.with(s, p, Writer::Creating { version: version + 1, record, plans: false }), || {
                    format!("writer {p} will create {} (commit): {record:?}", version + 1)
                });
                self.act_jointly(s, p, version, record, steps);
            }
        }
        let news = if self.broken == Broken::ProbingUpwards { Writer::Probing { version } } else { Writer::Idle };
        steps.go(self.with(s, p, news), || format!("writer {p} looks for a newer version"));
        self.prune(s, p, version, steps);
    }

    /// A batch is committed, and the next planned, in one version.
    fn act_jointly(&self, s: &State, p: usize, version: u8, committed: Record, steps: &mut Steps<State>) {
        if !self.joint {
            return;
        }
        let plans = self.broken != Broken::JointSwapWithoutList;
        for until in committed.next + 1..=self.offsets {
            let record = committed.plan(until);
            steps.go(self.with(s, p, Writer::Creating { version: version + 1, record, plans }), || {
                format!("writer {p} will create {} (commit and plan): {record:?}", version + 1)
            });
        }
    }

    /// Keeps the newest version only. The others go in any order: a store that takes many names in one request promises
    /// none.
    fn prune(&self, s: &State, p: usize, version: u8, steps: &mut Steps<State>) {
        let keep = if self.broken == Broken::PruneTheNewest { version + 1 } else { version };
        for old in (0..keep).filter(|old| s.versions[*old as usize].is_some()) {
            let mut deleted = *s;
            deleted.delete(old);
            steps.go(self.canonical(deleted), || format!("writer {p} prunes {old}"));
            let mut late = *s;
            if late.add_late(Late::Delete(old), self.late) {
                steps.fault(self.canonical(late), || format!("writer {p} prunes {old}, late"));
            }
        }
    }

    pub(super) fn creating(
        &self,
        s: &State,
        p: usize,
        version: u8,
        record: Record,
        plans: bool,
        steps: &mut Steps<State>,
    ) {
        let back = Writer::ReadingBack { version, record, plans };
        let content = Version { record, nonce: p as Nonce };
        let mut created = *s;
        if self.create(&mut created, version, content) {
            let next = created_by(version, record, plans && self.broken != Broken::PruneWithoutList);
            steps.go(self.with(&created, p, next), || format!("writer {p} creates {version}"));
            steps.fault(self.with(&created, p, back), || format!("writer {p} creates {version}, the answer is lost"));
        } else {
            steps.go(self.with(s, p, back), || format!("writer {p} creates {version}: \"exists\""));
        }
        steps.fault(self.with(s, p, back), || format!("writer {p} fails to create {version}, unclearly"));
        let mut late = *s;
        if late.add_late(Late::Create(version, content), self.late) {
            steps.fault(self.with(&late, p, back), || format!("writer {p} creates {version}, late, unclearly"));
            let killed = self.with(&late, p, Writer::Idle);
            steps.fault(killed, || format!("writer {p} is killed while it creates {version}"));
        }
    }

    pub(super) fn read_back(
        &self,
        s: &State,
        p: usize,
        version: u8,
        record: Record,
        plans: bool,
        steps: &mut Steps<State>,
    ) {
        match s.versions[version as usize] {
            None => steps.go(self.with(s, p, Writer::Creating { version, record, plans }), || {
                format!("writer {p} reads {version} back: absent")
            }),
            Some(found) if found.nonce == p as Nonce || self.broken == Broken::NoNonce => {
                let next = created_by(version, record, plans && self.broken != Broken::OwnNonceWithoutList);
                steps.go(self.with(s, p, next), || format!("writer {p} reads {version} back: its own"));
            }
            Some(_) => {
                let lost = self.lost(version);
                steps.go(self.with(s, p, lost), || format!("writer {p} reads {version} back: of another, lost"));
            }
        }
    }

    fn lost(&self, version: u8) -> Writer {
        if self.broken == Broken::ProbingUpwards { Writer::Probing { version: version - 1 } } else { Writer::Idle }
    }

    pub(super) fn list(&self, s: &State, p: usize, version: u8, record: Record, steps: &mut Steps<State>) {
        let won = s.highest() == Some(version);
        let next = if won { Writer::Has { version, record } } else { self.lost(version) };
        let word = if won { "won" } else { "lost" };
        steps.go(self.with(s, p, next), || format!("writer {p} lists after {version}: {word}"));
        steps.fault(self.with(s, p, Writer::Idle), || format!("writer {p} cannot list: unknown"));
    }

    pub(super) fn probe(&self, s: &State, p: usize, version: u8, steps: &mut Steps<State>) {
        let next = match (s.versions[version as usize], s.versions[version as usize + 1]) {
            (_, Some(_)) => Writer::Probing { version: version + 1 },
            (Some(found), None) => Writer::Has { version, record: found.record },
            (None, None) => Writer::Idle,
        };
        steps.go(self.with(s, p, next), || format!("writer {p} probes upwards from {version}"));
    }
}
