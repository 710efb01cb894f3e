//! Where the records come from: landfall's in-process broker in a process of its own, or a real Kafka.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use landfall::kafka::playground::Playground;
use landfall::kafka::{At, Kafka, Settings};
use landfall::sink::Isolation;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::shapes;

/// A broker. One that was started here ends with this value.
pub struct Server {
    pub bootstrap: String,
    /// Whose CPU seconds are the broker's.
    pub pid: Option<u32>,
    process: Option<Child>,
    dir: Option<PathBuf>,
}

impl Server {
    pub fn given(bootstrap: &str, pid: Option<u32>) -> Server {
        Server { bootstrap: bootstrap.into(), pid, process: None, dir: None }
    }

    /// The in-process broker, in a child that ends when its standard input does.
    pub fn playground(topics: &[(&str, i32)]) -> anyhow::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--playground");
        command.args(topics.iter().map(|(topic, partitions)| format!("{topic}:{partitions}")));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        ensure!(!line.trim().is_empty(), "the in-process broker did not start");
        Ok(Server { bootstrap: line.trim().into(), pid: Some(process.id()), process: Some(process), dir: None })
    }

    /// The Kafka of the tests, on a directory below `dir`.
    pub fn kafka(dir: &Path) -> anyhow::Result<Server> {
        Server::kafka_with(dir, Duration::ZERO)
    }

    /// The same where a new group waits so long for further members before partitions are shared out.
    pub fn kafka_with(dir: &Path, first_share: Duration) -> anyhow::Result<Server> {
        let dir = dir.join("kafka");
        std::fs::create_dir_all(&dir)?;
        let port = |offset: u32| 20_000 + (std::process::id() * 2 + offset) % 10_000;
        let (port, controller) = (port(0), port(1));
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
             auto.create.topics.enable=false\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             group.initial.rebalance.delay.ms={}\nlog.retention.ms=-1\n",
            dir.join("log").display(),
            first_share.as_millis()
        );
        std::fs::write(dir.join("server.properties"), properties)?;
        let jars = jars()?;
        let log = std::fs::File::create(dir.join("broker.log"))?;
        let format = ["format", "-t", "bGFuZGZhbGwtYmVuY2gtMQ", "-c"];
        let mut command = java(&jars, "kafka.tools.StorageTool");
        command.args(format).arg(dir.join("server.properties")).stdout(log.try_clone()?).stderr(log.try_clone()?);
        ensure!(command.status()?.success(), "Kafka's directory: see {}", dir.join("broker.log").display());
        let mut command = java(&jars, "kafka.Kafka");
        command.arg(dir.join("server.properties")).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn()?;
        let bootstrap = format!("127.0.0.1:{port}");
        let server = Server { bootstrap, pid: Some(process.id()), process: Some(process), dir: Some(dir) };
        let began = Instant::now();
        while client(&server.bootstrap)?.cluster_id(Duration::from_secs(2)).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(90), "Kafka did not answer in 90 s");
        }
        Ok(server)
    }

    pub fn create(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?;
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for answer in runtime.block_on(admin.create_topics([&new], &AdminOptions::new()))? {
            answer.map_err(|(topic, code)| anyhow::anyhow!("creating {topic}: {code}"))?;
        }
        Ok(())
    }

    /// Writes `each` records to every partition, in lz4 batches, and makes sure that the broker has them all.
    pub fn fill(&self, topic: &str, partitions: i32, each: i64, shape: &shapes::Shape) -> anyhow::Result<()> {
        self.fill_from(topic, partitions, 0, each, shape)
    }

    /// The same where every partition has `first` records already, up to `until`.
    pub fn fill_from(
        &self,
        topic: &str,
        partitions: i32,
        first: i64,
        until: i64,
        shape: &shapes::Shape,
    ) -> anyhow::Result<()> {
        let producer = self.producer()?;
        let mut rng = StdRng::seed_from_u64(20);
        for partition in 0..partitions {
            for sequence in first..until {
                produce(&producer, topic, partition, sequence as u64, shape, &mut rng)?;
            }
        }
        producer.flush(Duration::from_secs(300))?;
        self.holds(topic, partitions, until)
    }

    /// So many records a second to every partition, until `is_over`.
    pub fn trickle(
        &self,
        topic: &str,
        partitions: i32,
        per_second: u64,
        shape: &shapes::Shape,
        is_over: &AtomicBool,
    ) -> anyhow::Result<()> {
        let producer = self.producer()?;
        let mut rng = StdRng::seed_from_u64(21);
        let (began, mut sent) = (Instant::now(), 0);
        while !is_over.load(Ordering::Relaxed) {
            let due = began.elapsed().as_millis() as u64 * per_second / 1000;
            for sequence in sent..due {
                for partition in 0..partitions {
                    produce(&producer, topic, partition, sequence, shape, &mut rng)?;
                }
            }
            sent = due;
            producer.poll(Duration::from_millis(5));
        }
        Ok(producer.flush(Duration::from_secs(60))?)
    }

    fn producer(&self) -> anyhow::Result<BaseProducer> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("compression.type", "lz4")
            .set("linger.ms", "50")
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.messages", "400000")
            .set("delivery.report.only.error", "true")
            .create()?;
        Ok(producer)
    }

    fn holds(&self, topic: &str, partitions: i32, each: i64) -> anyhow::Result<()> {
        let wanted = |at: At| (0..partitions).map(|partition| (topic.to_owned(), partition, at)).collect::<Vec<_>>();
        let kafka = client(&self.bootstrap)?;
        for (at, right) in [(At::Start, 0), (At::End, each)] {
            for (partition, found) in kafka
                .list_offsets(&wanted(at), Isolation::ReadCommitted, Duration::from_secs(30))?
                .into_iter()
                .enumerate()
            {
                let offset = found?.offset;
                ensure!(offset == right, "{topic}/{partition} is at {offset}, not {right}: the broker dropped records");
            }
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some(dir) = &self.dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn produce(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    sequence: u64,
    shape: &shapes::Shape,
    rng: &mut StdRng,
) -> anyhow::Result<()> {
    let (mut key, mut value) = (String::new(), String::new());
    shapes::key(rng, &mut key);
    (shape.value)(rng, sequence, &mut value);
    send(producer, BaseRecord::<str, str>::to(topic).partition(partition).key(&key).payload(&value))
}

fn send(producer: &BaseProducer, record: BaseRecord<'_, str, str>) -> anyhow::Result<()> {
    let mut record = record;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => bail!("producing: {error}"),
        }
    }
}

fn client(bootstrap: &str) -> anyhow::Result<Kafka> {
    let properties = BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap.to_owned())]);
    Ok(Kafka::connect(&Settings::new(properties)?)?)
}

/// What the child with `--playground` does.
pub fn serve_playground(topics: &[String]) -> anyhow::Result<()> {
    let broker = Playground::start()?;
    for topic in topics {
        let (name, partitions) = topic.split_once(':').context("topic:partitions")?;
        broker.create_topic(name, partitions.parse()?)?;
    }
    println!("{}", broker.bootstrap_servers());
    // Until the parent is gone, however it went.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn java(jars: &Path, main: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx1g", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    command.arg(jars.join("*")).arg(main);
    command
}

fn jars() -> anyhow::Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka/fetch");
    let output = Command::new(&script).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{} failed: run `make setup`", script.display());
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
