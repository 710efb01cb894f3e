//! Opening: nothing is believed before it was synced, whole, and of a format that is known.

use std::fs::{File, Permissions};
use std::io::ErrorKind::PermissionDenied;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::ledger::{self, Fault, Pages, meta_key};
use super::super::marker::{self, STORE_FORMAT, sync_directory};
use super::super::state::Format;
use super::super::{Checkpoint, DecodeError, StoreError, rules};
use super::{CACHE, FLOOR, SledPages, Tip, sort};

/// sled lets go of its file only when its last background work is done.
const REOPEN: Duration = Duration::from_secs(10);

/// Makes the state directory, and its name durable.
pub(super) fn make_directory(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.is_dir()).collect();
    std::fs::create_dir_all(&path)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_directory)
}

/// Whether `bytes` more fit on the disk, with what sled takes on its own account.
pub(super) fn room(directory: &Path, bytes: u64) -> Result<(), String> {
    if landfall_lake::fault::sabotaged("store_never_looks_for_space") {
        return Ok(());
    }
    let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // A page is written again with each of its values.
    if free >= FLOOR + bytes.saturating_mul(2) {
        return Ok(());
    }
    Err(format!("only {free} bytes are free on the disk of {}: free some space", directory.display()))
}

/// A copy of a state directory whose lock is held, in a directory that only this user can enter.
pub(super) fn copy(state: &Path) -> Result<TempDir, StoreError> {
    let store = state.display().to_string();
    let copied = || -> std::io::Result<TempDir> {
        let copy = tempfile::Builder::new().prefix("landfall-look-").tempdir()?;
        for name in ["format.json", "tip"].map(Path::new) {
            if state.join(name).exists() {
                copy_file(&state.join(name), &copy.path().join(name))?;
            }
        }
        copy_all(&state.join("checkpoints"), &copy.path().join("checkpoints"))?;
        Ok(copy)
    };
    copied().map_err(|error| rules::sort_io(&store, "copying it to look at it", error))
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let (from, to) = (entry?.path(), to);
        let Some(name) = from.file_name() else { continue };
        let to = to.join(name);
        if from.is_dir() { copy_all(&from, &to)? } else { copy_file(&from, &to)? }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::copy(from, to).map_err(|error| of_file(from, error))?;
    // Its mode was copied too, and may not let even its owner write.
    std::fs::set_permissions(to, Permissions::from_mode(0o600))
}

