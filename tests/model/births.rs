//! The birth of a lake's owner, of a topic and of its streams, with two starters: create-only objects in the
//! order owner, start, checkpoint, mark, first plan. Partition 0 is there from the beginning and grows while
//! `start = "latest"` is decided; partition 1 is added later. The checkpoint store may be lost once, while
//! every process is down.

use crate::search::{Model, Steps};

const OFFSETS: u8 = 2;
const NONE: u8 = 0xff;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    Nothing,
    LatestPerStream,
    MarkBeforeTheCheckpoint,
    PlanBeforeTheMark,
    MarkTakenForGranted,
    MarkLookedUpAfterTheCheckpoint,
    OwnerIgnored,
}

pub struct Births {
    /// Whether the starters bring a checkpoint store each.
    pub two_stores: bool,
    pub broken: Broken,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Checkpoint {
    genesis: u8,
    next: u8,
    /// At `from`: 0, or until.
    planned: [u8; OFFSETS as usize],
}

/// What a checkpoint store holds: partition 0, and the first offset of partition 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Store {
    zero: Option<Checkpoint>,
    one: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Starter {
    Down,
    Start,
    PutStart { first: u8 },
    LookForMark,
    Load { marked: bool },
    LookForMarkLast,
    Create { first: u8 },
    PutMark,
    Ready,
    Put { from: u8, until: u8 },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    end: u8,
    /// Partition 1: not there, without a record, with one.
    added: u8,
    /// It was added after the topic was first seen, so it begins at 0.
    is_new: bool,
    /// 0, or the store that owns the lake + 1.
    owner: u8,
    /// The topic's start object: the first offset of partition 0, and of partition 1 (`NONE`: not there then).
    start: (u8, u8),
    mark: bool,
    stores: [Store; 2],
    /// The files of partition 0: at `from`, bits by `until`.
    files: [u8; OFFSETS as usize],
    late_put: (u8, u8),
    lost: bool,
    /// Every genesis that a record of partition 0 ever had.
    geneses: u8,
    /// A process asked for a rebuild although nothing was lost.
    false_alarm: bool,
    starters: [Starter; 2],
}

impl State {
    fn names(&self) -> bool {
        self.files != [0; OFFSETS as usize]
    }
}

impl Births {
    fn with(&self, s: &State, p: usize, starter: Starter) -> State {
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

    fn begin(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let own = self.store(p) as u8 + 1;
        let mut owned = *s;
        if s.owner == 0 {
            owned.owner = own;
        }
        if owned.owner == own || self.broken == Broken::OwnerIgnored {
            steps.go(self.with(&owned, p, Starter::Start), || format!("starter {p} owns the lake"));
        }
    }

    fn start(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        if s.start.0 != NONE || self.broken == Broken::LatestPerStream {
            steps.go(self.with(s, p, self.then_load()), || format!("starter {p} has the start object"));
        } else {
            let first = s.end;
            steps
                .go(self.with(s, p, Starter::PutStart { first }), || format!("starter {p} decides: latest is {first}"));
        }
    }

    fn put_start(&self, s: &State, p: usize, first: u8, steps: &mut Steps<State>) {
        let mut put = *s;
        if put.start.0 == NONE {
            put.start = (first, if s.added == 0 { NONE } else { s.added - 1 });
        }
        steps
            .go(self.with(&put, p, self.then_load()), || format!("starter {p} puts the start; {} stands", put.start.0));
        steps.fault(self.with(&put, p, Starter::Down), || format!("starter {p} puts the start and is killed"));
    }

    fn load(&self, s: &State, p: usize, marked: bool, steps: &mut Steps<State>) {
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

    fn create_first(&self, s: &State) -> Starter {
        if self.broken == Broken::MarkBeforeTheCheckpoint && !s.mark {
            return Starter::PutMark;
        }
        Starter::Create { first: if self.broken == Broken::LatestPerStream { s.end } else { s.start.0 } }
    }

    fn create(&self, s: &State, p: usize, first: u8, steps: &mut Steps<State>) {
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

    fn put_mark(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        let marked = State { mark: true, ..*s };
        let early = self.broken == Broken::MarkBeforeTheCheckpoint && s.stores[self.store(p)].zero.is_none();
        let next = if early { Starter::Create { first: s.start.0 } } else { Starter::Ready };
        steps.go(self.with(&marked, p, next), || format!("starter {p} puts the mark"));
    }

    fn ready(&self, s: &State, p: usize, steps: &mut Steps<State>) {
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

    fn put(&self, s: &State, p: usize, from: u8, until: u8, steps: &mut Steps<State>) {
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

    fn world(&self, s: &State, steps: &mut Steps<State>) {
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

impl Model for Births {
    type State = State;

    fn initial(&self) -> Vec<State> {
        vec![State {
            end: 0,
            added: 0,
            is_new: false,
            owner: 0,
            start: (NONE, NONE),
            mark: false,
            stores: [Store { zero: None, one: NONE }; 2],
            files: [0; OFFSETS as usize],
            late_put: (NONE, 0),
            lost: false,
            geneses: 0,
            false_alarm: false,
            starters: [Starter::Down; 2],
        }]
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        for p in 0..2 {
            match s.starters[p] {
                Starter::Down => self.begin(s, p, steps),
                Starter::Start => self.start(s, p, steps),
                Starter::PutStart { first } => self.put_start(s, p, first, steps),
                Starter::LookForMark => {
                    let marked = s.mark || s.names();
                    steps
                        .go(self.with(s, p, Starter::Load { marked }), || format!("starter {p} sees a mark: {marked}"));
                }
                Starter::Load { marked } => self.load(s, p, marked, steps),
                Starter::LookForMarkLast if s.mark || s.names() => {
                    let alarm = State { false_alarm: !s.lost, ..*s };
                    steps.go(self.with(&alarm, p, Starter::Down), || format!("starter {p} asks for a rebuild"));
                }
                Starter::LookForMarkLast => {
                    steps.go(self.with(s, p, self.create_first(s)), || format!("starter {p} sees no mark"));
                }
                Starter::Create { first } => self.create(s, p, first, steps),
                Starter::PutMark => self.put_mark(s, p, steps),
                Starter::Ready => self.ready(s, p, steps),
                Starter::Put { from, until } => self.put(s, p, from, until, steps),
            }
            if s.starters[p] != Starter::Down {
                steps.fault(self.with(s, p, Starter::Down), || format!("starter {p} is killed"));
            }
        }
        self.world(s, steps);
    }

    fn check(&self, s: &State) -> Result<(), String> {
        if s.geneses.count_ones() > 1 {
            return Err("I1: a stream with two geneses".into());
        }
        if s.false_alarm && self.broken != Broken::OwnerIgnored {
            return Err("a stop that asks for a rebuild, and nothing was lost".into());
        }
        if s.stores[0].zero.is_some() && s.stores[1].zero.is_some() {
            return Err("two stores land one stream".into());
        }
        if s.is_new && s.stores.iter().any(|store| store.one != NONE && store.one != 0) {
            return Err("I5: a new partition does not begin at 0: lost".into());
        }
        let mut covered = 0u8;
        for from in 0..OFFSETS {
            for until in from + 1..=OFFSETS {
                let range = (1 << until) - (1 << from);
                if s.files[from as usize] >> until & 1 == 0 {
                    continue;
                }
                if covered & range != 0 {
                    return Err(format!("overlap: [{from}, {until}) and another file"));
                }
                covered |= range;
            }
        }
        for checkpoint in s.stores.iter().filter_map(|store| store.zero) {
            let open = |o: u8| checkpoint.planned.iter().enumerate().any(|(f, u)| f as u8 <= o && o < *u);
            if (checkpoint.genesis..checkpoint.next).any(|o| !open(o) && covered >> o & 1 == 0) {
                return Err("I5: a committed record is in no file: lost".into());
            }
            if covered >> checkpoint.next != 0 {
                return Err("I6: a file stands beyond `next`".into());
            }
        }
        Ok(())
    }

    fn settled(&self, s: &State) -> bool {
        if s.lost && (s.mark || s.names()) && s.stores.iter().all(|store| store.zero.is_none()) {
            return true; // stopped: asks for a rebuild
        }
        let done = |checkpoint: Checkpoint| checkpoint.next == OFFSETS && checkpoint.planned == [0; OFFSETS as usize];
        s.mark && s.added == 2 && s.stores.iter().any(|store| store.zero.is_some_and(done) && store.one != NONE)
    }
}
