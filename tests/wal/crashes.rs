//! Random lives of a log on the simulated disk: appended to, read, retired, copied forward, closed, killed, cut off at
//! any operation, also while it is opened. After each the ledger must agree, and nothing may be called damage.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use landfall::wal::{Acked, AssignReason, Floor, Isolation, Options, Recovery, StreamId, Tail, Wal, WalError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::dice::{long, seed};
use crate::ledger::{Fault, Ledger, part, read};
use crate::rig::stream;
use crate::sim::{Machine, Op, Survives};

const PARTITIONS: i32 = 4;

fn small(rng: &mut StdRng) -> Options {
    Options {
        segment_bytes: [32 << 10, 48 << 10, 64 << 10][rng.random_range(0..3)],
        group_bytes: [4 << 10, 8 << 10, 64 << 10][rng.random_range(0..3)],
        staging_bytes: 256 << 10,
        ballast_bytes: [0, 10_000][rng.random_range(0..2)],
        recycled: rng.random_range(0..3),
        heartbeat: Duration::from_millis([1, 5, 1000][rng.random_range(0..3)]),
        ..Options::default()
    }
}

/// How often what happened.
#[derive(Default)]
pub struct Figures(BTreeMap<&'static str, u64>);

impl Figures {
    pub fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub fn print(&self, title: &str) {
        let shown: Vec<String> = self.0.iter().map(|(what, count)| format!("{count} {what}")).collect();
        println!("{title}: {}", shown.join(", "));
    }
}

struct Life {
    rng: StdRng,
    machine: Machine,
    ledger: Ledger,
    figures: Figures,
    next: BTreeMap<i32, i64>,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut rng = StdRng::seed_from_u64(seed);
        let machine = Machine::new(rng.random());
        Life { rng, machine, ledger: Ledger::default(), figures: Figures::default(), next: BTreeMap::new() }
    }

    fn options(&mut self) -> Options {
        small(&mut self.rng)
    }

    /// Opens, with the power cut at some step as often as the dice say.
    fn open(&mut self) -> Result<(Wal, Recovery), WalError> {
        while self.rng.random_bool(0.4) {
            let within = self.rng.random_range(1..12);
            self.machine.cut_after(within);
            match Wal::open_on(self.machine.volume(), self.options()) {
                Ok((wal, recovery)) => {
                    self.machine.disk().cut_at = None;
                    if self.machine.is_off() {
                        drop(wal);
                        self.end();
                        continue;
                    }
                    self.figures.add("openings", 1);
                    return Ok((wal, recovery));
                }
                Err(WalError::Damaged(damages)) => return Err(WalError::Damaged(damages)),
                Err(_) => {
                    assert!(self.machine.is_off(), "an opening fails only because the power is off");
                    self.figures.add("cuts while opening", 1);
                    self.end();
                }
            }
        }
        self.figures.add("openings", 1);
        Wal::open_on(self.machine.volume(), self.options())
    }

    /// The machine goes down, or only the process.
    fn end(&mut self) {
        if self.rng.random_bool(0.4) {
            self.figures.add("kills", 1);
            self.machine.kill();
        } else {
            self.figures.add("cuts", 1);
            let survives = Survives::any(&mut self.rng);
            self.machine.restart(survives);
        }
    }

    fn id(&mut self, wal: &Wal, partition: i32) -> Option<StreamId> {
        let id = wal.stream(&stream(partition), Isolation::ReadCommitted).unwrap();
        if wal.next_offset(id).is_none() {
            let from = self.ledger.acked_until(partition);
            let ticket = wal.start_run(id, from, AssignReason::Start).ok()?;
            self.ledger.sent(partition, from, from, ticket);
        }
        self.next.insert(partition, wal.next_offset(id)?);
        Some(id)
    }

    /// One thing that is done to an open log. `None`: it is stopped.
    fn act(&mut self, wal: &Wal) -> Option<()> {
        let partition = self.rng.random_range(0..PARTITIONS);
        let id = self.id(wal, partition)?;
        let next = self.next[&partition];
        match self.rng.random_range(0..100) {
            0..75 => {
                let until = next + self.rng.random_range(1..8);
                let ticket = wal.append(id, part(partition, next, until)).ok()?;
                self.figures.add("appended", 1);
                self.ledger.sent(partition, next, until, ticket);
            }
            75..85 => {
                let tickets: Vec<_> = self.ledger.sent.iter().filter_map(|sent| sent.ticket).collect();
                if let Some(ticket) = tickets.get(self.rng.random_range(0..tickets.len().max(1))) {
                    wal.wait(*ticket).ok()?;
                    self.ledger.acked(*ticket);
                    self.figures.add("acked", 1);
                }
            }
            85..88 => {
                let offset = next + self.rng.random_range(0..5);
                let ticket = wal.start_run(id, offset, AssignReason::Repositioned).ok()?;
                self.ledger.sent(partition, offset, offset, ticket);
            }
            88..94 => self.retire(wal)?,
            94..97 => {
                let committed = self.ledger.committed.get(&partition).copied().unwrap_or(0);
                let copied = wal.copy_forward(id, committed).ok()?;
                self.figures.add("bytes copied forward", copied);
            }
            _ => match read(wal, partition) {
                Ok(_) => {}
                Err(Fault::Named(WalError::Damaged(damages))) => panic!("damage while reading: {damages:?}"),
                Err(Fault::Named(_)) => return None,
                Err(wrong) => panic!("{wrong:?}"),
            },
        }
        Some(())
    }

    fn retire(&mut self, wal: &Wal) -> Option<()> {
        for partition in 0..PARTITIONS {
            let acked = self.ledger.acked_until(partition);
            let committed = self.ledger.committed.entry(partition).or_default();
            if acked > *committed && self.rng.random_bool(0.8) {
                *committed = self.rng.random_range(*committed..=acked);
            }
        }
        let floor = |(partition, committed): (&i32, &i64)| Floor { stream: stream(*partition), committed: *committed };
        let floors: Vec<Floor> = self.ledger.committed.iter().map(floor).collect();
        let retired = wal.retire(&floors).ok()?;
        self.figures.add("segments retired", retired.segments as u64);
        Some(())
    }

    /// Opens what the last round left, holds it against the ledger, and lives on until something ends it.
    fn round(&mut self) {
        let (wal, recovery) = match self.open() {
            Ok(opened) => opened,
            Err(error) => panic!("a plain crash is called damage: {error}"),
        };
        self.figures.add("torn tails", u64::from(matches!(recovery.tail, Tail::Torn { .. })));
        if let Err(fault) = self.ledger.verify(&wal) {
            panic!("{fault:?}\n{recovery:?}");
        }
        self.ledger.settle(&wal);
        if self.rng.random_bool(0.7) {
            let after = self.rng.random_range(1..80);
            self.machine.cut_after(after);
        }
        let acts = self.rng.random_range(1..120);
        let stopped = (0..acts).any(|_| self.act(&wal).is_none());
        if !stopped && self.rng.random_bool(0.3) && wal.close().is_ok() {
            self.figures.add("closed", 1);
            self.ledger.sent.iter_mut().for_each(|sent| sent.acked = true);
        } else if !self.machine.is_off() {
            // The dead cannot write: the threads of the log that is dropped below find the machine changed.
            self.end();
            return;
        }
        let renamed = self.machine.count(Op::Rename, "free-") as u64;
        self.figures.add("names in the pool", renamed);
        self.end();
    }
}