fn of_file(file: &Path, error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

/// A file of the database that this user may not use.
fn denied(directory: &Path) -> Option<std::path::PathBuf> {
    let files = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    files.filter(|file| file.is_file()).find(|file| {
        let opened = File::options().read(true).write(true).open(file);
        opened.is_err_and(|error| error.kind() == PermissionDenied)
    })
}

/// Opens or makes the database in `state`, under the lock of the directory that it is of, which is called `shown`;
/// returns the store's id with it.
pub(super) fn open(state: &Path, shown: &Path) -> Result<(SledPages, String), StoreError> {
    let store = shown.display().to_string();
    let sorted = |fault: Fault| match fault {
        Fault::Full(message) => StoreError::NotDone { store: store.clone(), message },
        Fault::Broken(why) => StoreError::Refused { store: store.clone(), message: way_out(shown, &why) },
    };
    let marker = marker::read(state)?;
    let directory = state.join("checkpoints");
    if marker.is_some() && !directory.join("db").exists() {
        return Err(sorted(Fault::Broken("its database is gone: checkpoints/db is not there".into())));
    }
    room(state, 0).map_err(|why| sorted(Fault::Full(why)))?;
    std::fs::create_dir_all(&directory).map_err(|error| rules::sort_io(&store, "its directory", error))?;
    let mut pages = open_pages(state, &directory).map_err(|error| match error {
        Opening::Io(error) => rules::sort_io(&store, "its files", error),
        Opening::Held => StoreError::Locked {
            store: store.clone(),
            holder: "a process that took the database without the lock of the directory".into(),
        },
        Opening::Fault(fault) => sorted(fault),
    })?;
    let checked = catch_unwind(AssertUnwindSafe(|| {
        refuse_newer(&pages, &store)?;
        check_records(&pages).map_err(sorted)?;
        identify(&mut pages, marker.as_ref().map(|marker| marker.id.as_str())).map_err(sorted)
    }));
    let id = checked.unwrap_or_else(|_| Err(sorted(Fault::Broken("reading it panicked".into()))))?;
    if marker.is_none() {
        marker::write(state, &id)?;
    }
    Ok((pages, id))
}

/// What to do about a database that cannot be believed. It is never deleted here.
fn way_out(state: &Path, why: &str) -> String {
    let state = state.display();
    format!(
        "{why}; it is not used any more. Move the directory aside (mv {state} {state}.damaged) and run \
         `landfall rebuild <config>`, which makes the checkpoints anew from the lake"
    )
}

enum Opening {
    Io(std::io::Error),
    Held,
    Fault(Fault),
}

fn open_pages(state: &Path, directory: &Path) -> Result<SledPages, Opening> {
    let database = open_database(directory)?;
    let file = File::open(directory.join("db")).map_err(Opening::Io)?;
    // What a killed process wrote may be in the page cache only: durable first, then believed.
    make_durable(directory, &file).map_err(|error| match error.kind() {
        PermissionDenied => Opening::Io(error),
        _ => Opening::Fault(Fault::Broken(format!("the fsync of its files failed: {error}"))),
    })?;
    let mut tip = Tip::open(&state.join("tip")).map_err(Opening::Io)?;
    check_tip(&database, &mut tip).map_err(Opening::Fault)?;
    Ok(SledPages { directory: directory.to_owned(), database: Some(database), file, tip })
}

/// Opens the database once more in this process, after a full disk.
pub(super) fn open_again(directory: &Path) -> Result<::sled::Db, Fault> {
    open_database(directory).map_err(|error| match error {
        Opening::Fault(fault) => fault,
        Opening::Io(error) if rules::is_full(&error) => Fault::Full(error.to_string()),
        Opening::Io(error) => Fault::Broken(error.to_string()),
        Opening::Held => Fault::Full("it is still closing".into()),
    })
}

fn open_database(directory: &Path) -> Result<::sled::Db, Opening> {
    let give_up = Instant::now() + REOPEN;
    loop {
        remove_stale_snapshots(directory).map_err(Opening::Io)?;
        let config = ::sled::Config::new()
            .path(directory)
            .mode(::sled::Mode::LowSpace)
            .cache_capacity(CACHE)
            .flush_every_ms(Some(500));
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(Ok(database)) => return Ok(database),
            Ok(Err(::sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
                if Instant::now() >= give_up {
                    return Err(Opening::Held);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(Err(::sled::Error::Io(error))) if error.kind() == PermissionDenied => {
                let file = denied(directory);
                return Err(Opening::Io(file.map_or(error, |file| of_file(&file, PermissionDenied.into()))));
            }
            Ok(Err(error)) => return Err(Opening::Fault(sort(error))),
            Err(_) => return Err(Opening::Fault(Fault::Broken("opening it panicked".into()))),
        }
    }
}

/// A crash while sled writes a snapshot leaves `snap.<n>.generating`, which it would take for the newest
/// snapshot, find damaged, and never open again. It holds nothing that the database does not hold.
fn remove_stale_snapshots(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::info!(file = %name, "removed a snapshot that a crash left unfinished");
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Syncs the database, what stands beside it, and the names of all.
pub(super) fn make_durable(directory: &Path, database: &File) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        // A directory too: sled's `blobs`.
        let path = entry?.path();
        File::open(&path).and_then(|file| file.sync_all()).map_err(|error| of_file(&path, error))?;
    }
    database.sync_all()?;
    sync_directory(directory)?;
    directory.parent().map_or(Ok(()), sync_directory)
}

/// Whether the database still holds everything that was acknowledged, by the number of syncs.
pub(super) fn check_tip(database: &::sled::Db, tip: &mut Tip) -> Result<(), Fault> {
    let value = database.get(meta_key("syncs")).map_err(sort)?;
    let syncs = value.and_then(|value| value.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
    if syncs < tip.syncs {
        return Err(Fault::Broken(format!(
            "its database is older than what it acknowledged (sync {syncs}, and {} were made): it was damaged, or \
             put back from a copy",
            tip.syncs
        )));
    }
    tip.syncs = syncs;
    Ok(())
}

fn refuse_newer(pages: &SledPages, store: &str) -> Result<(), StoreError> {
    let refused = |message: String| StoreError::Refused { store: store.into(), message };
    let value = pages.get(&meta_key("format")).unwrap_or_default().unwrap_or_default();
    match serde_json::from_slice::<Format>(&value) {
        Ok(found) if found.major != STORE_FORMAT.major => Err(refused(format!(
            "its records have store format {}.{}, and this release knows {}.x: run the release that made it, or a newer one",
            found.major, found.minor, STORE_FORMAT.major
        ))),
        _ => Ok(()),
    }
}

/// Reads every record. One of a newer format is left to those who ask for it.
fn check_records(pages: &SledPages) -> Result<(), Fault> {
    for stream in ledger::streams(pages)? {
        let bytes = ledger::load(pages, &stream)?.unwrap_or_default();
        if let Err(DecodeError::Damaged(why)) = Checkpoint::from_bytes(&bytes) {
            return Err(Fault::Broken(format!("the record of {stream} cannot be used: {why}")));
        }
    }
    Ok(())
}

/// The store's id, made durable before anyone sees it.
fn identify(pages: &mut SledPages, marked: Option<&str>) -> Result<String, Fault> {
    let kept = pages.get(&meta_key("id"))?.map(|id| String::from_utf8_lossy(&id).into_owned());
    match (kept, marked) {
        (Some(kept), Some(marked)) if kept != marked => Err(Fault::Broken(format!(
            "its database has the id {kept} and its format.json says {marked}: files of two stores were mixed"
        ))),
        (Some(kept), _) => Ok(kept),
        (None, Some(_)) => Err(Fault::Broken("its database has lost the store's id".into())),
        (None, None) if !ledger::streams(pages)?.is_empty() => {
            Err(Fault::Broken("its database has records and no id".into()))
        }
        (None, None) => {
            let id = crate::ambient::random_id();
            let format = serde_json::to_vec(&STORE_FORMAT).map_err(|error| Fault::Broken(error.to_string()))?;
            pages.put(&meta_key("format"), &format)?;
            pages.put(&meta_key("id"), id.as_bytes())?;
            pages.sync()?;
            Ok(id)
        }
    }
}
