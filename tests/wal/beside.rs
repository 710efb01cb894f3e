//! Readers, retirements and copies that meet: a volume that lets something happen right before one of its operations.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use landfall::wal::volume::{FileMeta, LogFile, LogVolume};
use landfall::wal::{AppendError, Floor, Options, Wal, WalError, check_on};

use crate::rig::{open_stream, read_all, run, stream};
use crate::rules::{fill, groups, open, options};
use crate::sim::{Machine, SimVolume};

type Before = Box<dyn FnMut(&str, &str) -> bool + Send>;

/// Before every listing and every creation or opening of a file it asks the test, until that says that it is done.
struct Hooked {
    inner: Arc<SimVolume>,
    before: Mutex<Option<Before>>,
}

impl Hooked {
    fn new(inner: Arc<SimVolume>) -> Arc<Hooked> {
        Arc::new(Hooked { inner, before: Mutex::new(None) })
    }

    fn before(&self, hook: impl FnMut(&str, &str) -> bool + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(hook));
    }

    fn meets(&self, op: &str, name: &str) {
        // Taken out while it runs: what it does comes here again.
        let hook = self.before.lock().unwrap().take();
        if let Some(mut hook) = hook
            && !hook(op, name)
        {
            *self.before.lock().unwrap() = Some(hook);
        }
    }
}

impl LogVolume for Hooked {
    fn display(&self, name: &str) -> String {
        self.inner.display(name)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock()
    }

    fn list(&self) -> io::Result<Vec<FileMeta>> {
        self.meets("list", "");
        self.inner.list()
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>> {
        self.meets("create", name);
        self.inner.create(name, len)
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn LogFile>> {
        self.meets("open", name);
        self.inner.open(name, write)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.inner.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
}

/// A log of several segments on a volume whose next opening of a segment finds that everything was just retired.
fn retired_meanwhile() -> (Machine, Arc<Wal>) {
    let machine = Machine::new(1);
    let volume = Hooked::new(machine.volume());
    let (wal, _) = Wal::open_on(volume.clone(), options()).unwrap();
    fill(&wal, 0, 0, 40);
    let wal = Arc::new(wal);
    let retiring = wal.clone();
    volume.before(move |op, name| {
        let now = op == "open" && name.ends_with(".wal");
        if now {
            let floor = Floor { stream: stream(0), committed: 40 };
            assert!(retiring.retire(&[floor]).unwrap().segments > 2);
        }
        now
    });
    (machine, wal)
}

#[test]
fn a_cursor_whose_segment_is_retired_under_it_says_what_is_held() {
    let (_machine, wal) = retired_meanwhile();
    let id = wal.stream(&stream(0), landfall::wal::Isolation::ReadCommitted).unwrap();
    let mut cursor = wal.cursor(id, 0, 40).unwrap();
    let first = cursor.next().unwrap();
    let held = wal.held(id);
    assert!(held[0].0 > 0, "it was retired: {held:?}");
    match first {
        Err(WalError::NotHeld { offset: 0, held: said, .. }) => assert_eq!(said, held),
        other => panic!("{other:?}"),
    }
    assert!(cursor.next().is_none());
}

#[test]
fn a_copy_of_what_is_retired_meanwhile_has_nothing_to_do() {
    let (_machine, wal) = retired_meanwhile();
    let id = wal.stream(&stream(0), landfall::wal::Isolation::ReadCommitted).unwrap();
    wal.copy_forward(id, 0).unwrap();
    assert_eq!(read_all(&wal, 0).last(), Some(&39));
}

#[test]
fn damage_in_a_log_that_is_being_written_is_believed_when_it_is_found_twice() {
    let machine = Machine::new(1);
    let (wal, _) = open(&machine);
    fill(&wal, 0, 0, 40);
    wal.close().unwrap();
    let mut image = machine.image();
    let file = image.iter_mut().find(|(name, _)| name.ends_with(".wal")).unwrap().1;
    let (at, _) = groups(file)[2];
    file[at + 200] ^= 1;
    let machine = Machine::of(image, 1);
    let (wal, _) = Wal::open_on(machine.volume(), Options { recycled: 0, ..options() }).unwrap();
    let (volume, looks, next) = (Hooked::new(machine.volume()), Arc::new(AtomicUsize::new(0)), AtomicI64::new(40));
    let counted = looks.clone();
    volume.before(move |op, _| {
        if op == "list" {
            let from = next.fetch_add(1, Ordering::Relaxed);
            fill(&wal, 0, from, from + 1);
            counted.fetch_add(1, Ordering::Relaxed);
        }
        false
    });
    let found = check_on(&*volume).unwrap();
    assert_eq!(found.damages.len(), 1, "{:?}", found.damages);
    assert_eq!(looks.load(Ordering::Relaxed), 2, "every look reads the whole log");
}

#[test]
fn no_more_files_are_kept_to_be_written_again_than_is_asked_for() {
    let machine = Machine::new(1);
    let count = |what: &str| machine.image().keys().filter(|name| name.starts_with(what)).count();
    let (wal, _) = Wal::open_on(machine.volume(), Options { recycled: 3, ..options() }).unwrap();
    fill(&wal, 0, 0, 80);
    assert!(wal.retire(&[Floor { stream: stream(0), committed: 80 }]).unwrap().segments > 6);
    assert_eq!(count("free-"), 3);
    wal.close().unwrap();
    let (wal, _) = Wal::open_on(machine.volume(), Options { recycled: 1, ..options() }).unwrap();
    assert_eq!(count("free-"), 1, "the next opening is asked for fewer");
    assert_eq!(read_all(&wal, 0).last(), Some(&79));
}

/// The committer waits for the next file: whoever makes it must not die in silence.
#[test]
fn a_thread_that_panics_while_it_makes_a_segment_stops_the_log() {
    let machine = Machine::new(1);
    let volume = Hooked::new(machine.volume());
    let (wal, _) = Wal::open_on(volume.clone(), options()).unwrap();
    volume.before(|op, name| {
        assert!(op != "create" || !name.starts_with("new-"), "on purpose");
        false
    });
    let id = open_stream(&wal, 0);
    let appended = wal.append(id, run(0, 0, 1)).and_then(|ticket| wal.wait(ticket));
    assert!(matches!(appended, Err(AppendError::Poisoned(_))), "{appended:?}");
    assert!(wal.metrics().poisoned, "{:?}", wal.metrics());
}