/// Lives one after the other, until the time is up; returns the figures of all of them.
fn lives(title: &str, count: u64, rounds: u64, most: Duration, round: fn(&mut Life)) -> Figures {
    let (first, started, mut sum) = (seed(title), Instant::now(), Figures::default());
    for seed in (first..first + count).take_while(|_| started.elapsed() < most) {
        let mut life = Life::new(seed);
        let all = || (0..rounds).for_each(|_| round(&mut life));
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all)) {
            println!("{title}: it is the life of LANDFALL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
        sum.add("lives", 1);
        life.figures.0.iter().for_each(|(what, count)| sum.add(what, *count));
    }
    sum.print(title);
    sum
}

fn most(slice: u64) -> Duration {
    Duration::from_secs(if long() { 300 } else { slice })
}

#[test]
fn no_crash_loses_what_was_acknowledged_or_is_called_damage() {
    let figures = lives("random lives", if long() { 20_000 } else { 400 }, 10, most(12), Life::round);
    for what in ["cuts", "cuts while opening", "kills", "closed", "torn tails", "segments retired", "names in the pool"]
    {
        assert!(figures.of(what) > 0, "no life had any {what}");
    }
}

/// A recycled file is as long as the segment that it held, until the longer length is durable: what looks like the
/// trailer at its end may be all that was written of a seal.
#[test]
fn a_recycled_file_that_is_being_sealed_is_not_taken_for_a_sealed_one() {
    let seed = seed("recycled files");
    let mut cuts = 0;
    for step in 0..70 {
        for dice in 0..if long() { 200 } else { 25 } {
            let machine = Machine::new(seed + step * 100 + dice);
            let options = || Options { recycled: 4, ..crate::rules::options() };
            let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap();
            let id = crate::rules::fill(&wal, 0, 0, 20);
            wal.retire(&[Floor { stream: stream(0), committed: 20 }]).unwrap();
            machine.cut_after(step + 1);
            let mut acked = 20;
            for offset in 20..40 {
                let sent = wal.append(id, part(0, offset, offset + 1));
                if sent.and_then(|ticket| wal.wait(ticket)).is_err() {
                    break;
                }
                acked = offset + 1;
            }
            machine.restart(Survives::Some);
            drop(wal);
            cuts += 1;
            let (wal, _) = Wal::open_on(machine.volume(), options()).unwrap_or_else(|error| panic!("{error}"));
            let held = read(&wal, 0).unwrap();
            assert!(held.last().is_some_and(|last| last.1 >= acked), "{held:?} of {acked}");
        }
    }
    println!("recycled files: {cuts} cuts");
}

