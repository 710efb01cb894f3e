//! Processes that cannot outlive the tests, free ports, and places on the disk.

use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a process that the kernel kills when this one ends, however it ends.
///
/// The kernel means the *thread* that started it, and a test's thread ends with the test: so one thread
/// that never ends starts them all.
pub fn spawn_bound(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    let _ = answer.send(bind_to_this_thread(&mut command).spawn());
                }
            })
            .expect("the keeper's thread");
        Mutex::new(orders)
    });
    let (answer, result) = mpsc::channel();
    keeper.lock().expect("keeper").send((command, answer)).expect("the keeper never ends");
    result.recv().expect("the keeper always answers")
}

fn bind_to_this_thread(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only one system call is made; it allocates nothing and takes no lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    }
}

/// Sends a signal to a process that this one started and has not waited for, so the id is still its own.
pub fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).expect("a process id");
    // SAFETY: `kill` reads its two numbers and nothing else.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::kill(pid, signal) };
    assert_eq!(answer, 0, "signal {signal} to {pid}: {}", io::Error::last_os_error());
}

/// A port of 127.0.0.1 that nobody listens on. Below the range that the kernel gives to outgoing
/// connections, so that a server that is down for a while finds its port free again.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("ports");
    loop {
        let port = rand::random_range(15_000..32_000);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.push(port);
            return port;
        }
    }
}

/// A new directory below the build's own temporary directory. Those of runs that have ended are removed
/// by the next run; a failed test's directory stands until then.
pub fn directory(stem: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static SWEPT: OnceLock<()> = OnceLock::new();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    SWEPT.get_or_init(|| sweep(root));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = root.join(format!("rig-{}", std::process::id())).join(format!("{stem}-{number}"));
    std::fs::create_dir_all(&path).expect("a directory for the test");
    path
}

fn sweep(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix("rig-")) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
