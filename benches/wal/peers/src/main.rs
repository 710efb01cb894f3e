//! `peers ARM DIR APPENDERS BYTES SECONDS`: appends records, each acknowledged when it is durable, to a log that others
//! would take, and prints the latency of each in microseconds, one a line.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

type Append<'a> = Box<dyn Fn(usize, u64, &[u8]) -> Result<(), String> + Sync + 'a>;

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [arm, dir, appenders, bytes, seconds] = args.as_slice() else { return Err("usage: peers ARM DIR APPENDERS BYTES SECONDS".into()) };
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (appenders, bytes, seconds) = (number(appenders)? as usize, number(bytes)? as usize, number(seconds)?);
    let append = open(arm, Path::new(dir), appenders)?;
    let taken = Mutex::new(Vec::new());
    let until = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for appender in 0..appenders {
            let (append, taken) = (&append, &taken);
            scope.spawn(move || {
                let (value, mut mine) = (vec![7u8; bytes], Vec::new());
                for number in 0.. {
                    let started = Instant::now();
                    if started >= until {
                        break;
                    }
                    append(appender, number, &value).expect("an append failed");
                    mine.push(started.elapsed().as_micros());
                }
                taken.lock().expect("no appender panics").extend(mine);
            });
        }
    });
    let taken = taken.into_inner().expect("no appender panics");
    let lines: Vec<String> = taken.iter().map(u128::to_string).collect();
    println!("{}", lines.join("\n"));
    Ok(())
}

fn open<'a>(arm: &str, dir: &Path, appenders: usize) -> Result<Append<'a>, String> {
    match arm {
        "okaywal" => okaywal_log(dir),
        "raft-engine" => raft_engine_log(dir),
        "fjall" => fjall_log(dir),
        "sqlite" => sqlite_log(dir, appenders),
        other => Err(format!("{other} is no arm")),
    }
}

#[derive(Debug)]
struct Forget;

impl okaywal::LogManager for Forget {
    fn recover(&mut self, _entry: &mut okaywal::Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(&mut self, _last: okaywal::EntryId, _entries: &mut okaywal::SegmentReader, _wal: &okaywal::WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

fn okaywal_log<'a>(dir: &Path) -> Result<Append<'a>, String> {
    let log = okaywal::WriteAheadLog::recover(dir, Forget).map_err(|error| error.to_string())?;
    Ok(Box::new(move |_, _, value| {
        let mut entry = log.begin_entry().map_err(|error| error.to_string())?;
        entry.write_chunk(value).map_err(|error| error.to_string())?;
        entry.commit().map(drop).map_err(|error| error.to_string())
    }))
}

fn raft_engine_log<'a>(dir: &Path) -> Result<Append<'a>, String> {
    let config = raft_engine::Config { dir: dir.display().to_string(), ..Default::default() };
    let engine = raft_engine::Engine::open(config).map_err(|error| error.to_string())?;
    Ok(Box::new(move |appender, number, value| {
        let mut batch = raft_engine::LogBatch::default();
        // One key an appender: what is overwritten can be purged, and the memory table stays small.
        batch.put(appender as u64 + 1, format!("{}", number % 64).into_bytes(), value.to_vec()).map_err(|error| error.to_string())?;
        engine.write(&mut batch, true).map(drop).map_err(|error| error.to_string())
    }))
}

fn fjall_log<'a>(dir: &Path) -> Result<Append<'a>, String> {
    let keyspace = fjall::Config::new(dir).open().map_err(|error| error.to_string())?;
    let partition = keyspace.open_partition("log", Default::default()).map_err(|error| error.to_string())?;
    Ok(Box::new(move |appender, number, value| {
        let mut key = (appender as u64).to_be_bytes().to_vec();
        key.extend(number.to_be_bytes());
        partition.insert(key, value).map_err(|error| error.to_string())?;
        keyspace.persist(fjall::PersistMode::SyncData).map_err(|error| error.to_string())
    }))
}

fn sqlite_log<'a>(dir: &Path, appenders: usize) -> Result<Append<'a>, String> {
    std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    let open = || -> rusqlite::Result<rusqlite::Connection> {
        let connection = rusqlite::Connection::open(dir.join("log.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.execute("CREATE TABLE IF NOT EXISTS log (appender INTEGER, number INTEGER, value BLOB)", [])?;
        Ok(connection)
    };
    let connections = (0..appenders).map(|_| open().map(Mutex::new)).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Ok(Box::new(move |appender, number, value| {
        let connection = connections[appender].lock().map_err(|error| error.to_string())?;
        let mut insert = connection.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3)").map_err(|error| error.to_string())?;
        insert.execute(rusqlite::params![appender as i64, number as i64, value]).map(drop).map_err(|error| error.to_string())
    }))
}
