//! What nearly every end-to-end test begins with: a topic of its own on a broker, a journal, a producer,
//! an installation and a checker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::directory;
use super::{
    Admin, Broker, Bucket, Check, Findings, Journal, Landfall, Mirror, Producer, S3Server, Settings, fresh, shared,
    wait_until,
};

pub struct Scene {
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    pub admin: Admin,
    pub journal: Journal,
    pub landfall: Landfall,
    pub check: Check,
    pub bucket: Option<Bucket>,
    /// Of a server that does not keep its objects as files.
    mirror: Option<Mirror>,
    dir: PathBuf,
}

impl Scene {
    /// A fresh topic on the shared broker.
    pub fn new(stem: &str, partitions: i32) -> Scene {
        Scene::on(shared(), stem, partitions, &[])
    }

    pub fn on(broker: &Broker, stem: &str, partitions: i32, topic_settings: &[(&str, &str)]) -> Scene {
        let scene = Scene::without_topic(&broker.bootstrap(), stem, partitions);
        scene.admin.create(&scene.topic, partitions, topic_settings);
        scene
    }

    /// A fresh topic on the shared broker, and a lake below a prefix of its own in an object store, which is reached
    /// at `endpoint` (the server itself, or something before it).
    pub fn in_bucket(server: &S3Server, endpoint: &str, stem: &str, partitions: i32) -> Scene {
        let prefix = fresh(stem);
        let mirrored = !server.kind().keeps_files();
        let objects = if mirrored { directory("mirror") } else { server.objects(&prefix) };
        let mirror = mirrored.then(|| Mirror::new(server.port, &prefix, &objects));
        let url = format!("s3://{}/{prefix}", super::s3::BUCKET);
        let bucket = Bucket { url, options: S3Server::options(endpoint), objects };
        let mut scene = Scene::build(&shared().bootstrap(), stem, partitions, Some(bucket));
        scene.mirror = mirror;
        scene.admin.create(&scene.topic, partitions, &[]);
        scene
    }

    /// For tests that make their topics themselves.
    pub fn without_topic(bootstrap: &str, stem: &str, partitions: i32) -> Scene {
        Scene::build(bootstrap, stem, partitions, None)
    }

    fn build(bootstrap: &str, stem: &str, partitions: i32, bucket: Option<Bucket>) -> Scene {
        let topic = fresh(stem);
        let dir = directory(stem);
        let settings = Settings { bucket: bucket.clone(), ..Settings::new(bootstrap, &[&topic]) };
        let landfall = Landfall::new(&dir, &settings);
        let check = Check::new(&landfall.lake());
        Scene {
            bootstrap: bootstrap.into(),
            admin: Admin::new(bootstrap),
            journal: Journal::new(),
            topic,
            partitions,
            bucket,
            mirror: None,
            landfall,
            check,
            dir,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings to vary.
    pub fn settings(&self) -> Settings {
        Settings { bucket: self.bucket.clone(), ..Settings::new(&self.bootstrap, &[&self.topic]) }
    }

    /// The lake's URL, and an installation that can reach it by that alone: the options are in the environment.
    pub fn by_url(&self) -> (Landfall, String) {
        let named = |landfall: Landfall, (name, value): &(&str, String)| landfall.with(&name.to_uppercase(), value);
        match &self.bucket {
            Some(bucket) => (bucket.options.iter().fold(self.landfall.clone(), named), bucket.url.clone()),
            None => (self.landfall.clone(), format!("file://{}", self.landfall.lake().display())),
        }
    }

    /// Another installation on the same lake.
    pub fn beside(&self, settings: &Settings) -> Landfall {
        let dir = self.dir.join(fresh("beside"));
        std::fs::create_dir_all(&dir).expect("a directory");
        if self.bucket.is_none() {
            std::os::unix::fs::symlink(self.landfall.lake(), dir.join("lake")).expect("the same lake");
        }
        Landfall::new(&dir, settings)
    }

    pub fn producer(&self) -> Producer {
        Producer::new(&self.bootstrap, &self.journal)
    }

    /// The usual mixture of records, `each` for every partition of the topic.
    pub fn fill(&self, each: usize) {
        let producer = self.producer();
        for partition in 0..self.partitions {
            producer.fill(&self.topic, partition, 0..each);
        }
    }

    /// The same, from another number on.
    pub fn fill_from(&self, first: usize, each: usize) {
        let producer = self.producer();
        for partition in 0..self.partitions {
            producer.fill(&self.topic, partition, first..first + each);
        }
    }

    pub fn look(&mut self) -> Findings {
        self.mirror.iter().for_each(Mirror::refresh);
        self.check.look(&self.journal)
    }

    /// Runs to the end and expects nothing to be wrong, nothing to be missing, and nothing left behind.
    pub fn finish(&mut self, settings: &Settings) -> Findings {
        self.landfall.configure(settings);
        self.landfall.once().expect_code(0);
        let findings = self.look();
        findings.assert_clean(&format!("{} in {}", self.topic, self.dir.display()));
        findings
    }

    /// While something runs: until everything that must be in the lake is there.
    pub fn until_landed(&mut self, within: Duration) -> Findings {
        let mut last = Findings::default();
        wait_until("everything has landed", within, || {
            last = self.look();
            last.assert_sound("while it runs");
            last.lost == 0
        });
        last
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the lake and the logs of this test stand in {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
            self.mirror.iter().for_each(Mirror::remove);
        }
    }
}
