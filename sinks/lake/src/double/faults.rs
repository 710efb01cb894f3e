//! Which call goes wrong and how: by a script, by chance, or both; and a journal of what really happened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Created, LakeError};

/// The calls that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Create,
    /// [`crate::Staged::write`]
    Write,
    /// [`crate::Staged::publish`]
    Publish,
    Read,
    ReadRange,
    Size,
    List,
    Settle,
    Delete,
}

impl Call {
    fn changes(self) -> bool {
        matches!(self, Call::Create | Call::Publish | Call::Delete)
    }
}

/// What goes wrong. Where a call cannot go wrong like that (a read has no effect to come late), it fails
/// with "not done".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the answer says so. A draft that is being written is spent.
    NotDone,
    /// Nothing happens, and the answer is that nobody knows.
    NeverCame,
    /// It happens, and the answer is that nobody knows.
    AnswerLost,
    /// The answer is that nobody knows, and it happens when so many more calls have been made: as a request
    /// that was still under way. See also [`super::FaultyLake::land_late`].
    Late(u32),
    /// A listing ends with an error after so many entries.
    Midway(usize),
    /// Nothing happens, and there is never an answer: as if the process had ended before the call.
    StopBefore,
    /// It happens, and there is never an answer: as if the process had ended after the call.
    StopAfter,
}

/// How often each fault comes by chance, between 0 and 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    pub not_done: f64,
    pub never_came: f64,
    pub answer_lost: f64,
    pub late: f64,
    /// Of reads, sizes, listings and settles.
    pub reads: f64,
}

impl Rates {
    /// Every fault of a call that changes something, and failing reads, equally often.
    pub fn all(rate: f64) -> Rates {
        Rates { not_done: rate, never_came: rate, answer_lost: rate, late: rate, reads: rate }
    }
}

/// What the lake below answered, whatever the caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Created,
    Exists,
    Deleted,
    NotDone,
    Unknown,
    Refused,
}

impl Answer {
    pub(super) fn of(answer: &Result<Created, LakeError>) -> Answer {
        match answer {
            Ok(Created::Created) => Answer::Created,
            Ok(Created::Exists) => Answer::Exists,
            Err(LakeError::NotDone { .. }) => Answer::NotDone,
            Err(LakeError::Unknown { .. }) => Answer::Unknown,
            Err(LakeError::Refused { .. }) => Answer::Refused,
        }
    }
}

/// One call that reached the lake below and could change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub call: Call,
    pub path: String,
    pub answer: Answer,
    pub bytes: u64,
    /// Equal for equal content.
    pub content: u64,
    /// It came after its caller had been told that nobody knows.
    pub late: bool,
}

/// The faults of one or more lakes. Clones share everything.
#[derive(Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

struct State {
    rng: StdRng,
    rates: Rates,
    script: HashMap<(Call, u64), Fault>,
    visits: HashMap<Call, u64>,
    calls: u64,
    injected: u64,
    journal: Vec<Effect>,
}

impl Faults {
    /// Nothing goes wrong until [`Faults::on`] says so.
    pub fn none() -> Faults {
        Faults::seeded(0, Rates::default())
    }

    /// Faults by chance: the same seed and the same calls in the same order give the same faults.
    pub fn seeded(seed: u64, rates: Rates) -> Faults {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            rates,
            script: HashMap::new(),
            visits: HashMap::new(),
            calls: 0,
            injected: 0,
            journal: Vec::new(),
        };
        Faults { state: Arc::new(Mutex::new(state)) }
    }

    /// The `nth` call of this kind from now on (the next one is 1) goes wrong like so.
    pub fn on(&self, call: Call, nth: u64, fault: Fault) -> &Faults {
        let mut state = self.state();
        let visited = state.visits.get(&call).copied().unwrap_or(0);
        state.script.insert((call, visited + nth), fault);
        drop(state);
        self
    }

    /// No more faults, by script or by chance. What is late still comes.
    pub fn calm(&self) {
        let mut state = self.state();
        state.rates = Rates::default();
        state.script.clear();
    }

    /// How many calls went wrong so far.
    pub fn injected(&self) -> u64 {
        self.state().injected
    }

    /// How many calls of a kind were made so far, well or badly.
    pub fn visits(&self, call: Call) -> u64 {
        self.state().visits.get(&call).copied().unwrap_or(0)
    }

    /// Everything that reached the lakes below and could change them, in order.
    pub fn journal(&self) -> Vec<Effect> {
        self.state().journal.clone()
    }

    /// Names that were created while they stood: there must never be one.
    pub fn written_twice(&self) -> Vec<String> {
        let (mut standing, mut twice) = (std::collections::HashSet::new(), Vec::new());
        for effect in &self.state().journal {
            match effect.answer {
                Answer::Created if !standing.insert(effect.path.clone()) => twice.push(effect.path.clone()),
                Answer::Deleted => drop(standing.remove(&effect.path).then_some(())),
                _ => {}
            }
        }
        twice
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, effect: Effect) {
        self.state().journal.push(effect);
    }

    /// The number of calls so far: the clock of what comes late.
    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// A call is made: does it go wrong?
    pub(super) fn visit(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        state.calls += 1;
        let visits = state.visits.entry(call).or_default();
        *visits += 1;
        let key = (call, *visits);
        let fault = state.script.remove(&key).or_else(|| state.by_chance(call));
        state.injected += u64::from(fault.is_some());
        fault
    }
}

impl State {
    fn by_chance(&mut self, call: Call) -> Option<Fault> {
        let rates = self.rates;
        let mut dice: f64 = self.rng.random();
        let mut falls = |rate: f64| {
            let hit = dice < rate;
            dice -= rate;
            hit
        };
        if call == Call::Write {
            // Thousands of writes make a file: chance strikes publications.
            return None;
        }
        if !call.changes() {
            let hit = falls(rates.reads);
            return hit.then(|| match call {
                Call::List => Fault::Midway(self.rng.random_range(0..4)),
                _ => Fault::NotDone,
            });
        }
        if falls(rates.not_done) {
            Some(Fault::NotDone)
        } else if falls(rates.never_came) {
            Some(Fault::NeverCame)
        } else if falls(rates.answer_lost) {
            Some(Fault::AnswerLost)
        } else if falls(rates.late) {
            Some(Fault::Late(self.rng.random_range(0..12)))
        } else {
            None
        }
    }
}
