//! What a starter does at each of its steps, and the world around it.

use super::*;

impl Births {
    pub(super) fn with(&self, s: &State, p: usize, starter: Starter) -> State {
        let mut to = *s;
        to.starters[p] = starter;
        to
    }

    fn store(&self, p: usize) -> usize {
        if self.two_stores { p } else { 0 }
    }

    /// What comes after the start object: the mark is looked for before the checkpoint.
    fn then_load(&self) -> Starter {
        match self.broken {
            Broken::MarkLookedUpAfterTheCheckpoint => Starter::Load { marked: false },
            _ => Starter::LookForMark,
        }
    }

    pub(super) fn begin(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let own = self.store(p) as u8 + 1;
        let mut owned = *s;
        if s.owner == 0 {
            owned.owner = own;
        }
        if owned.owner == own || self.broken == Broken::OwnerIgnored {
            steps.go(self.with(&owned, p, Starter::Start), || format!("starter {p} owns the lake"));
        }
    }

    pub(super) fn start(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        if s.start.0 != NONE || self.broken == Broken::LatestPerStream {
            steps.go(self.with(s, p, self.then_load()), || format!("starter {p} has the start object"));
        } else {
            let first = s.end;
            steps
                .go(self.with(s, p, Starter::PutStart { first }), || format!("starter {p} decides: latest is {first}"));
        }
    }

    pub(super) fn put_start(&self, s: &State, p: usize, first: u8, steps: &mut Steps<State>) {
        let mut put = *s;
        if put.start.0 == NONE {
            put.start = (first, if s.added == 0 { NONE } else { s.added - 1 });
        }
        steps
            .go(self.with(&put, p, self.then_load()), || format!("starter {p} puts the start; {} stands", put.start.0));
        steps.fault(self.with(&put, p, Starter::Down), || format!("starter {p} puts the start and is killed"));
    }

    pub(super) fn load(&self, s: &State, p: usize, marked: bool, steps: &mut Steps<State>) {
        let found = s.stores[self.store(p)].zero;
        let granted = self.broken == Broken::MarkTakenForGranted || self.broken == Broken::PlanBeforeTheMark;
        let next = match found {
            Some(_) if granted => Starter::Ready,
            Some(_) => Starter::PutMark,
            None if marked => {
                let alarm = State { false_alarm: !s.lost, ..*s };
                steps.go(self.with(&alarm, p, Starter::Down), || {
                    format!("starter {p}: a mark, and no checkpoint: asks for a rebuild")
                });
                return;
            }
            None if self.broken == Broken::MarkLookedUpAfterTheCheckpoint => Starter::LookForMarkLast,
            None => self.create_first(s),
        };
        steps.go(self.with(s, p, next), || {
            format!("starter {p} loads: {}", if found.is_some() { "found" } else { "missing" })
        });
    }

    pub(super) fn create_first(&self, s: &State) -> Starter {
        if self.broken == Broken::MarkBeforeTheCheckpoint && !s.mark {
            return Starter::PutMark;
        }
        Starter::Create { first: if self.broken == Broken::LatestPerStream { s.end } else { s.start.0 } }
    }

    pub(super) fn create(&self, s: &State, p: usize, first: u8, steps: &mut Steps<State>) {
        let mut created = *s;
        let slot = &mut created.stores[self.store(p)].zero;
        let after = if slot.is_some() {
            Starter::Load { marked: false }
        } else {
            *slot = Some(Checkpoint { genesis: first, next: first, planned: [0; OFFSETS as usize] });
            created.geneses |= 1 << first;
            if self.broken == Broken::PlanBeforeTheMark { Starter::Ready } else { Starter::PutMark }
        };
        steps.go(self.with(&created, p, after), || format!("starter {p} creates the checkpoint, genesis {first}"));
        steps.fault(self.with(&created, p, Starter::Down), || {
            format!("starter {p} creates the checkpoint, genesis {first}, and is killed")
        });
    }

