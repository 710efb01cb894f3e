//! A batch of several files: every attempt stages its own parts, one create-only manifest decides which
//! attempt counts, and every part is published from the bytes which that manifest names.

use crate::search::{Model, Steps};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    Nothing,
    PartsEncodedTwice,
    CommitBeforeTheLastPart,
    StagedBytesRemovedBeforeTheCommit,
}

pub struct Parts {
    pub rows: u8,
    pub broken: Broken,
}

const PARTS: usize = 2;
const NOT: u8 = 0xff;

/// How an attempt routed the rows: the rows of part 0; the others go to part 1. An outage or another
/// clock routes them otherwise.
type Routing = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Writer {
    Idle,
    /// Its parts are staged; the manifest is next.
    Staged(Routing),
    /// Publishes the parts of this routing, one after another.
    Publishing {
        routing: Routing,
        part: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    manifest: u8,
    /// The manifest's staged bytes are gone.
    removed: bool,
    published: [u8; PARTS],
    committed: bool,
    /// A manifest under way, and a part under way with its content.
    late_manifest: u8,
    late_part: (u8, u8),
    writers: [Writer; 2],
}

impl Parts {
    fn part(&self, routing: Routing, part: u8) -> u8 {
        let all = (1u8 << self.rows) - 1;
        if part == 0 { routing } else { all & !routing }
    }

    fn with(&self, s: &State, p: usize, writer: Writer) -> State {
        let mut to = *s;
        to.writers[p] = writer;
        to
    }

    fn start(&self, s: &State, p: usize, steps: &mut Steps<State>) {
        if s.committed {
            return;
        }
        let encode = s.manifest == NOT || self.broken == Broken::PartsEncodedTwice;
        if s.manifest != NOT {
            let follow = Writer::Publishing { routing: s.manifest, part: 0 };
            steps.go(self.with(s, p, follow), || format!("writer {p} finds the manifest {:#b}", s.manifest));
        }
        for routing in (0..1 << self.rows).filter(|_| encode) {
            steps.go(self.with(s, p, Writer::Staged(routing)), || format!("writer {p} stages its parts {routing:#b}"));
        }
    }

    fn staged(&self, s: &State, p: usize, routing: Routing, steps: &mut Steps<State>) {
        let standing = if s.manifest == NOT { routing } else { s.manifest };
        let used = if self.broken == Broken::PartsEncodedTwice { routing } else { standing };
        let put = State { manifest: standing, ..*s };
        let publish = Writer::Publishing { routing: used, part: 0 };
        steps.go(self.with(&put, p, publish), || format!("writer {p} puts its manifest; {standing:#b} stands"));
        if s.manifest == NOT && s.late_manifest == NOT {
            let late = State { late_manifest: routing, ..*s };
            steps.fault(self.with(&late, p, Writer::Idle), || format!("writer {p} is killed, its manifest is late"));
        }
    }

    fn publish(&self, s: &State, p: usize, routing: Routing, part: u8, steps: &mut Steps<State>) {
        if part as usize == PARTS || self.broken == Broken::CommitBeforeTheLastPart && part == 1 {
            let committed = State { committed: true, ..*s };
            steps.go(self.with(&committed, p, Writer::Idle), || format!("writer {p} commits"));
            return;
        }
        if s.removed && self.broken != Broken::PartsEncodedTwice {
            return;
        }
        let content = self.part(routing, part);
        let next = Writer::Publishing { routing, part: part + 1 };
        let mut put = *s;
        if put.published[part as usize] == NOT {
            put.published[part as usize] = content;
            if s.late_part.0 == NOT {
                let late = State { late_part: (part, content), ..*s };
                steps.fault(self.with(&late, p, Writer::Idle), || format!("writer {p} is killed, part {part} is late"));
            }
        }
        steps.go(self.with(&put, p, next), || format!("writer {p} publishes part {part}: {content:#b}"));
    }
}

impl Model for Parts {
    type State = State;

    fn initial(&self) -> Vec<State> {
        vec![State {
            manifest: NOT,
            removed: false,
            published: [NOT; PARTS],
            committed: false,
            late_manifest: NOT,
            late_part: (NOT, 0),
            writers: [Writer::Idle; 2],
        }]
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        for p in 0..2 {
            match s.writers[p] {
                Writer::Idle => self.start(s, p, steps),
                Writer::Staged(routing) => self.staged(s, p, routing, steps),
                Writer::Publishing { routing, part } => self.publish(s, p, routing, part, steps),
            }
            steps.fault(self.with(s, p, Writer::Idle), || format!("writer {p} is killed"));
        }
        if s.late_manifest != NOT {
            let manifest = if s.manifest == NOT { s.late_manifest } else { s.manifest };
            let landed = State { manifest, late_manifest: NOT, ..*s };
            steps.go(landed, || format!("a late manifest lands; {manifest:#b} stands"));
        }
        if s.late_part.0 != NOT {
            let mut landed = State { late_part: (NOT, 0), ..*s };
            let (part, content) = s.late_part;
            if landed.published[part as usize] == NOT {
                landed.published[part as usize] = content;
            }
            steps.go(landed, || format!("a late part {part} lands: {content:#b}"));
        }
        let early = self.broken == Broken::StagedBytesRemovedBeforeTheCommit && s.manifest != NOT;
        if (s.committed || early) && !s.removed {
            steps.go(State { removed: true, ..*s }, || "the staged bytes are removed".into());
        }
    }

    fn check(&self, s: &State) -> Result<(), String> {
        let all = (1u8 << self.rows) - 1;
        let rows = s.published.map(|part| if part == NOT { 0 } else { part });
        if rows[0] & rows[1] != 0 {
            return Err("I4: a row stands in two parts".into());
        }
        if s.committed && rows[0] | rows[1] != all {
            return Err("I5: a row of a committed batch is in no part: lost".into());
        }
        let of_manifest =
            |part: usize| s.published[part] == NOT || s.published[part] == self.part(s.manifest, part as u8);
        // Where that is what was broken on purpose, its consequence is waited for instead.
        if self.broken != Broken::PartsEncodedTwice && !(0..PARTS).all(of_manifest) {
            return Err("I3: a part that is not of the manifest".into());
        }
        Ok(())
    }

    fn settled(&self, s: &State) -> bool {
        s.committed
    }
}
