//! The birth of a lake's owner, of a topic and of its streams, with two starters: create-only objects in the
//! order owner, start, checkpoint, mark, first plan. Partition 0 is there from the beginning and grows while
//! `start = "latest"` is decided; partition 1 is added later. The checkpoint store may be lost once, while
//! every process is down.

mod steps;

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
