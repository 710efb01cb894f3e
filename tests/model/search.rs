//! A small explicit-state search: breadth first, every state kept whole (no fingerprints, so nothing is
//! missed by a collision), shortest counter-examples, and a check that no state is a dead end.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// A protocol as states and steps.
pub trait Model {
    type State: Clone + Eq + Hash;

    fn initial(&self) -> Vec<Self::State>;

    /// Every step that can be taken from `state`.
    fn steps(&self, state: &Self::State, steps: &mut Steps<Self::State>);

    /// What must be true in every state.
    fn check(&self, state: &Self::State) -> Result<(), String>;

    /// Whether everything has landed, or stands still for a reason that the protocol names.
    fn settled(&self, state: &Self::State) -> bool;
}

/// Collects the steps of one state. Labels are only made when a trace is printed.
pub struct Steps<S> {
    to: Vec<(S, bool)>,
    labels: Option<Vec<String>>,
}

impl<S> Steps<S> {
    /// A step of the protocol itself, or one that a world without faults takes.
    pub fn go(&mut self, to: S, label: impl FnOnce() -> String) {
        self.push(to, false, label);
    }

    /// A crash, a lost answer, a loss: a fault-free run has none.
    pub fn fault(&mut self, to: S, label: impl FnOnce() -> String) {
        self.push(to, true, label);
    }

    fn push(&mut self, to: S, fault: bool, label: impl FnOnce() -> String) {
        self.to.push((to, fault));
        if let Some(labels) = &mut self.labels {
            labels.push(label());
        }
    }
}

/// A model whose every reachable state was visited.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub depth: usize,
    pub settled: usize,
}

/// The shortest way to a state that breaks an invariant, or from which nothing settles any more.
#[derive(Debug)]
pub struct CounterExample {
    pub broken: String,
    pub trace: Vec<String>,
    pub states: usize,
}

impl std::fmt::Display for CounterExample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} after {} steps ({} states seen)", self.broken, self.trace.len(), self.states)?;
        for (number, step) in self.trace.iter().enumerate() {
            writeln!(f, "  {:>2}. {step}", number + 1)?;
        }
        Ok(())
    }
}

pub const NOT_SETTLING: &str = "stuck: no run without faults settles from here";

/// Visits every state that can be reached.
pub fn explore<M: Model>(model: &M) -> Result<Explored, CounterExample> {
    let mut seen = Seen::new();
    // Fault-free edges, sorted by their source since states are expanded in order.
    let mut edges: Vec<(u32, u32)> = Vec::new();
    for state in model.initial() {
        seen.insert(state, NONE);
    }
    let mut steps = Steps { to: Vec::new(), labels: None };
    let mut at = 0;
    while at < seen.states.len() {
        if let Err(broken) = model.check(&seen.states[at]) {
            return Err(seen.trace(model, at, broken));
        }
        model.steps(&seen.states[at], &mut steps);
        for (to, fault) in steps.to.drain(..) {
            let index = seen.insert(to, at as u32);
            if !fault && index != at as u32 {
                edges.push((at as u32, index));
            }
        }
        at += 1;
    }
    let good = can_settle(model, &seen.states, &edges);
    if let Some(stuck) = good.iter().position(|good| !good) {
        return Err(seen.trace(model, stuck, NOT_SETTLING.into()));
    }
    let settled = seen.states.iter().filter(|state| model.settled(state)).count();
    Ok(Explored { states: seen.states.len(), depth: seen.depth(seen.states.len() - 1), settled })
}

/// Backwards from the settled states over edges without faults.
fn can_settle<M: Model>(model: &M, states: &[M::State], edges: &[(u32, u32)]) -> Vec<bool> {
    let mut good: Vec<bool> = states.iter().map(|state| model.settled(state)).collect();
    let mut first = vec![0u32; states.len() + 1];
    for (_, to) in edges {
        first[*to as usize + 1] += 1;
    }
    for index in 0..states.len() {
        first[index + 1] += first[index];
    }
    let mut place = first.clone();
    let mut sources = vec![0u32; edges.len()];
    for (from, to) in edges {
        sources[place[*to as usize] as usize] = *from;
        place[*to as usize] += 1;
    }
    let mut todo: Vec<u32> = (0..states.len() as u32).filter(|index| good[*index as usize]).collect();
    while let Some(to) = todo.pop() {
        for slot in first[to as usize]..first[to as usize + 1] {
            let from = sources[slot as usize];
            if !std::mem::replace(&mut good[from as usize], true) {
                todo.push(from);
            }
        }
    }
    good
}

const NONE: u32 = u32::MAX;

/// The states in the order of their discovery, with an open-addressing index over them.
struct Seen<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    slots: Vec<u32>,
}

impl<S: Clone + Eq + Hash> Seen<S> {
    fn new() -> Seen<S> {
        Seen { states: Vec::new(), parents: Vec::new(), slots: vec![NONE; 1 << 12] }
    }

    fn insert(&mut self, state: S, parent: u32) -> u32 {
        if self.states.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let mut slot = self.slot(&state);
        while self.slots[slot] != NONE {
            if self.states[self.slots[slot] as usize] == state {
                return self.slots[slot];
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        let index = self.states.len() as u32;
        self.slots[slot] = index;
        self.states.push(state);
        self.parents.push(parent);
        index
    }

    fn slot(&self, state: &S) -> usize {
        let hash = BuildHasherDefault::<Mix>::default().hash_one(state);
        (hash >> 20) as usize & (self.slots.len() - 1)
    }

    fn grow(&mut self) {
        self.slots = vec![NONE; self.slots.len() * 4];
        for index in 0..self.states.len() {
            let mut slot = self.slot(&self.states[index]);
            while self.slots[slot] != NONE {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            self.slots[slot] = index as u32;
        }
    }

    fn depth(&self, mut at: usize) -> usize {
        let mut depth = 0;
        while self.parents[at] != NONE {
            at = self.parents[at] as usize;
            depth += 1;
        }
        depth
    }

    /// The steps that lead to a state, found again by expanding its ancestors.
    fn trace<M: Model<State = S>>(&self, model: &M, mut at: usize, broken: String) -> CounterExample {
        let mut trace = Vec::new();
        while self.parents[at] != NONE {
            let parent = self.parents[at] as usize;
            let mut steps = Steps { to: Vec::new(), labels: Some(Vec::new()) };
            model.steps(&self.states[parent], &mut steps);
            let found = steps.to.iter().position(|(to, _)| *to == self.states[at]);
            let labels = steps.labels.unwrap_or_default();
            trace.push(found.map(|found| labels[found].clone()).unwrap_or_else(|| "?".into()));
            at = parent;
        }
        trace.reverse();
        CounterExample { broken, trace, states: self.states.len() }
    }
}

/// A fast hash for small states; std's default costs more than the step itself.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ (mixed >> 32)
    }
}
