//! The checkpoint store in the lake: versions that are created only if absent, a list after every create,
//! nonces, read-back and pruning; two writers whose creates and deletes may land late, also after their end.
//! A put is one step here: what may go wrong with it is the subject of `writers`.

mod steps;

use crate::search::{Model, Steps};

const MAX: usize = 4;
/// The first record, one for each plan and one for each commit.
const VERSIONS: usize = 2 * MAX + 2;
const LATE: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    Nothing,
    PruneWithoutList,
    OverwriteAVersion,
    NoNonce,
    OwnNonceWithoutList,
    ProbingUpwards,
    ListAndReadApart,
    NextLowerOfAList,
    PruneTheNewest,
    /// A swap that commits a batch and plans the next counts as a commit: it is not followed by a list.
    JointSwapWithoutList,
}

pub struct LakeStore {
    pub offsets: u8,
    pub late: usize,
    /// One swap may commit a batch and plan the next.
    pub joint: bool,
    /// Fewer states: equal writers are interchangeable, and what stands below the newest version is forgotten
    /// where nobody can read it any more. Sound as long as only a listed version is read, so a broken store is
    /// searched without it (and its traces keep the writers' names).
    pub forgetful: bool,
    pub broken: Broken,
}

/// The content of a version; `planned[from]` is 0 or until.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Record {
    next: u8,
    planned: [u8; MAX],
}

const NO_RECORD: Record = Record { next: 0, planned: [0; MAX] };