/// One more run, durable; then the power goes and takes whatever was not synced, also by the processes before.
fn goes_on(machine: &Machine, wal: Wal, ledger: &mut Ledger) {
    ledger.settle(&wal);
    let id = wal.stream(&stream(9), Isolation::ReadCommitted).unwrap();
    let from = wal.next_offset(id).unwrap_or_else(|| {
        let ticket = wal.start_run(id, 0, AssignReason::Start).unwrap();
        ledger.sent(9, 0, 0, ticket);
        0
    });
    let ticket = wal.append(id, part(9, from, from + 2)).unwrap();
    ledger.sent(9, from, from + 2, ticket);
    wal.wait(ticket).unwrap();
    ledger.acked(ticket);
    machine.restart(Survives::Nothing);
}

#[test]
fn an_opening_may_end_at_every_step_and_is_done_again() {
    let first = seed("ended openings");
    let (mut openings, mut lives) = (0, 0);
    let started = Instant::now();
    while started.elapsed() < most(8) {
        let mut life = Life::new(first + lives);
        lives += 1;
        (0..1 + lives % 3).for_each(|_| life.round());
        let disk = life.machine.disk().clone();
        for (step, kill) in (1..40).flat_map(|step| [(step, true), (step, false)]) {
            let machine = Machine::with(disk.clone());
            let mut ledger = life.ledger.clone();
            machine.cut_after(step);
            let ended = Wal::open_on(machine.volume(), Options { recycled: 2, ..crate::rules::options() });
            let whole = ended.as_ref().ok().map(|(_, recovery)| recovery.streams.clone());
            let finished = !machine.is_off();
            if kill {
                machine.kill()
            } else {
                machine.restart(Survives::any(&mut life.rng))
            }
            drop(ended);
            let say = |what: &str| format!("life {}, step {step}, kill {kill}: {what}", first + lives - 1);
            let again = Wal::open_on(machine.volume(), Options { recycled: 2, ..crate::rules::options() });
            let (wal, recovery) = again.unwrap_or_else(|error| panic!("{}", say(&error.to_string())));
            ledger.verify(&wal).unwrap_or_else(|fault| panic!("{}", say(&format!("{fault:?}"))));
            if let Some(whole) = whole {
                assert_eq!(whole, recovery.streams, "{}", say("the second opening finds something else"));
            }
            goes_on(&machine, wal, &mut ledger);
            let last = Wal::open_on(machine.volume(), crate::rules::options());
            let (wal, _) = last.unwrap_or_else(|error| panic!("{}", say(&format!("at last: {error}"))));
            ledger.verify(&wal).unwrap_or_else(|fault| panic!("{}", say(&format!("at last: {fault:?}"))));
            openings += 3;
            if finished {
                break;
            }
        }
    }
    println!("ended openings: {lives} lives, {openings} openings");
    assert!(openings > 300);
}

/// A disk that says that it has synced and has not loses what was acknowledged. Whoever was told is believed.
#[test]
fn a_disk_that_lies_is_noticed_by_what_others_were_told() {
    let first = seed("lying disks");
    let (mut lost, mut refused, mut whole) = (0, 0, 0);
    for seed in first..first + if long() { 5000 } else { 300 } {
        let machine = Machine::new(seed);
        let (wal, _) = Wal::open_on(machine.volume(), crate::rules::options()).unwrap();
        crate::rules::fill(&wal, 0, 0, 3);
        machine.disk().lies = 40;
        let acked = 3 + (seed % 30) as i64;
        crate::rules::fill(&wal, 0, 3, acked);
        machine.restart(Survives::any(&mut StdRng::seed_from_u64(seed)));
        machine.disk().lies = 0;
        drop(wal);
        let told = vec![Acked { stream: stream(0), until: acked }];
        let (wal, recovery) = match Wal::open_on(machine.volume(), Options { acked: told, ..crate::rules::options() }) {
            Ok(opened) => opened,
            Err(WalError::Damaged(_)) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let there = match read(&wal, 0) {
            Ok(held) => held == [(0, acked)],
            // What is sealed is verified when it is read.
            Err(Fault::Named(WalError::Damaged(_))) => {
                refused += 1;
                continue;
            }
            Err(fault) => panic!("seed {seed}: {fault:?}"),
        };
        let named = recovery.tail_lost.iter().any(|lost| lost.until == Some(acked));
        assert!(there || named, "seed {seed}: {acked} acknowledged, {recovery:?}");
        (lost, whole) = (lost + u64::from(named), whole + u64::from(there));
    }
    println!(
        "lying disks: {lost} losses named by the watermark, {refused} called damage, {whole} whole, 0 not noticed"
    );
    assert!(lost > 0 && refused > 0 && whole > 0);
}
