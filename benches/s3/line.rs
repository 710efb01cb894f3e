//! The way to a store that is not next door: each answer comes so much later, and all connections together carry so
//! many bytes a second.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// It ends with the process.
pub struct Line {
    pub port: u16,
}

#[derive(Clone)]
struct Way {
    delay: Duration,
    bytes_per_second: f64,
    /// When what has been sent will have arrived.
    free: Arc<Mutex<Instant>>,
}

impl Line {
    /// Before the server on this port of 127.0.0.1.
    pub fn before(server: u16, delay: Duration, bytes_per_second: f64) -> io::Result<Line> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let way = Way { delay, bytes_per_second, free: Arc::new(Mutex::new(Instant::now())) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let way = way.clone();
                std::thread::spawn(move || drop(way.carry(client, server)));
            }
        });
        Ok(Line { port })
    }
}

impl Way {
    fn carry(&self, client: TcpStream, server: u16) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", server))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        // The first bytes after a request are an answer that begins.
        let asked = Arc::new(AtomicBool::new(false));
        let (up, down) = ((client.try_clone()?, server.try_clone()?), (server, client));
        let (way, told) = (self.clone(), asked.clone());
        std::thread::spawn(move || {
            copy(up.0, up.1, |bytes| {
                way.take_room(bytes);
                told.store(true, Ordering::Release);
            })
        });
        let delay = self.delay;
        copy(down.0, down.1, |_| {
            if asked.swap(false, Ordering::AcqRel) {
                std::thread::sleep(delay);
            }
        })
    }

    fn take_room(&self, bytes: usize) {
        let needs = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let arrives = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(Instant::now()) + needs;
            *free
        };
        std::thread::sleep(arrives.saturating_duration_since(Instant::now()));
    }
}

/// Until the other side ends.
fn copy(mut from: TcpStream, mut to: TcpStream, mut before: impl FnMut(usize)) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut bytes)?;
        if read == 0 {
            return to.shutdown(Shutdown::Write);
        }
        before(read);
        to.write_all(&bytes[..read])?;
    }
}