/// Whose running attempt made it: the nonce, as far as anybody can still compare it.
type Nonce = u8;
const NOBODY: Nonce = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Version {
    record: Record,
    nonce: Nonce,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Late {
    Nothing,
    Create(u8, Version),
    Delete(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Writer {
    /// Ended or just started: nothing is remembered.
    Idle,
    /// A list showed `version` as the highest; `same` until that object is gone. `shown` is the whole list.
    Listed {
        version: u8,
        same: bool,
        shown: u16,
    },
    /// Acts on this record.
    Has {
        version: u8,
        record: Record,
    },
    /// `plans`: it adds a plan, so a list must follow.
    Creating {
        version: u8,
        record: Record,
        plans: bool,
    },
    ReadingBack {
        version: u8,
        record: Record,
        plans: bool,
    },
    /// Created: lists to see whether it has won.
    Listing {
        version: u8,
        record: Record,
    },
    /// Broken: looks for a newer version upwards from here.
    Probing {
        version: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    versions: [Option<Version>; VERSIONS],
    /// The highest version that ever stood.
    newest: u8,
    late: [Late; LATE],
    /// The files that stand: bit by range.
    files: u16,
    writers: [Writer; 2],
}

fn bit(from: u8, until: u8) -> u16 {
    1 << (until * (until - 1) / 2 + from)
}

impl Record {
    fn plan(mut self, until: u8) -> Record {
        self.planned[self.next as usize] = until;
        self.next = until;
        self
    }

    fn commit(mut self, from: u8) -> Record {
        self.planned[from as usize] = 0;
        self
    }
}

impl State {
    fn highest(&self) -> Option<u8> {
        (0..VERSIONS).rev().find(|version| self.versions[*version].is_some()).map(|version| version as u8)
    }

    fn shown(&self) -> u16 {
        (0..VERSIONS).filter(|version| self.versions[*version].is_some()).map(|version| 1 << version).sum()
    }

    fn delete(&mut self, version: u8) {
        self.versions[version as usize] = None;
        for writer in &mut self.writers {
            if let Writer::Listed { version: listed, same, .. } = writer
                && *listed == version
            {
                *same = false;
            }
        }
    }

    fn add_late(&mut self, request: Late, most: usize) -> bool {
        if self.late.iter().filter(|late| **late != Late::Nothing).count() == most {
            return false;
        }
        // Sorted, so the first slot is a free one.
        self.late[0] = request;
        true
    }

    /// The attempt of `p` is over: nobody compares its nonce any more.
    fn forget(&mut self, p: usize) {
        let versions = self.versions.iter_mut().flatten();
        let late = self.late.iter_mut().filter_map(|late| match late {
            Late::Create(_, version) => Some(version),
            _ => None,
        });
        for version in versions.chain(late).filter(|version| version.nonce == p as Nonce) {
            version.nonce = NOBODY;
        }
    }

    /// One order of the writers and of the requests under way is enough.
    fn sorted(mut self, symmetric: bool) -> State {
        self.late.sort();
        if symmetric && self.writers[0] > self.writers[1] {
            self.writers.swap(0, 1);
            let swap = |version: &mut Version| {
                if version.nonce != NOBODY {
                    version.nonce = 1 - version.nonce;
                }
            };
            self.versions.iter_mut().flatten().for_each(swap);
            for late in &mut self.late {
                if let Late::Create(_, version) = late {
                    swap(version);
                }
            }
            self.late.sort();
        }
        self
    }

    /// Forgets the content of every version that is not the newest and that nobody has listed.
    fn forget_the_dead(&mut self) {
        let highest = self.highest().unwrap_or(0);
        let writers = self.writers;
        let listed = |version: u8| {
            writers.iter().any(|w| matches!(w, Writer::Listed { version: v, same: true, .. } if *v == version))
        };
        for version in (0..highest).filter(|version| !listed(*version)) {
            if let Some(found) = &mut self.versions[version as usize] {
                found.record = NO_RECORD;
            }
        }
        for late in &mut self.late {
            if let Late::Create(version, content) = late
                && *version <= highest
            {
                content.record = NO_RECORD;
            }
        }
    }
}

/// After a create: whoever added a plan lists before it acts; a commit alone need not.
fn created_by(version: u8, record: Record, list: bool) -> Writer {
    if list { Writer::Listing { version, record } } else { Writer::Has { version, record } }
}

impl Model for LakeStore {
    type State = State;

    fn initial(&self) -> Vec<State> {
        let mut versions = [None; VERSIONS];
        versions[1] = Some(Version { record: Record { next: 0, planned: [0; MAX] }, nonce: NOBODY });
        vec![State { versions, newest: 1, late: [Late::Nothing; LATE], files: 0, writers: [Writer::Idle; 2] }]
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        for p in 0..2 {
            match s.writers[p] {
                Writer::Idle => self.idle(s, p, steps),
                Writer::Listed { version, same, shown } => self.read(s, p, version, same, shown, steps),
                Writer::Has { version, record } => self.act(s, p, version, record, steps),
                Writer::Creating { version, record, plans } => self.creating(s, p, version, record, plans, steps),
                Writer::ReadingBack { version, record, plans } => self.read_back(s, p, version, record, plans, steps),
                Writer::Listing { version, record } => self.list(s, p, version, record, steps),
                Writer::Probing { version } => self.probe(s, p, version, steps),
            }
            if s.writers[p] != Writer::Idle {
                steps.fault(self.with(s, p, Writer::Idle), || format!("writer {p} is killed"));
            }
        }
        for slot in 0..LATE {
            if s.late[slot] == Late::Nothing {
                continue;
            }
            let mut landed = *s;
            landed.late[slot] = Late::Nothing;
            steps.fault(self.canonical(landed), || "a late request is lost".into());
            match s.late[slot] {
                Late::Nothing => {}
                Late::Create(version, content) => {
                    self.create(&mut landed, version, content);
                    steps.go(self.canonical(landed), || {
                        format!("a late create of {version} lands: {:?}", content.record)
                    });
                }
                Late::Delete(version) => {
                    landed.delete(version);
                    steps.go(self.canonical(landed), || format!("a late delete of {version} lands"));
                }
            }
        }
    }

    fn check(&self, s: &State) -> Result<(), String> {
        let Some(newest) = s.highest().and_then(|highest| s.versions[highest as usize]) else {
            return Err("the newest version is gone".into());
        };
        if s.highest() != Some(s.newest) {
            return Err("the newest version is gone".into());
        }
        let record = newest.record;
        let mut covered = 0u8;
        for until in 1..=self.offsets {
            for from in (0..until).filter(|from| s.files & bit(*from, until) != 0) {
                let range = (1u8 << until) - (1 << from);
                if covered & range != 0 {
                    return Err(format!("overlap: [{from}, {until}) and another file"));
                }
                if until > record.next {
                    return Err(format!("I6: the file [{from}, {until}) stands without a plan"));
                }
                covered |= range;
            }
        }
        let mut planned = 0u8;
        for from in 0..self.offsets {
            let until = record.planned[from as usize];
            let range = if until == 0 { 0 } else { (1u8 << until) - (1 << from) };
            if planned & range != 0 || (covered & range != 0 && s.files & bit(from, until) == 0) {
                return Err("I2: a plan overlaps a plan or a file".into());
            }
            planned |= range;
        }
        if ((1u8 << record.next) - 1) & !planned & !covered != 0 {
            return Err("I5: a committed batch has no file: lost".into());
        }
        Ok(())
    }

    fn settled(&self, s: &State) -> bool {
        let newest = s.highest().and_then(|highest| s.versions[highest as usize]);
        newest.is_some_and(|newest| newest.record.next == self.offsets && newest.record.planned == [0; MAX])
    }
}
