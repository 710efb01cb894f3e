//! One real Kafka broker (KRaft, no ZooKeeper) on loopback: started, stopped, killed and started again on
//! the same directory and ports.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::process::{directory, free_port, signal, spawn_bound};

/// Where a node listens, known before any node of its cluster starts.
#[derive(Debug, Clone)]
pub struct Address {
    pub node: usize,
    pub port: u16,
    pub controller: u16,
}

impl Address {
    pub fn free(node: usize) -> Address {
        Address { node, port: free_port(), controller: free_port() }
    }
}

pub struct Broker {
    pub address: Address,
    dir: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Broker {
    /// A cluster of one, ready to answer.
    pub fn start() -> Broker {
        Broker::start_with(&[])
    }

    /// A cluster of one with further lines of `server.properties`.
    pub fn start_with(settings: &[(&str, &str)]) -> Broker {
        let address = Address::free(1);
        let broker = Broker::format(&address, std::slice::from_ref(&address), &cluster_id(), settings);
        broker.launch();
        broker.await_ready();
        broker
    }

    /// Writes the settings of one node of a cluster and formats its directory.
    pub fn format(address: &Address, all: &[Address], cluster: &str, settings: &[(&str, &str)]) -> Broker {
        let dir = directory(&format!("broker-{}", address.node));
        let properties = properties(address, all, &dir.join("log"), settings);
        std::fs::write(dir.join("server.properties"), properties).expect("server.properties");
        let output = java(&["-Xmx256m"], "kafka.tools.StorageTool")
            .args(["format", "-t", cluster, "-c"])
            .arg(dir.join("server.properties"))
            .output()
            .expect("java: run `make setup`");
        assert!(output.status.success(), "the broker's directory: {}", String::from_utf8_lossy(&output.stderr));
        Broker { address: address.clone(), dir, process: Mutex::new(None) }
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.address.port)
    }

    /// Where the broker keeps its segments.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Starts the process and does not wait for it.
    pub fn launch(&self) {
        let mut process = self.process.lock().expect("broker");
        assert!(process.is_none(), "this broker runs already");
        let log = File::options().create(true).append(true).open(self.dir.join("broker.log")).expect("its log");
        let mut command =
            java(&["-Xmx512m", "-Xms128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"], "kafka.Kafka");
        command
            .arg(self.dir.join("server.properties"))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("its log"))
            .stderr(log);
        *process = Some(spawn_bound(command).expect("java: run `make setup`"));
    }

    /// Until the broker answers as a broker, not only as an open port.
    pub fn await_ready(&self) {
        let started = Instant::now();
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("a client");
        let node = i32::try_from(self.address.node).expect("a node id");
        loop {
            let answer = client.fetch_metadata(None, Duration::from_millis(1000));
            if answer.is_ok_and(|metadata| metadata.brokers().iter().any(|broker| broker.id() == node)) {
                return;
            }
            if let Some(child) = self.process.lock().expect("broker").as_mut() {
                let ended = child.try_wait().expect("the broker's process");
                assert!(ended.is_none(), "the broker ended: {ended:?}\n{}", self.log_tail());
            }
            assert!(started.elapsed() < Duration::from_secs(90), "no broker in 90 s\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// As an operator stops it: SIGTERM, and it leaves in order.
    pub fn stop(&self) {
        self.end(libc::SIGTERM, Duration::from_secs(60));
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.end(libc::SIGKILL, Duration::from_secs(10));
    }

    /// It hangs: connections stand, and nothing is answered.
    pub fn freeze(&self) {
        signal(self.process.lock().expect("broker").as_ref().expect("this broker does not run"), libc::SIGSTOP);
    }

    pub fn thaw(&self) {
        signal(self.process.lock().expect("broker").as_ref().expect("this broker does not run"), libc::SIGCONT);
    }

    /// Starts it again on the same directory and ports.
    pub fn restart(&self) {
        self.launch();
        self.await_ready();
    }

    fn end(&self, how: i32, within: Duration) {
        let mut process = self.process.lock().expect("broker");
        let mut child = process.take().expect("this broker does not run");
        signal(&child, how);
        let started = Instant::now();
        while child.try_wait().expect("the broker's process").is_none() {
            if started.elapsed() > within {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("broker.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let child = self.process.lock().map(|mut process| process.take());
        if let Ok(Some(mut child)) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// 22 characters of URL-safe base64, as Kafka wants a cluster id.
pub fn cluster_id() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    // The last character carries only four bits of the 128: a letter that has the others at zero.
    let free = (0..21).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]));
    free.chain(['A']).collect()
}

fn java(options: &[&str], main: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true"])
        .args(options)
        .arg("-cp")
        .arg(jars().join("*"))
        .arg(main);
    command
}

/// The broker's jars; fetched once a machine.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka/fetch");
        let output = Command::new(&script).stderr(Stdio::inherit()).output().expect("scripts/kafka/fetch");
        assert!(output.status.success(), "{} failed", script.display());
        PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
    })
}

fn properties(address: &Address, all: &[Address], log: &Path, settings: &[(&str, &str)]) -> String {
    let voters: Vec<String> = all.iter().map(|one| format!("{}@127.0.0.1:{}", one.node, one.controller)).collect();
    let replicas = all.len().min(3).to_string();
    let in_sync = if all.len() > 1 { "2" } else { "1" };
    let own = |port: u16| format!("127.0.0.1:{port}");
    let mut lines = vec![
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", address.node.to_string()),
        ("listeners", format!("PLAINTEXT://{},CONTROLLER://{}", own(address.port), own(address.controller))),
        ("advertised.listeners", format!("PLAINTEXT://{}", own(address.port))),
        ("controller.listener.names", "CONTROLLER".into()),
        ("controller.quorum.voters", voters.join(",")),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".into()),
        ("log.dirs", log.display().to_string()),
        ("auto.create.topics.enable", "false".into()),
        ("offsets.topic.replication.factor", replicas.clone()),
        ("offsets.topic.num.partitions", "1".into()),
        ("transaction.state.log.replication.factor", replicas.clone()),
        ("transaction.state.log.num.partitions", "1".into()),
        ("transaction.state.log.min.isr", in_sync.into()),
        ("share.coordinator.state.topic.replication.factor", replicas),
        ("min.insync.replicas", in_sync.into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
        // Sessions of a test's length, also where the broker leads the group.
        ("group.consumer.min.session.timeout.ms", "6000".into()),
        ("group.consumer.session.timeout.ms", "6000".into()),
        ("group.consumer.min.heartbeat.interval.ms", "1000".into()),
        ("group.consumer.heartbeat.interval.ms", "1000".into()),
        ("broker.session.timeout.ms", "3000".into()),
        ("broker.heartbeat.interval.ms", "500".into()),
        // Retention and compaction in a test's time; and, as the records of the tests are old, retention
        // only for a topic that asks for it.
        ("log.retention.ms", "-1".into()),
        ("log.initial.task.delay.ms", "500".into()),
        ("log.retention.check.interval.ms", "500".into()),
        ("log.cleaner.backoff.ms", "500".into()),
        ("log.segment.delete.delay.ms", "500".into()),
        ("message.max.bytes", "33554432".into()),
        ("replica.fetch.max.bytes", "33554432".into()),
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
    ];
    lines.retain(|(name, _)| settings.iter().all(|(other, _)| other != name));
    let further = settings.iter().map(|(name, value)| format!("{name}={value}\n"));
    lines.iter().map(|(name, value)| format!("{name}={value}\n")).chain(further).collect()
}
