//! Helpers: an owner and whoever has an idle worker plan pieces of one partition side by side, each above the open
//! plans of the others. Who made a plan lands it; the owner takes up any other as well, at any time, since the grace
//! that a maker is given is a hint; and who is the owner may change at any time. What a process has under way outlives
//! the swaps that it loses, and is matched with whatever record it finds.
//!
//! The store is the lake's, and what may go wrong inside a create is the subject of `lake_store`: here a version is
//! created in one step, a plan is listed for in another, and a load is one step. A put is one step, too.

mod steps;

use crate::search::{Model, Steps};

/// Most offsets, and most processes, that a state has room for.
const MAX: usize = 4;
const PROCESSES: usize = 3;
/// The maker of a plan whose process has ended: a restart is another process.
const GONE: u8 = PROCESSES as u8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    Nothing,
    /// A piece that lost its swap to another plan is planned all the same, where it was to be.
    PlanWhereItLooked,
    /// A piece begins behind the own plans, or behind what is committed: open plans of others are nothing.
    PlanBehindItsOwn,
    /// A plan of who helps is not followed by a list.
    HelpWithoutList,
    /// A commit counts for everything before it, as an offset of a consumer group does.
    CommitCountsForAllBefore,
    /// What is announced is the end of the last batch that was committed.
    AnnouncePastAnOpenPlan,
    /// A swap writes down the own plans only.
    PlansOfOthersDropped,
    /// The last plan of another is taken back, to be cut anew.
    PlansOfOthersTakenBack,
    /// Who takes a plan over ends it where it likes, within what is planned.
    TakenOverWithOtherBounds,
    /// A commit that lost is made again, above the newest version, from the record that it was made from before.
    CommitFromTheOldRecord,
    /// An owner, too, takes up its own plans alone.
    LeftToItsMakerForGood,
}

pub struct Helpers {
    pub offsets: u8,
    pub processes: usize,
    pub broken: Broken,
}

/// An open plan, or 0: `until` and its maker.
type Plan = u8;

fn plan(until: u8, maker: u8) -> Plan {
    until * 4 + maker
}

fn until(plan: Plan) -> u8 {
    plan / 4
}

fn maker(plan: Plan) -> u8 {
    plan % 4
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Record {
    next: u8,
    /// At `from`.
    planned: [Plan; MAX],
}

/// A batch under way, at its `from`: 0, or until * 2, and 1 more when it has landed.
type Work = u8;

fn has_landed(work: Work) -> bool {
    work % 2 == 1
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Process {
    /// The version that it acts on, and what stands there.
    version: u8,
    record: Record,
    /// It has created this version, and does not know yet whether that counts.
    listing: bool,
    work: [Work; MAX],
    /// Broken: the piece that lost its swap, from * 8 + until.
    piece: u8,
}

const NO_RECORD: Record = Record { next: 0, planned: [0; MAX] };
const STARTED: Process = Process { version: 1, record: NO_RECORD, listing: false, work: [0; MAX], piece: 0 };

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The highest version, and what stands there.
    newest: u8,
    record: Record,
    /// Which of the lower versions stand. Nobody reads them, but a create finds them.
    lower: u32,
    /// The files that stand: bit by range.
    files: u16,
    /// Whom the group has given the partition to.
    owner: u8,
    processes: [Process; PROCESSES],
}

fn bit(from: u8, until: u8) -> u16 {
    1 << (until * (until - 1) / 2 + from)
}

fn mask(from: u8, until: u8) -> u8 {
    (1 << until) - (1 << from)
}

impl Record {
    fn opens(&self) -> impl Iterator<Item = (u8, Plan)> {
        self.planned.into_iter().enumerate().filter(|(_, plan)| *plan != 0).map(|(from, plan)| (from as u8, plan))
    }

    /// The end of the contiguous part that has landed.
    fn committed(&self) -> u8 {
        self.opens().map(|(from, _)| from).min().unwrap_or(self.next)
    }

    fn made_by(mut self, old: u8, new: u8) -> Record {
        for plan in self.planned.iter_mut().filter(|plan| **plan != 0 && maker(**plan) == old) {
            *plan = *plan - old + new;
        }
        self
    }
}

impl Model for Helpers {
    type State = State;

    fn initial(&self) -> Vec<State> {
        vec![State { newest: 1, record: NO_RECORD, lower: 0, files: 0, owner: 0, processes: [STARTED; PROCESSES] }]
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        for p in 0..self.processes {
            self.process(s, p, steps);
        }
        for owner in (0..self.processes as u8).filter(|owner| *owner != s.owner) {
            let given = State { owner, ..*s };
            steps.fault(self.canonical(given), || format!("the partition is given to process {owner}"));
        }
        // In any order; only the newest is kept.
        for version in (0..s.newest).filter(|version| s.lower & 1 << version != 0) {
            let pruned = State { lower: s.lower & !(1 << version), ..*s };
            steps.go(self.canonical(pruned), || format!("version {version} is pruned"));
        }
    }

    fn check(&self, s: &State) -> Result<(), String> {
        let record = s.record;
        let mut covered = 0u8;
        for until in 1..=self.offsets {
            for from in (0..until).filter(|from| s.files & bit(*from, until) != 0) {
                if covered & mask(from, until) != 0 {
                    return Err(format!("overlap: [{from}, {until}) and another file"));
                }
                if until > record.next {
                    return Err(format!("I6: the file [{from}, {until}) stands without a plan"));
                }
                covered |= mask(from, until);
            }
        }
        let mut planned = 0u8;
        for (from, plan) in record.opens() {
            let range = mask(from, until(plan));
            if planned & range != 0 || (covered & range != 0 && s.files & bit(from, until(plan)) == 0) {
                return Err("I2: a plan overlaps a plan or a file".into());
            }
            planned |= range;
        }
        if mask(0, record.next) & !planned & !covered != 0 {
            return Err("I5: a committed batch has no file: lost".into());
        }
        for process in s.processes.iter().filter(|process| !process.listing) {
            let announced = self.announced(&process.record);
            if mask(0, announced) & !covered != 0 {
                return Err(format!("announced {announced}, and not all before it has landed"));
            }
        }
        Ok(())
    }

    fn settled(&self, s: &State) -> bool {
        s.record.next == self.offsets && s.record.planned == [0; MAX]
    }
}
