//! A real S3 server on loopback, with a key of its own and nobody else's: started, stopped, killed and started
//! again on the same directory and port.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::process::{directory, free_port, signal, spawn_bound};

pub const ACCESS: &str = "landfall-tests";
pub const SECRET: &str = "a-secret-of-the-tests";
pub const BUCKET: &str = "lake";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Versitygw,
    Minio,
    /// Takes several conditional puts under one name where they come at once: no lake can be there.
    S3mock,
    /// The same, by another author.
    S3sFs,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Versitygw => "versitygw",
            Kind::Minio => "minio",
            Kind::S3mock => "s3mock",
            Kind::S3sFs => "s3s-fs",
        }
    }

    /// Whether each object is a file of its own, with the content that it has.
    pub fn keeps_files(self) -> bool {
        matches!(self, Kind::Versitygw)
    }
}

pub struct S3Server {
    pub port: u16,
    kind: Kind,
    dir: PathBuf,
    process: Mutex<Option<Child>>,
}

impl S3Server {
    /// A server with one empty bucket, ready to answer.
    pub fn start(kind: Kind) -> S3Server {
        let dir = directory(kind.word());
        // Both keep a bucket as a directory, and take one that is there for theirs.
        std::fs::create_dir_all(dir.join("data").join(BUCKET)).expect("a bucket");
        let server = S3Server { port: free_port(), kind, dir, process: Mutex::new(None) };
        server.launch();
        server
    }

    /// The one server that most tests share.
    pub fn shared() -> &'static S3Server {
        static SHARED: OnceLock<S3Server> = OnceLock::new();
        SHARED.get_or_init(|| S3Server::start(Kind::Versitygw))
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Of the process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().expect("server").as_ref().map(Child::id)
    }

    /// The options of a lake on this server, or on something that stands before it.
    pub fn options(endpoint: &str) -> Vec<(&'static str, String)> {
        vec![
            ("aws_endpoint", endpoint.to_owned()),
            ("aws_allow_http", "true".into()),
            ("aws_access_key_id", ACCESS.into()),
            ("aws_secret_access_key", SECRET.into()),
            ("aws_region", "us-east-1".into()),
        ]
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the server keeps the objects below a prefix, each as a file of its own ([`Kind::keeps_files`]).
    pub fn objects(&self, prefix: &str) -> PathBuf {
        self.dir.join("data").join(BUCKET).join(prefix)
    }

    /// Starts the process and waits until it answers.
    pub fn launch(&self) {
        let mut process = self.process.lock().expect("server");
        assert!(process.is_none(), "this server runs already");
        let log = File::options().create(true).append(true).open(self.dir.join("server.log")).expect("its log");
        let mut command = self.command();
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(log.try_clone().expect("its log")).stderr(log);
        *process = Some(spawn_bound(command).expect("the server"));
        drop(process);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "no S3 server in 60 s: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self) -> Command {
        let address = format!("127.0.0.1:{}", self.port);
        let program = program(self.kind);
        let mut command = Command::new(if self.kind == Kind::S3mock { Path::new("java") } else { program });
        match self.kind {
            Kind::Versitygw => {
                command.args(["--access", ACCESS, "--secret", SECRET, "--port", &address, "-q", "posix", "data"]);
            }
            Kind::Minio => {
                command.args(["server", "--quiet", "--address", &address, "--console-address", "127.0.0.1:0", "data"]);
                command.envs([("MINIO_ROOT_USER", ACCESS), ("MINIO_ROOT_PASSWORD", SECRET)]);
                command.envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")]);
            }
            Kind::S3mock => {
                command.args(["-XX:TieredStopAtLevel=1", "-Xmx256m", "-jar"]).arg(program);
                let property = |name: &str| format!("COM_ADOBE_TESTING_S3MOCK_{name}");
                let store = self.dir.join("store");
                std::fs::create_dir_all(&store).expect("a store");
                command.env(property("STORE_ROOT"), store).env(property("STORE_INITIAL_BUCKETS"), BUCKET);
                command.env(property("HTTP_PORT"), self.port.to_string());
                // It also wants a port with TLS, and has it at once.
                command.envs([("SERVER_ADDRESS", "127.0.0.1"), ("SERVER_PORT", "0")]);
            }
            Kind::S3sFs => {
                command.args(["--access-key", ACCESS, "--secret-key", SECRET, "--host", "127.0.0.1"]);
                command.args(["--port", &self.port.to_string(), "data"]);
            }
        }
        command
    }

    /// `kill -9`.
    pub fn kill(&self) {
        let mut child = self.process.lock().expect("server").take().expect("this server does not run");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// It hangs: connections stand, and nothing is answered.
    pub fn freeze(&self) {
        signal(self.process.lock().expect("server").as_ref().expect("this server does not run"), libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        signal(self.process.lock().expect("server").as_ref().expect("this server does not run"), libc::SIGCONT);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.lock().expect("server").take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Built or fetched once for a machine; `make setup` does it ahead of time.
fn program(kind: Kind) -> &'static Path {
    static PROGRAMS: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
    PROGRAMS[kind as usize].get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.ancestors().map(|dir| dir.join("scripts/s3/fetch")).find(|script| script.exists());
        let output = Command::new(script.expect("scripts/s3/fetch")).arg(kind.word()).output().expect("sh");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
    })
}
