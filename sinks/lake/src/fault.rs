//! Places where a test may kill, stop or fail this process, and switches that break a rule on purpose.
//! Compiled to nothing in release builds.
//!
//! `LANDFALL_FAILPOINT=name[:n]=action` arms one place: at its n-th visit (default 1) the process is
//! killed (`kill`), stopped (`stop`) or told to fail (`fail`). `LANDFALL_SABOTAGE=name` breaks one rule of
//! the protocol, so that the tests can show that they would notice.

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
