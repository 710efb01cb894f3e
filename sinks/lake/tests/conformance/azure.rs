//! Object lakes on Azurite, with the key that everybody knows: the emulator has no other.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use landfall_lake::{ObjectLake, ObjectLimits};
use landfall_sink_testkit::lake_conformance;
use openssl::base64;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use crate::process::{directory, free_port, spawn_bound};

const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const CONTAINER: &str = "lake";

struct Azurite {
    port: u16,
    process: Child,
}

impl Azurite {
    /// With one empty container.
    fn start() -> Azurite {
        let (port, dir) = (free_port(), directory("azurite"));
        let log = File::create(dir.join("server.log")).unwrap();
        let mut command = Command::new(program());
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--silent", "--disableTelemetry"]);
        command.args(["--skipApiVersionCheck", "-l"]).arg(dir.join("data"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let azurite = Azurite { port, process: spawn_bound(command).unwrap() };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "no Azurite in 60 s: see {}", dir.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        azurite.make_container();
        azurite
    }

    /// No client of a lake makes one, so it is asked for by hand.
    fn make_container(&self) {
        let (now, version) = (date(), "2021-08-06");
        let headers = format!("x-ms-date:{now}\nx-ms-version:{version}\n");
        let resource = format!("/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container");
        let text = format!("PUT{}{headers}{resource}", "\n".repeat(12));
        let key = PKey::hmac(&base64::decode_block(KEY).unwrap()).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        let signature = base64::encode_block(&signer.sign_oneshot_to_vec(text.as_bytes()).unwrap());
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "PUT /{ACCOUNT}/{CONTAINER}?restype=container HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\
             Connection: close\r\nx-ms-date: {now}\r\nx-ms-version: {version}\r\n\
             Authorization: SharedKey {ACCOUNT}:{signature}\r\n\r\n",
            self.port
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    fn lake(&self) -> ObjectLake {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let url = format!("az://{CONTAINER}/lake-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", self.port);
        let options = [
            ("azure_storage_account_name", ACCOUNT),
            ("azure_storage_account_key", KEY),
            ("azure_storage_endpoint", &endpoint),
            ("allow_http", "true"),
        ];
        ObjectLake::open(&url, options, ObjectLimits::new(directory("spool"))).unwrap()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As HTTP writes it.
fn date() -> String {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn program() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.ancestors().map(|dir| dir.join("scripts/azure/fetch")).find(|script| script.exists());
    let output = Command::new(script.expect("scripts/azure/fetch")).output().expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path").trim().to_owned()
}

#[test]
fn azurite() {
    let server = Azurite::start();
    crate::run(lake_conformance("Azure (Azurite)", || Arc::new(server.lake())));
}
