//! Places where a test may kill, stop or fail this process, and switches that break a rule on purpose.
//! Compiled to nothing in release builds.
//!
//! `LANDFALL_FAILPOINT=name[:n]=action` arms one place: at its n-th visit (default 1) the process is
//! killed (`kill`), stopped (`stop`), told to fail (`fail`) or that the disk is full (`full`). `LANDFALL_SABOTAGE=name` breaks one rule of
//! the protocol, so that the tests can show that they would notice.

/// Every place of this crate, in the order in which a publication passes them. `lake.*` are passed by files
/// ([`crate::Staged`]), `lake.create.*` by small objects ([`crate::Lake::create`]), and two by both.
///
/// Told to fail, `before_stage`, `staged`, `after_fsync` and `before_link` answer "not done";
/// `before_fsync` is an fsync of the file that failed, after which the draft is spent; `lake.after_mkdir` is a
/// directory that could not be made; `lake.dir_fsync` is an fsync of a directory that failed, which condemns the
/// directory until the process is started again; `after_link` and `after_dir_fsync` are lost answers.
///
/// In an object store a put stands in for the link: `staged`, `before_link` and `after_link` are before the file
/// is put and around the put, `before_stage` before a file goes to the local disk; there are no directories.
pub const POINTS: &[&str] = &[
    "lake.before_stage",
    "lake.staged",
    "lake.before_fsync",
    "lake.after_fsync",
    "lake.after_mkdir",
    "lake.before_link",
    "lake.after_link",
    "lake.dir_fsync",
    "lake.after_dir_fsync",
    "lake.create.before_stage",
    "lake.create.staged",
    "lake.create.before_fsync",
    "lake.create.after_fsync",
    "lake.create.before_link",
    "lake.create.after_link",
    "lake.create.after_dir_fsync",
];

/// Every rule of this crate that can be broken on purpose.
///
/// `overwrite_on_exists` renames over a name that stands; `exists_is_created` calls a name that stands
/// created; `skip_dir_fsync` syncs no directory (only [`crate::LocalLake::syncs`] shows it while there is power).
pub const SABOTAGES: &[&str] = &["overwrite_on_exists", "exists_is_created", "skip_dir_fsync"];

/// A visit to a named place. `Err` only where a test asked for it.
#[cfg(debug_assertions)]
pub fn point(name: &str) -> std::io::Result<()> {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    struct Armed {
        name: String,
        visit: u64,
        action: String,
        visits: AtomicU64,
    }
    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var("LANDFALL_FAILPOINT").ok()?;
        let (place, action) = text.split_once('=')?;
        let (name, visit) = place.split_once(':').unwrap_or((place, "1"));
        Some(Armed {
            name: name.into(),
            visit: visit.parse().unwrap_or(1),
            action: action.into(),
            visits: AtomicU64::new(0),
        })
    });
    let Some(armed) = ARMED.as_ref().filter(|armed| armed.name == name) else {
        return Ok(());
    };
    if armed.visits.fetch_add(1, Ordering::SeqCst) + 1 != armed.visit {
        return Ok(());
    }
    let pid = rustix::process::getpid();
    match armed.action.as_str() {
        "stop" => drop(rustix::process::kill_process(pid, rustix::process::Signal::STOP)),
        "fail" => return Err(std::io::Error::other(format!("failpoint {name}"))),
        "full" => return Err(rustix::io::Errno::NOSPC.into()),
        _ => drop(rustix::process::kill_process(pid, rustix::process::Signal::KILL)),
    }
    Ok(())
}

/// Whether a test broke this rule on purpose.
#[cfg(debug_assertions)]
pub fn sabotaged(name: &str) -> bool {
    use std::sync::LazyLock;
    static SABOTAGE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("LANDFALL_SABOTAGE").ok());
    SABOTAGE.as_deref() == Some(name)
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn sabotaged(_name: &str) -> bool {
    false
}