    pub(super) fn put_mark(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let marked = State { mark: true, ..*s };
        let early = self.broken == Broken::MarkBeforeTheCheckpoint && s.stores[self.store(p)].zero.is_none();
        let next = if early { Starter::Create { first: s.start.0 } } else { Starter::Ready };
        steps.go(self.with(&marked, p, next), || format!("starter {p} puts the mark"));
    }

    pub(super) fn ready(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let store = self.store(p);
        let Some(checkpoint) = s.stores[store].zero else {
            steps.go(self.with(s, p, Starter::Down), || format!("starter {p}: the checkpoint is gone"));
            return;
        };
        for until in checkpoint.next + 1..=s.end {
            let mut planned = *s;
            let mut record = checkpoint;
            record.planned[checkpoint.next as usize] = until;
            record.next = until;
            planned.stores[store].zero = Some(record);
            let put = Starter::Put { from: checkpoint.next, until };
            steps.go(self.with(&planned, p, put), || format!("starter {p} plans [{}, {until})", checkpoint.next));
        }
        for from in 0..OFFSETS {
            let until = checkpoint.planned[from as usize];
            if until != 0 {
                steps.go(self.with(s, p, Starter::Put { from, until }), || {
                    format!("starter {p} finds [{from}, {until})")
                });
            }
        }
        if self.broken == Broken::PlanBeforeTheMark && !s.mark {
            steps.go(State { mark: true, ..*s }, || format!("starter {p} puts the mark at last"));
        }
        if s.added != 0 && s.stores[store].one == NONE {
            let first = match self.broken {
                Broken::LatestPerStream => s.added - 1,
                _ if s.start.1 == NONE => 0,
                _ => s.start.1,
            };
            let mut born = *s;
            born.stores[store].one = first;
            steps.go(born, || format!("starter {p} bears partition 1 at {first}"));
        }
    }

    pub(super) fn put(&self, s: &State, p: usize, from: u8, until: u8, steps: &mut Steps<State>) {
        let mut put = *s;
        put.files[from as usize] |= 1 << until;
        // The commit is one more swap: a process that ends in between finds its file.
        let mut committed = put;
        if let Some(checkpoint) = &mut committed.stores[self.store(p)].zero
            && checkpoint.planned[from as usize] == until
        {
            checkpoint.planned[from as usize] = 0;
        }
        steps
            .go(self.with(&committed, p, Starter::Ready), || format!("starter {p} puts and commits [{from}, {until})"));
        steps.fault(self.with(&put, p, Starter::Down), || format!("starter {p} puts [{from}, {until}) and is killed"));
        if s.late_put.0 == NONE {
            let late = State { late_put: (from, until), ..*s };
            steps.fault(self.with(&late, p, Starter::Down), || {
                format!("starter {p} is killed putting [{from}, {until})")
            });
        }
    }

    pub(super) fn world(&self, s: &State, steps: &mut Steps<State>) {
        if s.end < OFFSETS {
            steps.go(State { end: s.end + 1, ..*s }, || "a record is produced to partition 0".into());
        }
        if s.added < 2 {
            let seen = s.start.0 != NONE || s.geneses != 0;
            let is_new = s.is_new || (s.added == 0 && seen);
            steps.go(State { added: s.added + 1, is_new, ..*s }, || match s.added {
                0 => "partition 1 is added".into(),
                _ => "a record is produced to partition 1".into(),
            });
        }
        if s.late_put.0 != NONE {
            let mut landed = State { late_put: (NONE, 0), ..*s };
            landed.files[s.late_put.0 as usize] |= 1 << s.late_put.1;
            steps.go(landed, || format!("a late put of [{}, {}) lands", s.late_put.0, s.late_put.1));
        }
        if !s.lost && s.starters == [Starter::Down; 2] {
            let empty = Store { zero: None, one: NONE };
            steps.fault(State { lost: true, stores: [empty; 2], ..*s }, || "the checkpoint store is lost".into());
        }
    }
}
